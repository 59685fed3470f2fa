import { type WorkflowContext, Worker, workflow } from '@headrace/sdk'
import { Client } from '@headrace/sdk/client'
import type { WireBuild, WireList, WireWorkflow } from '@headrace/schemas'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { getJson, listRuns, startPlatform } from '../harness/platform.ts'
import { send } from '../harness/waits.ts'

/** What a deployment does to runs that have begun, and what a roll-back: with the SDK's workers, each build a program. */

let url: string
let client: Client
beforeAll(async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  url = (await startPlatform({ brokers, prefix, databaseUrl })).gateway.url
  client = new Client({ url })
})

type Code = Record<string, (ctx: WorkflowContext) => Promise<unknown>>
const workers = new Set<Worker>()
afterAll(async () => {
  for (const worker of workers) await worker.stop()
})

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** A program's worker, once it is ready. */
async function deploy(
  app: string,
  build: string,
  code: Code,
  onDeploy: 'upgrade' | 'pin' = 'upgrade',
): Promise<Worker> {
  const workflows = Object.entries(code).map(([id, handler]) =>
    workflow({ id, onDeploy, queue: app }, handler),
  )
  const worker = new Worker({ url, app, build, workflows, log: silent, drainTimeout: '5s' })
  workers.add(worker)
  await worker.start()
  await eventually(`${app} ${build} is ready`, () => worker.ready)
  return worker
}

const read = async (id: string): Promise<WireWorkflow> => await getJson(`${url}/v1/workflows/${id}`)
const counted = async (id: string, status: 'waiting' | 'paused', runs: number): Promise<void> =>
  void (await eventually(
    `${runs} runs of ${id} are ${status}`,
    async () => (await read(id)).runs[status] === runs,
  ))
const statusOf = async (id: string): Promise<string> => (await client.runs.get(id)).status

test('1,000 waiting runs under changed code: none fails, and all go on with the fix', async () => {
  const runs = 1_000
  let charged = 0
  const charge = (ctx: WorkflowContext): Promise<unknown> => ctx.step.run('charge', () => (charged += 1))
  const rest = async (ctx: WorkflowContext): Promise<unknown> => {
    const { data } = await ctx.step.waitForEvent('approval', { topic: 'approvals/all', timeout: '1h' })
    return await ctx.step.run('ship', () => data)
  }
  const good = async (ctx: WorkflowContext): Promise<unknown> => {
    await charge(ctx)
    return await rest(ctx)
  }
  const first = await deploy('orders', 'v1', { order: good })
  for (let from = 0; from < runs; from += 50)
    await Promise.all(Array.from({ length: 50 }, async () => await client.runs.start('order')))
  await counted('order', 'waiting', runs)
  await first.stop()

  const bad = await deploy('orders', 'v2', {
    order: async (ctx) => {
      await ctx.step.uuid('charge')
      return await rest(ctx)
    },
  })
  await send(url, 'approvals/all', { yes: true })
  await counted('order', 'paused', runs)
  const [one] = await listRuns(url, 'order')
  expect(one).toMatchObject({
    status: 'paused',
    blocked_reason: 'replay_mismatch',
    build: 'v1',
    unfit_builds: ['v2'],
    error: {
      step_key: 'charge',
      message: expect.stringContaining('It began on build v1, and this is build v2') as string,
    },
  })

  await deploy('orders', 'v3', { order: good })
  await eventually('all have ended', async () => Object.keys((await read('order')).runs).length === 0)
  const ended = await listRuns(url, 'order')
  expect(ended.filter(({ status }) => status !== 'completed')).toEqual([])
  expect([ended.length, charged]).toEqual([runs, runs])
  await bad.stop()
})

