import { setCheckpointHandler } from '@headrace/core'
import {
  type CommandReply,
  limits,
  type Task,
  type WireList,
  type WireRun,
  type WireStep,
} from '@headrace/schemas'
import { createDatabase, eventually, infra, readTopic } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  type FakeWorker,
  lookCommand,
  sleepCommand,
  stepCommand,
  suspendCommand,
  waitCommand,
  workflowOf,
} from './fakes/fake-worker.ts'
import { openedStream, respond } from './fakes/responses.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const workflows = [workflowOf('shop')]
let headrace: Started
let worker: FakeWorker

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  await openedStream(headrace.store, 'approvals')
})
beforeEach(async () => {
  worker = await headrace.lastingWorker({ workflows })
})
afterEach(() => setCheckpointHandler(null))
afterAll(async () => await headrace.stop())

async function claimed(holder: FakeWorker = worker): Promise<string> {
  const { body } = await headrace.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow: 'shop' } })
  await holder.claim(body.id)
  return body.id
}
const read = async (id: string): Promise<WireRun> => (await headrace.call<WireRun>(`/v1/runs/${id}`)).body
const steps = async (id: string): Promise<WireStep[]> =>
  (await headrace.call<WireList<WireStep>>(`/v1/runs/${id}/steps`)).body.data
const event = async (topic: string, data: unknown) => await respond(headrace.store, topic, data)
/** The times that these runs wait for are over. */
const overNow = async (runIds: string[]): Promise<void> => {
  await headrace.store.general.query('update waits set expires_at = now() where run_id = any ($1::uuid[])', [
    runIds,
  ])
}
let topics = 0
const newTopic = (): string => `approvals/${(topics += 1)}`
const WAITING: CommandReply = { kind: 'waiting' }
const DONE: CommandReply = { kind: 'done' }
const LOST: CommandReply = { kind: 'lost' }

/** Holds the code at a checkpoint, once; `die` leaves its request without the rest. */
function heldAt(point: string) {
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: released, resolve: goOn, reject } = Promise.withResolvers<void>()
  let hits = 0
  setCheckpointHandler((name) => {
    if (name !== point || hits > 0) return undefined
    hits += 1
    reach()
    return released
  })
  return { reached, goOn, die: () => reject(new Error('died here')) }
}

