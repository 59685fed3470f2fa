import { setCheckpointHandler } from '@headrace/core'
import type { CommandReply, Problem, WireList, WireRun, WireStep, WireWait } from '@headrace/schemas'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  askCommand,
  childCommand,
  type FakeWorker,
  invokeCommand,
  lookCommand,
  sleepCommand,
  suspendCommand,
  workflowOf,
} from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
/** Of one app, on two orchestrators: parents here, children there. */
let here: Started
let there: Started
let parents: FakeWorker
let children: FakeWorker

beforeAll(async () => {
  here = await startedOrchestrator({ brokers, prefix, databaseUrl })
  there = await startedOrchestrator({ brokers, prefix, databaseUrl })
})
beforeEach(async () => {
  const workflows = [workflowOf('parent'), workflowOf('child', undefined, 'children')]
  parents = await here.lastingWorker({ workflows })
  children = await there.lastingWorker({ workflows, queue: 'children' })
})
afterEach(() => setCheckpointHandler(null))
afterAll(async () => {
  await there.stop()
  await here.stop()
})

const DONE: CommandReply = { kind: 'done' }
const WAITING: CommandReply = { kind: 'waiting' }

async function parent(): Promise<string> {
  const { body } = await here.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow: 'parent' } })
  await parents.claim(body.id)
  return body.id
}
const read = async (id: string): Promise<WireRun> => (await here.call<WireRun>(`/v1/runs/${id}`)).body
const stepsOf = async (id: string): Promise<WireStep[]> =>
  (await here.call<WireList<WireStep>>(`/v1/runs/${id}/steps`)).body.data
const waitsOf = async (id: string): Promise<WireWait[]> =>
  (await here.call<WireList<WireWait>>(`/v1/waits?run_id=${id}`)).body.data
const post = async <Body = WireRun>(path: string, body?: unknown) =>
  await here.call<Body>(path, { method: 'POST', ...(body === undefined ? {} : { body }) })
/** The child that a parked run waits for under the key `child`. */
async function parked(): Promise<{ run: string; child: string }> {
  const run = await parent()
  expect(await parents.do(childCommand(run, 'child', 'child', { input: '{"n":1}' }))).toEqual([WAITING])
  expect(await parents.do(suspendCommand(run))).toEqual([DONE])
  const [wait] = await waitsOf(run)
  return { run, child: wait?.child_run_id ?? '' }
}
async function complete(child: string, output = '{"rows":7}'): Promise<void> {
  await children.claim(child)
  expect(await children.do({ kind: 'complete', run_id: child, epoch: 1, output })).toEqual([DONE])
}
const queuedAgain = async (run: string): Promise<unknown> =>
  await eventually('the parent goes on', async () => (await read(run)).status === 'queued')