test('a run that code did not fit goes on with the same build when it is resumed, if its code fits by then', async () => {
  let key = 'a'
  const worker = await deploy('moody', 'v1', {
    moody: async (ctx) => {
      await ctx.step.run('a', () => 1)
      await ctx.step.suspend('person', { timeout: '1h' })
      return await ctx.step.run(key, () => 'done')
    },
  })
  const { id } = await client.runs.start('moody')
  await counted('moody', 'waiting', 1)
  await client.runs.resumeStep(id, 'person', null)
  await counted('moody', 'paused', 1)
  expect(await client.runs.get(id)).toMatchObject({
    blockedReason: 'duplicate_step_key',
    unfitBuilds: ['v1'],
  })
  key = 'b'
  await client.runs.resume(id)
  expect(await client.runs.result(id, { wait: '60s' })).toBe('done')
  await worker.stop()
})

test('a rolling deployment and a rolling roll-back: runs go on with whatever build is there, and no workflow is lost', async () => {
  const step = (build: string) => async (ctx: WorkflowContext) => {
    const begun = await ctx.step.run('begun', () => build)
    await ctx.step.suspend('person', { timeout: '1h' })
    return [begun, await ctx.step.run('ended', () => build)]
  }
  const inForce = async (): Promise<string[]> => {
    const { data }: WireList<WireBuild> = await getJson(`${url}/v1/builds`)
    return data.filter(({ app, in_force }) => app === 'rolling' && in_force).map(({ id }) => id)
  }
  const waiting = async (): Promise<string> => {
    const { id } = await client.runs.start('rolls')
    await eventually('it waits', async () => (await statusOf(id)) === 'waiting')
    return id
  }
  const old = await deploy('rolling', 'v1', { rolls: step('v1'), extra: step('v1') })
  const begunOnOld = await waiting()
  const fresh = await deploy('rolling', 'v2', { rolls: step('v2') })
  expect([await inForce(), (await read('extra')).status]).toEqual([['v2'], 'retired'])
  await old.stop()
  await client.runs.resumeStep(begunOnOld, 'person', null)
  expect(await client.runs.result(begunOnOld, { wait: '60s' })).toEqual(['v1', 'v2'])

  const begunOnFresh = await waiting()
  const back = await deploy('rolling', 'v1', { rolls: step('v1'), extra: step('v1') })
  expect([await inForce(), (await read('extra')).status]).toEqual([['v2'], 'retired'])
  await fresh.stop()
  await eventually('the older build counts again', async () => (await inForce()).join() === 'v1')
  expect((await read('extra')).status).toBe('live')
  await client.runs.resumeStep(begunOnFresh, 'person', null)
  expect(await client.runs.result(begunOnFresh, { wait: '60s' })).toEqual(['v2', 'v1'])
  await back.stop()
})

test('a pinned run waits for a worker of the build on which it began, and says so', async () => {
  const code = (build: string) => ({
    pinned: async (ctx: WorkflowContext) => {
      await ctx.step.suspend('person', { timeout: '1h' })
      return await ctx.step.run('ended', () => build)
    },
  })
  const old = await deploy('pins', 'v1', code('v1'), 'pin')
  const { id } = await client.runs.start('pinned')
  await counted('pinned', 'waiting', 1)
  const fresh = await deploy('pins', 'v2', code('v2'), 'pin')
  await old.stop()
  await client.runs.resumeStep(id, 'person', null)
  await eventually('it says what it waits for', async () => {
    const { status, blockedReason } = await client.runs.get(id)
    return status === 'queued' && blockedReason === 'no_worker_of_build'
  })
  const other = await client.runs.start('pinned')
  await eventually('another one waits', async () => (await statusOf(other.id)) === 'waiting')
  await client.runs.resumeStep(other.id, 'person', null)
  expect(await client.runs.result(other.id, { wait: '60s' })).toBe('v2')
  expect(await statusOf(id)).toBe('queued')

  const back = await deploy('pins', 'v1', code('v1'), 'pin')
  expect(await client.runs.result(id, { wait: '60s' })).toBe('v1')
  await Promise.all([fresh.stop(), back.stop()])
})