describe('a wait', () => {
  test('parks its run, which no worker holds, and shows what the run waits for', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    expect(await worker.do(stepCommand(run, 'ask'), waitCommand(run, 'answer', topic))).toEqual([
      { kind: 'stored' },
      WAITING,
    ])
    expect(await worker.do(lookCommand(run))).toEqual([WAITING])
    const { body: before } = await headrace.call<{ waiting: number; running: number }>('/v1/queues/default')
    expect(await worker.do(suspendCommand(run))).toEqual([DONE])

    const parked = await read(run)
    expect(parked).toMatchObject({
      status: 'waiting',
      epoch: 1,
      worker_id: null,
      waiting_for: [{ key: 'answer', kind: 'event', topic }],
    })
    expect((await steps(run)).map(({ key, kind, status }) => [key, kind, status])).toEqual([
      ['ask', 'run', 'completed'],
      ['answer', 'event', 'waiting'],
    ])
    const { body: after } = await headrace.call('/v1/queues/default')
    expect(after).toMatchObject({ waiting: before.waiting + 1, running: before.running - 1 })
    const { body: listed } = await headrace.call<WireList<WireRun>>('/v1/runs?status=waiting&limit=1')
    expect(listed.data[0]).toMatchObject({ id: run, waiting_for: [{ key: 'answer' }] })
  })

  test('that is registered again stays as it is, and brings the answer that has come meanwhile', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    const wait = waitCommand(run, 'answer', topic)
    expect(await worker.do(wait)).toEqual([WAITING])
    const row = async () =>
      (await headrace.store.general.query('select * from waits where run_id = $1', [run])).rows
    const first = await row()
    expect(await worker.do(wait, wait)).toEqual([WAITING, WAITING])
    expect(await row()).toEqual(first)
    const { id } = await event(topic, { approved: true })
    // Whoever stored it would have answered now; the wait's own look does as well, once it is not marked as done.
    await headrace.store.general.query('update waits set checked_at = null where run_id = $1', [run])
    const [reply] = await worker.do(wait)
    expect(reply).toMatchObject({
      kind: 'answers',
      wake: 1,
      steps: [{ key: 'answer', step_kind: 'event', seen: 1 }],
    })
    if (reply?.kind !== 'answers') throw new Error('no answers')
    expect(JSON.parse(reply.steps[0]?.output ?? '')).toMatchObject({ id, topic, data: { approved: true } })
  })

  test('finds an event that came before it, and an answered run cannot be parked over it', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    await event(topic, 1)
    const [reply] = await worker.do(waitCommand(run, 'answer', topic))
    expect(reply).toMatchObject({ kind: 'answers', wake: 1 })
    // Its answer was lost: the worker has seen nothing.
    expect(await worker.do(suspendCommand(run), lookCommand(run))).toMatchObject([
      { kind: 'answers', wake: 1, steps: [{ key: 'answer' }] },
      { kind: 'answers', wake: 1, steps: [{ key: 'answer' }] },
    ])
    expect(await read(run)).toMatchObject({ status: 'running', waiting_for: [] })
    expect(await worker.do(lookCommand(run, { seen: 1 }))).toEqual([WAITING])
    expect((await steps(run))[0]).toMatchObject({
      key: 'answer',
      status: 'completed',
      output: { topic, data: 1 },
    })
  })

  test('with a filter is answered by the first event that passes it', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    for (const total of [10, 60, 70]) await event(topic, { total })
    await event(topic, 'no object')
    const [reply] = await worker.do(waitCommand(run, 'big', topic, { filter: 'event.data.total > 50' }))
    expect(reply).toMatchObject({ kind: 'answers' })
    expect((await steps(run))[0]).toMatchObject({ output: { data: { total: 60 } } })
  })

  test('on a stream that is not gathered yet is pending, and parks its run all the same', async () => {
    const run = await claimed()
    expect(await worker.do(waitCommand(run, 'answer', 'invoices/1'))).toEqual([WAITING])
    expect(await worker.do(suspendCommand(run))).toEqual([DONE])
    const { body } = await headrace.call<WireList<{ status: string }>>(`/v1/waits?run_id=${run}`)
    expect(body.data).toMatchObject([{ status: 'pending', topic: 'invoices/1' }])
    const streams = await headrace.call<WireList<{ stream: string }>>('/v1/waited-streams')
    expect(streams.body.data.map(({ stream }) => stream)).toContain('invoices')
  })

  test('whose run is parked queues it again with its answer, and its next task is sent', async () => {
    await worker.beat({ partitions: [0, 1] })
    const run = await claimed()
    await worker.do(sleepCommand(run, 'nap', { after_ms: 3_600_000 }))
    expect(await worker.do(suspendCommand(run))).toEqual([DONE])
    await overNow([run])
    await eventually('it is queued again', async () => (await read(run)).status === 'queued')
    const task = await eventually('its task', async () =>
      (await readTopic(brokers, `${prefix}.tasks.default`))
        .map(({ value }) => JSON.parse(String(value)) as Task)
        .find((each) => each.run_id === run && each.epoch === 2),
    )
    expect(task.epoch).toBe(2)
    expect(await worker.claim(run, 2)).toMatchObject({
      wake: 1,
      steps: [{ key: 'nap', step_kind: 'time', seen: 1, epoch: 1, output: 'null' }],
    })
    const metrics = await (await fetch(`${headrace.app.managementUrl}/metrics`)).text()
    expect(metrics).toMatch(/headrace_wait_resume_seconds_count\{workflow="shop"\} [1-9]/)
  })
})