describe('a run that waits for its child', () => {
  test('is parked, shows what it waits for, and goes on with what another orchestrator’s worker returned', async () => {
    const { run, child } = await parked()
    expect(await read(run)).toMatchObject({
      status: 'waiting',
      waiting_for: [{ key: 'child', kind: 'run', topic: null, expires_at: expect.any(String) }],
    })
    expect(await waitsOf(run)).toMatchObject([
      { key: 'child', kind: 'run', status: 'open', child_run_id: child, answer: null },
    ])
    expect(await read(child)).toMatchObject({
      workflow: 'child',
      queue: 'children',
      status: 'queued',
      input: { n: 1 },
      parent_run_id: run,
    })
    await complete(child)
    await queuedAgain(run)
    const claimed = await parents.claim(run, 2)
    expect(claimed).toMatchObject({
      wake: 1,
      steps: [{ key: 'child', step_kind: 'child', seen: 1, output: '{"rows":7}', error: null }],
    })
    expect(await stepsOf(run)).toMatchObject([
      { key: 'child', kind: 'child', status: 'completed', output: { rows: 7 } },
    ])
    const metrics = await (await fetch(`${there.app.managementUrl}/metrics`)).text()
    expect(metrics).toMatch(/headrace_answers_total\{kind="run",outcome="answered"\} [1-9]/)
  })

  test('whose child ends before its registration is answered is told so by that answer', async () => {
    const run = await parent()
    const { promise: released, resolve: goOn } = Promise.withResolvers<void>()
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
    setCheckpointHandler((name) => {
      if (name !== 'wait.after-commit') return undefined
      reach()
      return released
    })
    const registering = parents.do(childCommand(run, 'child', 'child'))
    await reached
    const [wait] = await waitsOf(run)
    await complete(wait?.child_run_id ?? '', '1')
    await eventually('it is answered', async () => (await waitsOf(run))[0]?.status === 'answered')
    goOn()
    expect(await registering).toMatchObject([
      { kind: 'answers', wake: 1, steps: [{ key: 'child', output: '1' }] },
    ])
    expect(await parents.do(suspendCommand(run))).toMatchObject([{ kind: 'answers' }])
  })

  test('goes on though whoever ended its child died before it came to the parent', async () => {
    const { run, child } = await parked()
    const { promise: died, resolve: die } = Promise.withResolvers<void>()
    setCheckpointHandler(async (name) => {
      if (name !== 'child.before-match') return
      die()
      await Promise.reject(new Error('died here'))
    })
    await complete(child)
    await died
    setCheckpointHandler(null)
    await queuedAgain(run)
    expect(await stepsOf(run)).toMatchObject([{ key: 'child', output: { rows: 7 } }])
  })

  test('is told when it registers again, though nobody else has come to it', async () => {
    const run = await parent()
    await parents.do(childCommand(run, 'child', 'child'))
    const [wait] = await waitsOf(run)
    await here.store.general.query(
      `update runs set status = 'completed', output = '2', finished_at = now() where id = $1`,
      [wait?.child_run_id],
    )
    expect(await parents.do(childCommand(run, 'child', 'child'))).toMatchObject([
      { kind: 'answers', steps: [{ key: 'child', output: '2' }] },
    ])
  })

  test('gets an error when the child fails or is cancelled', async () => {
    const [failing, cancelled] = [await parked(), await parked()]
    await children.claim(failing.child)
    const error = JSON.stringify({
      name: 'TypeError',
      message: 'no day',
      code: null,
      stack: null,
      step_key: null,
    })
    await children.do({ kind: 'fail', run_id: failing.child, epoch: 1, error })
    expect((await post(`/v1/runs/${cancelled.child}/cancel`)).status).toBe(200)
    for (const [{ run, child }, status] of [
      [failing, 'failed'],
      [cancelled, 'cancelled'],
    ] as const) {
      await queuedAgain(run)
      const { steps } = await parents.claim(run, 2)
      expect(JSON.parse(steps[0]?.error ?? '')).toMatchObject({
        name: 'ChildRunError',
        code: 'child_run_failed',
        step_key: 'child',
        run_id: child,
        status,
        error: status === 'failed' ? { message: 'no day' } : null,
      })
    }
  })

  test('gets an error in the reply itself where no such workflow is registered', async () => {
    const run = await parent()
    expect(
      await parents.do(childCommand(run, 'child', 'none'), invokeCommand(run, 'other', 'none')),
    ).toMatchObject([
      {
        kind: 'answers',
        steps: [{ key: 'child', error: expect.stringContaining('there is no workflow none') }],
      },
      { kind: 'refused', code: 'workflow_not_found' },
    ])
    expect((await stepsOf(run))[0]).toMatchObject({
      key: 'child',
      status: 'failed',
      error: { name: 'ChildRunError' },
    })
  })

  test('that is cancelled leaves its child running', async () => {
    const { run, child } = await parked()
    await post(`/v1/runs/${run}/cancel`)
    expect(await read(child)).toMatchObject({ status: 'queued', parent_run_id: run })
    await complete(child)
    expect(await read(run)).toMatchObject({ status: 'cancelled', waiting_for: [] })
  })
})

describe('a run that does not wait for its child', () => {
  test('is given the id of one run, however often it asks, and nothing when that ends', async () => {
    const run = await parent()
    const invoke = invokeCommand(run, 'child', 'child')
    const [first, second] = await parents.do(invoke, invoke)
    expect(first?.kind).toBe('invoked')
    expect(second).toEqual(first)
    expect(await parents.do(invoke)).toEqual([first])
    const id = first?.kind === 'invoked' ? first.run_id : ''
    expect(await read(id)).toMatchObject({ parent_run_id: run, input: { by: 'invoke' } })
    await complete(id)
    expect(await parents.do(lookCommand(run))).toEqual([WAITING])
    expect((await waitsOf(run)).length).toBe(0)
  })

  test('is refused input over 1 MiB', async () => {
    const run = await parent()
    const input = JSON.stringify('x'.repeat(1024 * 1024))
    const replies = await parents.do(childCommand(run, 'a', 'child', { input }))
    expect(replies).toMatchObject([{ kind: 'refused', code: 'run_input_too_large' }])
    expect((await waitsOf(run)).length).toBe(0)
  })
})

