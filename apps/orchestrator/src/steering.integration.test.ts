import type { Problem, WireBulk, WireList, WireRun, WireTimelineEntry } from '@headrace/schemas'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type FakeWorker,
  sleepCommand,
  stepCommand,
  suspendCommand,
  workflowOf,
} from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
let worker: FakeWorker

const timed = { ...workflowOf('timed'), timeouts: { start_ms: 100, run_ms: 3_600_000 } }
beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  worker = await headrace.lastingWorker({
    workflows: [workflowOf('report'), workflowOf('many'), workflowOf('unfit'), timed],
  })
})
afterAll(async () => await headrace.stop())

type Answered = WireRun & { existing?: boolean }
const post = async <Body = Answered>(path: string, body?: unknown) =>
  await headrace.call<Body>(path, { method: 'POST', ...(body === undefined ? {} : { body }) })
const start = async (body: Record<string, unknown> = {}): Promise<WireRun> =>
  (await post('/v1/runs', { workflow: 'report', ...body })).body
const claimed = async (): Promise<WireRun> => {
  const run = await start({ input: { day: 1 }, tags: { team: 'a' } })
  await worker.claim(run.id)
  return run
}
const steer = async (id: string, action: string) => await post(`/v1/runs/${id}/${action}`)
const read = async (id: string, query = ''): Promise<WireRun> =>
  (await headrace.call<WireRun>(`/v1/runs/${id}${query}`)).body
const timeline = async (id: string): Promise<WireTimelineEntry[]> =>
  (await headrace.call<WireList<WireTimelineEntry>>(`/v1/runs/${id}/timeline`)).body.data
const complete = (run_id: string, epoch = 1) => ({ kind: 'complete', run_id, epoch, output: '1' }) as const
const lost = { kind: 'lost' }

describe('a run in the hands of a worker', () => {
  test('is cancelled at once: who waits for it is told, its worker learns of it and stores nothing more', async () => {
    const run = await claimed()
    const waiting = read(run.id, '?wait=30s')
    expect(await steer(run.id, 'cancel')).toMatchObject({
      status: 200,
      body: { id: run.id, status: 'cancelled', worker_id: null, error: null },
    })
    expect(await waiting).toMatchObject({ status: 'cancelled' })
    expect(await worker.beat({ runs: [{ run_id: run.id, epoch: 1 }] })).toMatchObject({
      lost: [{ run_id: run.id, epoch: 1 }],
    })
    expect(await worker.do(stepCommand(run.id, 'late'), complete(run.id))).toEqual([lost, lost])
    expect(await steer(run.id, 'cancel')).toMatchObject({ status: 200, body: { status: 'cancelled' } })
    for (const action of ['pause', 'resume'])
      expect(await steer(run.id, action)).toMatchObject({ status: 409, body: { code: 'run_ended' } })
  })

  test('is paused and goes on elsewhere when it is resumed; both may be repeated', async () => {
    const run = await claimed()
    for (let twice = 0; twice < 2; twice += 1)
      expect(await steer(run.id, 'pause')).toMatchObject({
        status: 200,
        body: { status: 'paused', epoch: 1 },
      })
    expect(await worker.do(complete(run.id))).toEqual([lost])
    for (let twice = 0; twice < 2; twice += 1)
      expect(await steer(run.id, 'resume')).toMatchObject({
        status: 200,
        body: { status: 'queued', epoch: 2 },
      })
    await worker.claim(run.id, 2)
    expect(await worker.do(complete(run.id, 2))).toEqual([{ kind: 'done' }])
    expect(await steer(run.id, 'cancel')).toMatchObject({ status: 409, body: { code: 'run_ended' } })
  })
})