describe('a time', () => {
  test('that is over already answers at once, in the reply itself', async () => {
    const run = await claimed()
    const replies = await worker.do(
      sleepCommand(run, 'none', { after_ms: 0 }),
      sleepCommand(run, 'past', { at_ms: Date.now() - 3_600_000 }),
    )
    expect(replies.map(({ kind }) => kind)).toEqual(['answers', 'answers'])
    const [answered] = replies
    if (answered?.kind !== 'answers') throw new Error('not answered')
    // The one that was due first comes first.
    expect(answered.steps.map(({ key, seen }) => [key, seen])).toEqual([
      ['past', 1],
      ['none', 2],
    ])
  })

  test('of many runs at one moment queues each of them once', async () => {
    const ids = await Promise.all(Array.from({ length: 120 }, async () => await claimed()))
    const dueMs = (await headrace.store.serverNow()) + 3_600_000
    await worker.do(...ids.map((id) => sleepCommand(id, 'nap', { at_ms: dueMs })))
    expect(
      new Set((await worker.do(...ids.map((id) => suspendCommand(id)))).map(({ kind }) => kind)),
    ).toEqual(new Set(['done']))
    await overNow(ids)
    const { rows } = await eventually('all are queued', async () => {
      const found = await headrace.store.general.query<{ epoch: number; wake: number }>(
        `select epoch, wake from runs where id = any ($1::uuid[]) and status = 'queued'`,
        [ids],
      )
      return found.rowCount === ids.length ? found : null
    })
    expect(new Set(rows.map(({ epoch, wake }) => `${epoch}/${wake}`))).toEqual(new Set(['2/1']))
  })
})

describe('a command that is sent again is answered as the first time', () => {
  test('suspend: parked still, and after its answer has come', async () => {
    const run = await claimed()
    await worker.do(sleepCommand(run, 'nap', { after_ms: 3_600_000 }))
    expect(await worker.do(suspendCommand(run))).toEqual([DONE])
    expect(await worker.do(suspendCommand(run))).toEqual([DONE])
    await overNow([run])
    await eventually('it is queued again', async () => (await read(run)).status === 'queued')
    expect(await worker.do(suspendCommand(run))).toEqual([DONE])
  })

  test('a wait whose registration was committed and never answered', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    const held = heldAt('wait.after-commit')
    const sent = worker.send([waitCommand(run, 'answer', topic)])
    await held.reached
    held.die()
    expect((await sent).status).toBe(500)
    // It came in between, and nobody has looked for it.
    await event(topic, 'in between')
    expect(await worker.do(waitCommand(run, 'answer', topic))).toMatchObject([
      { kind: 'answers', wake: 1, steps: [{ key: 'answer' }] },
    ])
  })

  test('a suspend that was committed and never answered', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    await worker.do(waitCommand(run, 'answer', topic))
    const held = heldAt('suspend.after-commit')
    const sent = worker.send([suspendCommand(run)])
    await held.reached
    held.die()
    expect((await sent).status).toBe(500)
    expect(await worker.do(suspendCommand(run))).toEqual([DONE])
  })
})

test('an event that comes between a wait’s commit and its look for answers is not missed', async () => {
  const [run, topic] = [await claimed(), newTopic()]
  const held = heldAt('wait.after-commit')
  const registering = worker.do(waitCommand(run, 'answer', topic))
  await held.reached
  await event(topic, 'just now')
  held.goOn()
  expect(await registering).toMatchObject([{ kind: 'answers', wake: 1 }])
})

describe('whoever lost a run is told so', () => {
  test('at another epoch, at another worker, and once it is parked', async () => {
    const other = await headrace.lastingWorker({ workflows })
    const [run, topic] = [await claimed(), newTopic()]
    expect(await other.do(waitCommand(run, 'answer', topic), suspendCommand(run), lookCommand(run))).toEqual([
      LOST,
      LOST,
      LOST,
    ])
    expect(
      await worker.do(
        waitCommand(run, 'answer', topic, { epoch: 2 }),
        suspendCommand(run, { epoch: 2 }),
        lookCommand(run, { epoch: 2 }),
      ),
    ).toEqual([LOST, LOST, LOST])
    await worker.do(waitCommand(run, 'answer', topic))
    await worker.do(suspendCommand(run))
    expect(await worker.do(stepCommand(run, 'late'), lookCommand(run))).toEqual([LOST, LOST])
    expect(await worker.do({ kind: 'complete', run_id: run, epoch: 1, output: '1' })).toEqual([LOST])
    expect((await read(run)).status).toBe('waiting')
  })
})

