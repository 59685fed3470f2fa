import type { WireRun } from '@headrace/schemas'
import { createDatabase, eventually, infra, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { stepCommand, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  // The orchestrator has beaten for long: it may judge workers.
  await eventually('the orchestrator lives', async () => {
    const { rowCount } = await headrace.store.general.query(
      `update instances set unbroken_since = now() - interval '1 hour' where component = 'orchestrator'`,
    )
    return rowCount
  })
})
afterAll(async () => await headrace.stop())

const start = async (workflow: string): Promise<WireRun> =>
  (await headrace.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow, input: { n: 1 } } })).body
const read = async (id: string): Promise<WireRun> => (await headrace.call<WireRun>(`/v1/runs/${id}`)).body
const silence = async (workerId: string): Promise<void> => {
  await headrace.store.general.query(
    `update workers set last_heartbeat_at = now() - interval '1 minute' where id = $1`,
    [workerId],
  )
}
const older = async (runId: string): Promise<void> => {
  await headrace.store.general.query(
    `update runs set queued_at = now() - interval '1 minute' where id = $1`,
    [runId],
  )
}

test('the runs of a worker without heartbeats go on with their stored steps at another', async () => {
  const [dead, living] = [
    await headrace.worker({ workflows: [workflowOf('job')] }),
    await headrace.worker({ workflows: [workflowOf('job')] }),
  ]
  const run = await start('job')
  await dead.claim(run.id)
  await dead.do(stepCommand(run.id, 'charge'))
  await silence(dead.id)
  await eventually('it is queued again', async () => (await read(run.id)).epoch === 2)
  const claimed = await living.claim(run.id, 2)
  expect(claimed).toMatchObject({ lost: 1, steps: [{ key: 'charge' }] })

  expect(await dead.beat({ runs: [{ run_id: run.id, epoch: 1 }] })).toEqual({
    status: 'unknown_worker',
    lost: [],
  })
  expect(await dead.do({ kind: 'complete', run_id: run.id, epoch: 1, output: '1' })).toEqual([
    { kind: 'lost' },
  ])
  expect(await living.do({ kind: 'complete', run_id: run.id, epoch: 2, output: '2' })).toEqual([
    { kind: 'done' },
  ])
  expect(await read(run.id)).toMatchObject({ status: 'completed', output: 2 })
  expect((await dead.register()).body).toMatchObject({ code: 'unknown_worker', status: 409 })
})

test('a run that costs five workers their life fails, with a dead letter', async () => {
  const run = await start('job')
  for (let epoch = 1; epoch <= 5; epoch++) {
    const worker = await headrace.worker({ workflows: [workflowOf('job')] })
    expect((await worker.claim(run.id, epoch)).lost).toBe(epoch - 1)
    await silence(worker.id)
    await eventually('the loss is seen', async () => {
      const { epoch: now, status } = await read(run.id)
      return now > epoch || status === 'failed'
    })
  }
  expect(await read(run.id)).toMatchObject({ status: 'failed', epoch: 5, error: { code: 'worker_lost' } })
  const letter = await eventually('the dead letter is written', async () =>
    (await readTopic(brokers, `${prefix}.dead-letters`)).find(
      (each) => String(each.headers['run_id']) === run.id,
    ),
  )
  expect(String(letter.headers['reason'])).toBe('worker_lost')
  expect(JSON.parse(String(letter.value))).toEqual({ n: 1 })
})

test('a run that its living worker forgot goes back after two heartbeats, one that is listed stays', async () => {
  const worker = await headrace.worker({ workflows: [workflowOf('job')] })
  const [forgotten, kept] = [await start('job'), await start('job')]
  await worker.claim(forgotten.id)
  await worker.claim(kept.id)
  const runs = [{ run_id: kept.id, epoch: 1 }]
  await worker.beat({ runs, stealing: true })
  await worker.beat({ runs, stealing: true })
  await worker.beat({ runs })
  expect(await read(forgotten.id)).toMatchObject({ status: 'running', epoch: 1 })
  await worker.beat({ runs })
  expect(await read(forgotten.id)).toMatchObject({ status: 'queued', epoch: 2 })
  expect(await read(kept.id)).toMatchObject({ status: 'running', epoch: 1 })
  expect((await worker.claim(forgotten.id, 2)).lost).toBe(0)
})

test('a worker that comes back under a new id has its runs go on at once, and as no loss', async () => {
  const workflows = [workflowOf('job')]
  const before = await headrace.worker({ workflows })
  const run = await start('job')
  await before.claim(run.id)
  // Of another app nobody takes anything.
  await headrace.worker({ app: 'other', workflows: [workflowOf('other_job')], replaces: before.id })
  expect(await read(run.id)).toMatchObject({ status: 'running', epoch: 1 })

  const after = await headrace.worker({ workflows, replaces: before.id })
  expect(await read(run.id)).toMatchObject({ status: 'queued', epoch: 2 })
  expect((await after.claim(run.id, 2)).lost).toBe(0)
  expect((await before.beat()).status).toBe('unknown_worker')
  const next = await start('job')
  expect(await before.do({ kind: 'claim', run_id: next.id, epoch: 1, want_input: true })).toEqual([
    { kind: 'lost' },
  ])
})

test('a run whose task never came is stolen, oldest first, by a worker that has its code', async () => {
  const queue = 'thieves'
  const workflows = [workflowOf('stolen', undefined, queue)]
  const owner = await headrace.worker({ queue, app: 'thieves', workflows })
  const [younger, elder] = [await start('stolen'), await start('stolen')]
  await older(elder.id)
  expect(await owner.do({ kind: 'steal', workflows: ['other'], limit: 5 })).toEqual([
    { kind: 'stolen', runs: [] },
  ])
  const [first] = await owner.do({ kind: 'steal', workflows: ['stolen'], limit: 5 })
  expect(first).toMatchObject({ kind: 'stolen', runs: [{ run_id: elder.id, input: '{"n":1}' }] })
  await older(younger.id)
  const [second] = await owner.do({ kind: 'steal', workflows: ['stolen'], limit: 5 })
  expect(second).toMatchObject({ kind: 'stolen', runs: [{ run_id: younger.id }] })
  // A worker of another queue has the code, but its queue's runs are others'.
  const elsewhere = await headrace.worker({ app: 'thieves', workflows })
  await older((await start('stolen')).id)
  expect(await elsewhere.do({ kind: 'steal', workflows: ['stolen'], limit: 5 })).toEqual([
    { kind: 'stolen', runs: [] },
  ])
})
