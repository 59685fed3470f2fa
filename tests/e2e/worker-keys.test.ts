import type { CommandsReply, Problem } from '@headrace/schemas'
import { Client, workflow, Worker } from '@headrace/sdk'
import { eventually } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startKeyed } from '../harness/keyed-headrace.ts'

const headrace = await startKeyed()
const { url, call, keyOf, made } = headrace

beforeAll(async () => {
  await made('admin', ['admin'])
  await made('mail', ['worker:mail'])
  await made('anywhere', ['worker'])
  for (const name of ['elsewhere', 'revoked', 'other']) await made(name, ['worker'])
  await made('starter', ['runs:write', 'runs:read'])
  // Whoever answers workers reads all keys at once.
  await eventually('the last key is known', async () => {
    return (await call('/v1/runs', { key: keyOf('starter') })).status === 200
  })
})
afterAll(async () => await headrace.stop())

/** A request of the worker protocol. */
const say = async (name: string, path: string, body: object) =>
  await call<Problem & CommandsReply>(`/v1/worker/${path}`, {
    key: keyOf(name),
    method: 'POST',
    headers: { 'headrace-protocol': '1' },
    body,
  })
const registrationOf = (worker: string, queue: string, workflows: object[] = []) => ({
  worker_id: worker,
  app: queue,
  build: '1',
  queue,
  host: 'h',
  sdk: '0',
  concurrency: 1,
  workflows,
})
const beatOf = (worker: string) => ({
  worker_id: worker,
  status: 'live',
  partitions: [],
  runs: [],
  stealing: false,
  stalled_ms: 0,
})
const commandsOf = (worker: string, ...commands: object[]) => ({ worker_id: worker, commands })

describe('a key for workers', () => {
  test('of a queue registers those of that queue alone', async () => {
    expect((await say('mail', 'register', registrationOf('mail-1', 'mail'))).status).toBe(200)
    const { status, body } = await say('mail', 'register', registrationOf('default-1', 'default'))
    expect([status, body.detail]).toEqual([403, expect.stringContaining('worker:default')])
  })

  test('speaks for no worker that registered with another one', async () => {
    await say('anywhere', 'register', registrationOf('anywhere-1', 'mail'))
    for (const [path, body] of [
      ['heartbeat', beatOf('anywhere-1')],
      ['commands', commandsOf('anywhere-1', { kind: 'steal', workflows: ['any'], limit: 1 })],
    ] as const) {
      expect([path, (await say('anywhere', path, body)).status]).toEqual([path, 200])
      for (const name of ['elsewhere', 'mail']) {
        const { status, body: told } = await say(name, path, body)
        expect([path, name, status, told.code]).toEqual([path, name, 403, 'forbidden'])
      }
    }
    // Nor does it take the worker over.
    const { status, body } = await say('elsewhere', 'register', registrationOf('anywhere-1', 'mail'))
    expect([status, body.code]).toEqual([409, 'unknown_worker'])
    const replaces = { ...registrationOf('elsewhere-1', 'mail'), replaces: 'anywhere-1' }
    expect((await say('elsewhere', 'register', replaces)).status).toBe(200)
    expect((await say('anywhere', 'heartbeat', beatOf('anywhere-1'))).body).toMatchObject({ status: 'ok' })
  })

  test('of a queue gets no run of another one, and says nothing of it', async () => {
    const definition = { id: 'shipping', queue: 'default', on_deploy: 'upgrade', triggers: [] }
    await say('anywhere', 'register', registrationOf('default-2', 'default', [definition]))
    await say('mail', 'register', registrationOf('mail-2', 'mail'))
    const { body: run } = await call<{ id: string }>('/v1/runs', {
      key: keyOf('starter'),
      method: 'POST',
      body: { workflow: 'shipping', input: null },
    })
    const claim = { kind: 'claim', run_id: run.id, epoch: 1, want_input: false }
    const complete = { kind: 'complete', run_id: run.id, epoch: 1, output: '"forged"' }
    const repliesTo = async (name: string, worker: string, command: object) =>
      (await say(name, 'commands', commandsOf(worker, command))).body.replies.map(({ kind }) => kind)
    expect(await repliesTo('mail', 'mail-2', claim)).toEqual(['lost'])
    expect(await repliesTo('anywhere', 'default-2', claim)).toEqual(['claimed'])
    expect(await repliesTo('mail', 'mail-2', complete)).toEqual(['lost'])
    expect(await repliesTo('anywhere', 'default-2', { ...complete, output: '"own"' })).toEqual(['done'])
  })
})

test('a worker whose key is revoked takes nothing more, says so and goes on trying, and others take its runs', async () => {
  const begun = Promise.withResolvers<void>()
  let bodies = 0
  const hello = workflow(
    { id: 'hello' },
    async (ctx) =>
      await ctx.step.run('greet', async () => {
        bodies += 1
        if (bodies > 1) return 'hello'
        begun.resolve()
        await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
        return 'from a worker that may not say it'
      }),
  )
  const said: object[] = []
  const log = {
    debug: () => {},
    info: () => {},
    warn: (fields: object) => void said.push(fields),
    error: () => {},
  }
  const workerOf = (name: string) =>
    new Worker({ workflows: [hello], url, app: 'keyed', build: '1', log, apiKey: keyOf(name) })
  const [revoked, other] = [workerOf('revoked'), workerOf('other')]
  try {
    await revoked.start()
    const client = new Client({ url, apiKey: keyOf('starter') })
    await eventually('the workflow is registered', async () => {
      return (await call('/v1/workflows/hello', { key: keyOf('starter') })).status === 200
    })
    const { id } = await client.runs.start('hello', {})
    await begun.promise
    await other.start()
    await eventually('the other worker works', () => other.ready)
    const [, , keyId] = keyOf('revoked').split('_')
    await call(`/v1/keys/${keyId}`, { key: keyOf('admin'), method: 'DELETE' })
    await eventually('the run has completed', async () => {
      const run = await call<{ status: string; output: unknown }>(`/v1/runs/${id}`, { key: keyOf('starter') })
      return run.body.status === 'completed' && run.body.output === 'hello'
    })
    await eventually('it goes on trying', () =>
      said.some((each) => 'event' in each && each.event === 'worker.key_refused'),
    )
    expect(said).toContainEqual(expect.objectContaining({ event: 'worker.lost', code: 'key_refused' }))
    expect([revoked.ready, bodies]).toEqual([false, 2])
  } finally {
    await revoked.stop()
    await other.stop()
  }
})