describe('a retry', () => {
  test('is one new run, which begins with what the other had stored', async () => {
    const run = await claimed()
    await worker.do(stepCommand(run.id, 'load', { output: '"rows"' }))
    expect(await steer(run.id, 'retry')).toMatchObject({ status: 409, body: { code: 'run_not_retryable' } })
    await worker.do({ kind: 'fail', run_id: run.id, epoch: 1, error: '{"name":"Error","message":"no"}' })
    const first = await steer(run.id, 'retry')
    expect(first).toMatchObject({
      status: 201,
      body: {
        status: 'queued',
        retry_of: run.id,
        attempt: 2,
        epoch: 2,
        input: { day: 1 },
        tags: { team: 'a' },
      },
    })
    expect(first.headers.get('location')).toBe(`/v1/runs/${first.body.id}`)
    expect(await steer(run.id, 'retry')).toMatchObject({
      status: 200,
      body: { id: first.body.id, existing: true },
    })
    const again = await worker.claim(first.body.id, 2)
    expect(again).toMatchObject({ attempt: 2, steps: [{ key: 'load', output: '"rows"', epoch: 1 }] })
    await worker.do(complete(first.body.id, 2))
    expect(await steer(first.body.id, 'retry')).toMatchObject({
      status: 409,
      body: { code: 'run_not_retryable' },
    })
    const [created] = await timeline(first.body.id)
    expect(created).toMatchObject({
      kind: 'created',
      epoch: 2,
      detail: `retries ${run.id}, with 1 of its steps`,
    })
    expect((await timeline(run.id)).at(-1)).toMatchObject({ kind: 'retried', detail: first.body.id })
  })
})

test('the timeline tells every epoch: who had the run, and how it left those hands', async () => {
  const run = await claimed()
  await worker.do(stepCommand(run.id, 'load'), sleepCommand(run.id, 'pause', { after_ms: 1 }))
  // Parked, or told of its answer: whoever is faster. Either way it is given back once.
  const [suspended] = await worker.do(suspendCommand(run.id))
  if (suspended?.kind === 'answers') await worker.do({ kind: 'release', run_id: run.id, epoch: 1 })
  const { epoch } = await eventually('it is queued again', async () => {
    const now = await read(run.id)
    return now.status === 'queued' ? now : null
  })
  await worker.claim(run.id, epoch)
  await worker.do(complete(run.id, epoch))
  const entries = await timeline(run.id)
  const parked = suspended?.kind === 'answers' ? 'released' : 'parked'
  const kinds = entries.map(({ kind, epoch: at }) => `${kind} ${at}`)
  for (const kind of ['created 1', 'queued 1', 'claimed 1', 'step 1', 'wait 1', 'answer 1', `${parked} 1`])
    expect(kinds).toContain(kind)
  for (const kind of ['queued 2', 'claimed 2', 'completed 2']) expect(kinds).toContain(kind)
  expect(entries.filter(({ kind }) => kind === 'claimed')).toMatchObject(
    [1, 2].map((at) => ({ epoch: at, worker_id: worker.id, build: 'b1' })),
  )
  expect(kinds.at(-1)).toBe('completed 2')
})

describe('time', () => {
  test('a delayed run is held, and let go when its time has come', async () => {
    const run = await start({ delay: '300ms' })
    expect(run).toMatchObject({ status: 'queued', blocked_reason: 'delayed' })
    expect(Date.parse(run.run_at!) - Date.parse(run.created_at)).toBe(300)
    const free = await eventually('it is let go', async () => {
      const now = await read(run.id)
      return now.blocked_reason === 'delayed' ? null : now
    })
    expect(Date.parse(free.queued_at!)).toBeGreaterThanOrEqual(Date.parse(run.run_at!))
    await worker.claim(run.id)
  })

  test('a run that nobody takes in time ends, and says why; one that was taken has the time that it may run', async () => {
    const { body: late } = await post('/v1/runs', { workflow: 'timed' })
    const ended = await read(late.id, '?wait=30s')
    expect(ended).toMatchObject({ status: 'timed_out', error: { code: 'run_timed_out' } })
    const { body: taken } = await post('/v1/runs', { workflow: 'timed', delay: 3_600 })
    expect(Date.parse(taken.expires_at!) - Date.parse(taken.run_at!)).toBe(100)
    await worker.claim(taken.id)
    const { expires_at, started_at } = await read(taken.id)
    expect(Date.parse(expires_at!) - Date.parse(started_at!)).toBe(3_600_000)
  })
})