describe('a step that waits for somebody', () => {
  const resume = async (run: string, key: string, body: unknown) =>
    await post<Omit<WireWait, 'status'> & Problem>(
      `/v1/runs/${run}/steps/${encodeURIComponent(key)}/resume`,
      body,
    )

  test('is not there before the run has come to it; then the first answer counts, and the same again is no fault', async () => {
    const run = await parent()
    const key = 'ask “ann”/1'
    const early = await resume(run, key, { data: 1 })
    expect([early.status, early.body.code]).toEqual([404, 'wait_not_found'])
    expect(await parents.do(askCommand(run, key))).toEqual([WAITING])
    await parents.do(suspendCommand(run))
    expect(await read(run)).toMatchObject({ waiting_for: [{ key, kind: 'resume', topic: null }] })
    const data = { approved: true, note: 'a\u0000b' }
    const first = await resume(run, key, { data })
    expect([first.status, first.body]).toMatchObject([
      200,
      { run_id: run, key, kind: 'resume', status: 'answered', answered_at: expect.any(String) },
    ])
    const again = await resume(run, key, { data })
    expect([again.status, again.body]).toEqual([200, first.body])
    const other = await resume(run, key, { data: { approved: false } })
    expect([other.status, other.body.code]).toEqual([409, 'wait_settled'])
    expect(await read(run)).toMatchObject({ status: 'queued', epoch: 2 })
    expect(await stepsOf(run)).toMatchObject([{ key, kind: 'resume', status: 'completed', output: data }])
  })

  test('resumed by many at once has one answer', async () => {
    const run = await parent()
    await parents.do(askCommand(run, 'ask'))
    const answers = await Promise.all(
      Array.from({ length: 8 }, async (_, data) => ({ data, ...(await resume(run, 'ask', { data })) })),
    )
    const [won, ...others] = answers.toSorted((a, b) => a.status - b.status)
    expect(others.map(({ status }) => status)).toEqual(Array.from({ length: 7 }, () => 409))
    expect((await stepsOf(run))[0]?.output).toBe(won?.data)
  })

  test('over the time is over', async () => {
    const run = await parent()
    await parents.do(askCommand(run, 'ask'))
    await here.store.general.query('update waits set expires_at = now() where run_id = $1', [run])
    await eventually('it has timed out', async () => (await waitsOf(run))[0]?.status === 'timed_out')
    const { status, body } = await resume(run, 'ask', {})
    expect([status, body.code, body.detail]).toEqual([
      409,
      'wait_settled',
      expect.stringContaining('has timed out'),
    ])
    expect(await stepsOf(run)).toMatchObject([{ status: 'failed', error: { name: 'WaitTimeoutError' } }])
  })

  test.each([
    ['an unknown field', { datum: 1 }, 422, 'unknown_field', '/datum'],
    ['no object', [1], 422, 'invalid_field', ''],
    ['more than 1 MiB', { data: 'x'.repeat(1024 * 1024) }, 413, 'body_too_large', '/data'],
  ])('refuses %s', async (_name, sent, status, code, pointer) => {
    const { status: answered, body } = await resume(crypto.randomUUID(), 'ask', sent)
    expect([answered, body.code, body.errors?.[0]?.pointer]).toEqual([status, code, pointer])
  })

  test('is not found under another kind of step, a key that cannot be, or a run that is not there', async () => {
    const run = await parent()
    await parents.do(sleepCommand(run, 'nap', { after_ms: 3_600_000 }))
    const sleeping = await resume(run, 'nap', {})
    expect([sleeping.status, sleeping.body.code]).toEqual([404, 'wait_not_found'])
    expect(sleeping.body.detail).toContain('a wait of kind time')
    expect((await resume(run, 'a\u0000', {})).body.code).toBe('wait_not_found')
    expect((await resume(crypto.randomUUID(), 'ask', {})).body.code).toBe('run_not_found')
    expect((await resume('7', 'ask', {})).body.code).toBe('run_not_found')
  })
})