describe('a wait is refused alone', () => {
  test('for a filter that is none, with the reason', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    expect(
      await worker.do(
        waitCommand(run, 'bad', topic, { filter: 'event.data.total >' }),
        waitCommand(run, 'good', topic),
      ),
    ).toMatchObject([{ kind: 'refused', code: 'invalid_filter', detail: expect.any(String) }, WAITING])
  })

  test('where another wait or step stands under its key', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    await worker.do(waitCommand(run, 'answer', topic), stepCommand(run, 'ask'))
    const replies = await worker.do(
      waitCommand(run, 'answer', 'approvals/other'),
      waitCommand(run, 'answer', topic, { filter: 'event.data == 1' }),
      sleepCommand(run, 'answer', { after_ms: 1 }),
      waitCommand(run, 'ask', topic),
    )
    expect(replies.map((reply) => (reply.kind === 'refused' ? reply.code : reply.kind))).toEqual([
      'replay_mismatch',
      'replay_mismatch',
      'replay_mismatch',
      'replay_mismatch',
    ])
    expect(replies[0]).toMatchObject({ detail: expect.stringContaining(topic) })
  })

  test('past the limit of open waits of a run', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    const waits = Array.from({ length: limits.openWaitsPerRunMax }, (_, n) =>
      waitCommand(run, `w${String(n).padStart(3, '0')}`, topic),
    )
    expect(new Set((await worker.do(...waits)).map(({ kind }) => kind))).toEqual(new Set(['waiting']))
    expect(await worker.do(waitCommand(run, 'x', topic))).toMatchObject([
      { kind: 'refused', code: 'too_many_open_waits' },
    ])
  })
})

describe('a parked run is nobody’s to lose', () => {
  test('its worker forgets it, dies, comes back: it stays as it is', async () => {
    await headrace.store.general.query(
      `update instances set unbroken_since = now() - interval '1 hour' where component = 'orchestrator'`,
    )
    const run = await claimed()
    const witness = await claimed()
    await worker.do(sleepCommand(run, 'nap', { after_ms: 3_600_000 }))
    await worker.do(suspendCommand(run))
    // The reply to its suspend is on its way: it is no loss that it lists the run still.
    expect(await worker.beat({ runs: [{ run_id: run, epoch: 1 }] })).toEqual({ status: 'ok', lost: [] })
    await worker.beat()
    await worker.beat()
    await headrace.store.general.query(
      `update workers set last_heartbeat_at = now() - interval '1 minute' where id = $1`,
      [worker.id],
    )
    await eventually('what it did hold is taken back', async () => (await read(witness)).epoch > 1)
    expect(await read(run)).toMatchObject({ status: 'waiting', epoch: 1 })
    await headrace.worker({ workflows, replaces: worker.id })
    expect(await read(run)).toMatchObject({ status: 'waiting', epoch: 1 })
    const { rows } = await headrace.store.general.query('select lost, wake from runs where id = $1', [run])
    expect(rows).toEqual([{ lost: 0, wake: 0 }])
  })
})

describe('what a death left behind is swept', () => {
  test('a wait that was committed and has not looked for its answer', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    const held = heldAt('wait.after-commit')
    const sent = worker.send([waitCommand(run, 'answer', topic)])
    await held.reached
    await event(topic, 'unseen')
    held.die()
    await sent
    await headrace.store.general.query(
      `update waits set created_at = created_at - interval '1 minute' where run_id = $1`,
      [run],
    )
    await eventually('it is answered', async () => (await steps(run))[0]?.status === 'completed')
    expect(await worker.do(suspendCommand(run))).toMatchObject([{ kind: 'answers', wake: 1 }])
  })

  test('open waits of runs that have ended', async () => {
    const [run, topic] = [await claimed(), newTopic()]
    await worker.do(waitCommand(run, 'answer', topic), sleepCommand(run, 'nap', { after_ms: 3_600_000 }))
    expect(await worker.do({ kind: 'complete', run_id: run, epoch: 1, output: '1' })).toEqual([DONE])
    expect(await read(run)).toMatchObject({ status: 'completed', waiting_for: [] })
    // A sweep is a minute apart; an instance begins with one.
    const another = await startedOrchestrator({ brokers, prefix, databaseUrl })
    try {
      await eventually('they are cancelled', async () => {
        const { body } = await headrace.call<WireList<{ status: string }>>(`/v1/waits?run_id=${run}`)
        return body.data.length === 2 && body.data.every(({ status }) => status === 'cancelled')
      })
    } finally {
      await another.stop()
    }
    expect((await steps(run)).map(({ key }) => key)).toEqual([])
  })
})