describe('bulk', () => {
  const bulk = async (body: Record<string, unknown>) => await post<WireBulk & Problem>('/v1/runs/bulk', body)

  test('counts first, then does it to exactly those; a second time to none', async () => {
    const runs = await Promise.all(Array.from({ length: 7 }, async () => await start({ workflow: 'many' })))
    await worker.claim(runs[0]!.id)
    await worker.do(complete(runs[0]!.id))
    const filter = { workflow: 'many' }
    for (const [action, then] of [
      ['pause', 'paused'],
      ['resume', 'queued'],
      ['cancel', 'cancelled'],
    ]) {
      const dry = await bulk({ action, filter })
      expect(dry.body).toEqual({ action, dry_run: true, matched: 6, changed: 0, next_cursor: null })
      const real = await bulk({ action, filter, dry_run: false })
      expect(real.body).toEqual({ action, dry_run: false, matched: 6, changed: 6, next_cursor: null })
      expect((await read(runs[3]!.id)).status).toBe(then)
      expect((await bulk({ action, filter, dry_run: false })).body).toMatchObject({ matched: 0 })
    }
    const retry = { action: 'retry', filter: { ...filter, status: ['cancelled'] }, dry_run: false }
    expect((await bulk(retry)).body).toMatchObject({ matched: 6, changed: 6 })
    expect((await bulk(retry)).body).toMatchObject({ matched: 0, changed: 0 })
    expect((await read(runs[0]!.id)).status).toBe('completed')
  })

  test('pauses what its code has paused too, so that it does not go on by itself; and no other that is paused', async () => {
    const [misfit, exhausted] = [await start({ workflow: 'unfit' }), await start({ workflow: 'unfit' })]
    for (const [{ id: run_id }, reason] of [
      [misfit, 'replay_mismatch'],
      [exhausted, 'retries_exhausted'],
    ] as const) {
      await worker.claim(run_id)
      await worker.do({ kind: 'pause', run_id, epoch: 1, reason, error: '{"name":"Error","message":"no"}' })
    }
    expect((await read(misfit.id)).blocked_reason).toBe('replay_mismatch')
    const pause = { action: 'pause', filter: { workflow: 'unfit' } }
    expect((await bulk(pause)).body).toMatchObject({ matched: 1 })
    expect((await bulk({ ...pause, dry_run: false })).body).toMatchObject({ matched: 1, changed: 1 })
    expect(await read(misfit.id)).toMatchObject({ status: 'paused', blocked_reason: null })
    expect((await read(exhausted.id)).blocked_reason).toBe('retries_exhausted')
    expect((await bulk(pause)).body).toMatchObject({ matched: 0 })
  })

  test.each([
    ['no condition', { action: 'cancel', filter: {} }, 'invalid_field', '/filter'],
    ['an unknown action', { action: 'stop', filter: { workflow: 'a' } }, 'invalid_field', '/action'],
    [
      'an unknown condition',
      { action: 'cancel', filter: { workflow: 'a', flow: 'a' } },
      'unknown_field',
      '/filter/flow',
    ],
    [
      'a foreign cursor',
      { action: 'cancel', filter: { workflow: 'a' }, cursor: 'x' },
      'invalid_cursor',
      '/cursor',
    ],
    [
      'a time that is none',
      { action: 'cancel', filter: { created_after: 'soon' } },
      'invalid_field',
      '/filter/created_after',
    ],
  ])('%s is refused', async (_name, body, code, pointer) => {
    expect(await bulk(body)).toMatchObject({ status: 422, body: { code, errors: [{ pointer }] } })
  })
})

test.each([
  ['a delay that is none', async () => await post('/v1/runs', { workflow: 'report', delay: 'soon' }), 422],
  [
    'a delay of more than a year',
    async () => await post('/v1/runs', { workflow: 'report', delay: '400d' }),
    422,
  ],
  [
    'a body where none is taken',
    async () => await post(`/v1/runs/${crypto.randomUUID()}/cancel`, { a: 1 }),
    422,
  ],
  ['an unknown run', async () => await steer(crypto.randomUUID(), 'retry'), 404],
])('%s is refused', async (_name, ask, status) => {
  expect((await ask()).status).toBe(status)
})
