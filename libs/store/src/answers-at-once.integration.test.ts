import type { CommandReply } from '@headrace/schemas'
import { createDatabase } from '@headrace/testing'
import type { QueryConfig, QueryResult } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Store } from './connection.ts'
import { inOrder, lockRun, lockWait, tally, untilWaiting } from './fixtures/in-order.ts'
import { completeOf, openScene, releaseOf, type Scene, suspendOf } from './fixtures/scene.ts'
import {
  answerIn,
  eventAnswer,
  eventWait,
  lookbackMs,
  timeWait,
  waitScene,
  type WaitScene,
} from './fixtures/waits.ts'
import { answerTimers, type Answered, claimRuns, readAnswers, timeOutWaits } from './index.ts'
import { type AnswerRow, answerStatement, answerValues, answerWaits } from './queries/answer-waits.ts'
import type { ResponseRow } from './queries/insert-responses.ts'
import { registerValues } from './queries/register-waits.ts'
import { registerStatement } from './queries/register-waits-statement.ts'
import { run } from './statement.ts'

/** Each meeting happens so often in each order. */
const times = 5
const orders = (['forth', 'back'] as const).flatMap((order) => Array.from({ length: times }, () => order))

let scene: Scene
let waits: WaitScene
let topics = 0
let topic: string
let event: ResponseRow
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  waits = await waitScene(scene)
  await waits.openStreams('answers')
})
afterAll(async () => {
  await scene.close()
})
/** A topic with an event that nobody has looked for yet. */
const freshTopic = async (): Promise<void> => {
  topics += 1
  topic = `answers/t${topics}`
  event = waits.response(topics, { topic })
  await waits.store(event)
}
beforeEach(freshTopic)

/** A run in the hands of w1 that waits for the event, and has not looked. */
async function waiting(...keys: string[]): Promise<string> {
  const id = await waits.claimed()
  await waits.register(...keys.map((key) => eventWait(id, key, { topic })))
  return id
}
const answer =
  (id: string, key = 'a') =>
  async (): Promise<Answered> =>
    await answerWaits(scene.store, [eventAnswer(id, key, event)])
const suspend =
  (id: string, seen = 0) =>
  async (): Promise<CommandReply | undefined> =>
    (await scene.apply(suspendOf(id, seen)))[0]
const stepKeys = async (id: string): Promise<unknown> =>
  (await scene.row('select array_agg(key order by seen) as keys from steps where run_id = $1', [id]))['keys']

/** Both in this order, or the other way round; each one's result in its own place. */
async function meet<First, Second>(
  order: (typeof orders)[number],
  gate: Parameters<typeof inOrder>[1],
  first: () => Promise<First>,
  second: () => Promise<Second>,
): Promise<[First, Second]> {
  if (order === 'forth') return await inOrder<[First, Second]>(scene.store, gate, first, second)
  const [two, one] = await inOrder<[Second, First]>(scene.store, gate, second, first)
  return [one, two]
}

test('answer × suspend: the worker is told the answer, or the parked run is queued; never neither', async () => {
  const seen = tally()
  for (const order of orders) {
    await freshTopic()
    const id = await waiting('a')
    const [{ answers, queued }, reply] = await meet(order, lockRun(id), answer(id), suspend(id))
    expect(answers).toHaveLength(1)
    const told = reply?.kind === 'answers'
    seen.add(told ? 'told' : 'queued')
    expect(reply).toMatchObject(told ? { wake: 1, steps: [{ key: 'a', seen: 1 }] } : { kind: 'done' })
    expect(queued).toMatchObject(told ? [] : [{ runId: id, epoch: 2 }])
    expect(await waits.run(id)).toEqual(
      told ? { status: 'running', epoch: 1, wake: 1 } : { status: 'queued', epoch: 2, wake: 1 },
    )
    // Who was told has seen the answer now; who was not may still send its suspend again.
    expect(await suspend(id, told ? 1 : 0)()).toEqual({ kind: 'done' })
    expect(await waits.run(id)).toMatchObject({ status: told ? 'waiting' : 'queued', wake: 1 })
  }
  expect(seen.counts).toEqual({ told: times, queued: times })
})

describe('answer × claim', () => {
  /** A queued run at epoch 2 with an open wait. */
  const queuedAgain = async (): Promise<string> => {
    const id = await waiting('a')
    await scene.apply(releaseOf(id))
    return id
  }
  const claim =
    (id: string, store: Store = scene.store) =>
    async () =>
      (await claimRuns(store, { claims: [{ runId: id, epoch: 2, workerId: 'w1', wantInput: false }] }))[0]
  const look = async (id: string, seen: number) =>
    (await readAnswers(scene.store, [{ runId: id, epoch: 2, workerId: 'w1', seen }]))[0]

  test('the claim has the answer and its wake, or neither: then the next look has it', async () => {
    const seen = tally()
    for (const order of orders) {
      await freshTopic()
      const id = await queuedAgain()
      const [, claimed] = await meet(order, lockRun(id), answer(id), claim(id))
      const { wake, steps } = claimed!
      seen.add(steps.length === 0 ? 'neither' : 'both')
      expect(steps.map(({ key }) => key)).toEqual(wake === 1 ? ['a'] : [])
      expect(await look(id, wake)).toMatchObject({ wake: 1, steps: wake === 1 ? [] : [{ key: 'a' }] })
    }
    // Of a claim that comes first, the steps are read when the answer is in, or is not yet.
    expect(seen.counts['both']).toBeGreaterThanOrEqual(times)
  })

  test('an answer between the claim and the reading of its steps: its step brings its wake', async () => {
    const seen = tally()
    for (const [at, statement] of [
      ['claim', /set status = 'running'/],
      ['reading', /from steps/],
    ] as const) {
      await freshTopic()
      const id = await queuedAgain()
      const claimed = await claim(id, before(statement, answer(id)))()
      expect(claimed).toMatchObject({ wake: 1, steps: [{ key: 'a', seen: 1 }] })
      seen.add(at)
    }
    await freshTopic()
    const id = await queuedAgain()
    expect(await claim(id)()).toMatchObject({ wake: 0, steps: [] })
    await answer(id)()
    expect(await look(id, 0)).toMatchObject({ wake: 1, steps: [{ key: 'a' }] })
    seen.add('after')
    expect(seen.counts).toEqual({ claim: 1, reading: 1, after: 1 })
  })

  /** A store that does `work` just before it runs this statement. */
  function before(statement: RegExp, work: () => Promise<unknown>): Store {
    const { hot } = scene.store
    const query = async (prepared: QueryConfig): Promise<QueryResult> => {
      if (statement.test(prepared.text)) await work()
      return await hot.query(prepared)
    }
    return { ...scene.store, hot: Object.assign(Object.create(hot) as typeof hot, { query }) }
  }
})

describe('two answers', () => {
  test('of one run: each has a wake of its own, and the run is queued once', async () => {
    const seen = tally()
    for (const order of orders) {
      await freshTopic()
      const id = await waiting('a', 'b')
      await suspend(id)()
      const [a, b] = await meet(order, lockRun(id), answer(id, 'a'), answer(id, 'b'))
      seen.add(String(await stepKeys(id)))
      expect([...a.queued, ...b.queued]).toMatchObject([{ runId: id, epoch: 2 }])
      expect(await waits.run(id)).toEqual({ status: 'queued', epoch: 2, wake: 2 })
      expect(
        await scene.row('select array_agg(wake order by wake) as wakes from waits where run_id = $1', [id]),
      ).toEqual({ wakes: [1, 2] })
    }
    expect(seen.counts).toEqual({ 'a,b': times, 'b,a': times })
  })

  test('of one wait: one counts', async () => {
    const other = waits.response(1_000_000 + topics, { topic, partition: 1, id: 'other' })
    await waits.store(other)
    const seen = tally()
    for (const order of orders) {
      const id = await waiting('a')
      const [one, two] = await meet(
        order,
        lockWait(id, 'a'),
        answer(id),
        async () => await answerWaits(scene.store, [eventAnswer(id, 'a', other)]),
      )
      expect([...one.answers, ...two.answers]).toHaveLength(1)
      expect(await waits.run(id)).toMatchObject({ wake: 1 })
      const { partition } = await waits.wait(id, 'a')
      expect(partition).toBe(one.answers.length === 1 ? 0 : 1)
      seen.add(`partition ${String(partition)}`)
    }
    expect(seen.counts).toEqual({ 'partition 0': times, 'partition 1': times })
  })

  test('of many runs in opposite orders do not deadlock', async () => {
    const ids = await scene.startRuns(40)
    for (const id of ids) await scene.claim(id)
    for (const id of ids) await waits.register(eventWait(id, 'a', { topic }), eventWait(id, 'b', { topic }))
    const answers = ids.flatMap((id) => [eventAnswer(id, 'b', event), eventAnswer(id, 'a', event)])
    const shuffled = answers.toSorted((x, y) => (x.runId.slice(-5) < y.runId.slice(-5) ? -1 : 1))
    // The statement itself: what calls it would try again after a deadlock.
    const rows = await Promise.all(
      [answers, answers.toReversed(), shuffled].map(
        async (part) => await run<AnswerRow>(scene.store.hot, answerStatement, answerValues(part)),
      ),
    )
    expect(rows.flat().filter(({ what }) => what === 'wait')).toHaveLength(80)
  })
})

test('answer × time-out: one of the two', async () => {
  const seen = tally()
  for (const order of orders) {
    await freshTopic()
    const id = await waiting('a')
    await scene.row('update waits set expires_at = now() where run_id = $1', [id])
    await suspend(id)()
    const [answered, late] = await meet(
      order,
      lockWait(id, 'a'),
      answer(id),
      async () => await timeOutWaits(scene.store, [{ runId: id, key: 'a', unverified: false }]),
    )
    expect([...answered.answers, ...late.answers]).toHaveLength(1)
    expect([...answered.queued, ...late.queued]).toHaveLength(1)
    const { output, error } = await scene.row('select output, error from steps where run_id = $1', [id])
    const { status } = await waits.wait(id, 'a')
    expect([output === null, error === null]).toEqual(status === 'timed_out' ? [true, false] : [false, true])
    expect(await waits.run(id)).toEqual({ status: 'queued', epoch: 2, wake: 1 })
    seen.add(String(status))
  }
  expect(seen.counts).toEqual({ answered: times, timed_out: times })
})

test('a timer × a timer: fired once', async () => {
  const id = await waits.claimed()
  await waits.register(timeWait(id, 'a', { after_ms: 0 }))
  const fire = async () => await answerTimers(scene.store, { limit: 10 })
  const [one, two] = await inOrder<[Answered, Answered]>(scene.store, lockWait(id, 'a'), fire, fire)
  expect([one.answers.length, two.answers.length]).toEqual([1, 0])
  expect(await waits.run(id)).toMatchObject({ wake: 1 })
})

describe('answer × the end of its run', () => {
  const ends: [string, (id: string) => () => Promise<unknown>][] = [
    // What a cancel does: the run alone, guarded by its not having ended.
    [
      'cancelled',
      (id) => async () =>
        await scene.row(
          `update runs set status = 'cancelled', finished_at = now(), worker_id = null
           where id = $1 and status in ('queued', 'running', 'waiting', 'paused')`,
          [id],
        ),
    ],
    ['completed', (id) => async () => await scene.apply(completeOf(id))],
  ]
  test.each(ends)('%s: the answer is in before it, or changes nothing', async (status, end) => {
    const seen = tally()
    for (const order of orders) {
      await freshTopic()
      const id = await waiting('a')
      const [{ answers, queued }] = await meet(order, lockRun(id), answer(id), end(id))
      expect(queued).toEqual([])
      const before = answers.length === 1
      expect(await waits.run(id)).toEqual({ status, epoch: 1, wake: before ? 1 : 0 })
      expect(await waits.wait(id, 'a')).toMatchObject({ status: before ? 'answered' : 'open' })
      expect(await stepKeys(id)).toEqual(before ? ['a'] : null)
      seen.add(before ? 'before' : 'after')
    }
    expect(seen.counts).toEqual({ before: times, after: times })
  })
})

describe('a wait that is registered again', () => {
  test('while its answer is in flight is told at once, and nobody waits in a circle', async () => {
    const id = await waiting('a')
    const seen = tally()
    const client = await scene.store.general.connect()
    try {
      // The run is in the hands of a batch of commands; the answer has the wait and wants the run.
      await client.query('begin')
      await lockRun(id)(client)
      const answering = answer(id)()
      await untilWaiting(scene.store, 1)
      const [during] = await waits.register(eventWait(id, 'a', { topic }))
      seen.add(during?.kind === 'registered' ? during.status : 'not registered')
      await client.query('commit')
      expect((await answering).answers).toHaveLength(1)
    } finally {
      client.release()
    }
    const [after] = await waits.register(eventWait(id, 'a', { topic }))
    seen.add(after?.kind === 'registered' ? after.status : 'not registered')
    expect(seen.counts).toEqual({ open: 1, answered: 1 })
  })

  test('while its answer is written and not committed is told at once too', async () => {
    const id = await waiting('a')
    const client = await scene.store.general.connect()
    try {
      await client.query('begin')
      await answerIn(client, eventAnswer(id, 'a', event))
      expect(await waits.register(eventWait(id, 'a', { topic }))).toEqual([
        { kind: 'registered', status: 'open' },
      ])
      expect(await waits.answersOf(id)).toEqual([])
      await client.query('commit')
    } finally {
      client.release()
    }
    expect(await waits.answersOf(id)).toMatchObject([{ key: 'a' }])
  })

  test('by two sessions for the first time is one wait, with the terms of the first', async () => {
    const id = await waits.claimed()
    const client = await scene.store.general.connect()
    try {
      await client.query('begin')
      await run(client, registerStatement, registerValues([eventWait(id, 'a', { topic })], lookbackMs))
      const same = waits.register(eventWait(id, 'a', { topic }))
      const other = waits.register(eventWait(id, 'a', { topic: 'answers/other' }))
      await untilWaiting(scene.store, 2)
      await client.query('commit')
      expect(await same).toEqual([{ kind: 'registered', status: 'open' }])
      expect(await other).toMatchObject([{ kind: 'refused', code: 'replay_mismatch' }])
    } finally {
      client.release()
    }
  })

  const met: [string, string, number, number][] = [
    ['two first waits', 'met1', 5_000, 60_000],
    ['two first waits', 'met2', 60_000, 5_000],
    ['two waits that ask for more', 'known1', 5_000, 60_000],
    ['two waits that ask for more', 'known2', 60_000, 5_000],
  ]
  test.each(met)(
    '%s on stream %s meet at its row: it is projected from the earlier of them',
    async (_, stream, first, second) => {
      await scene.row(
        `insert into waited_streams (stream, projected_from) select $1::text, now() where $1 like 'known%'`,
        [stream],
      )
      const [one, two] = [await waits.claimed(), await waits.claimed()]
      const on = (id: string, ago_ms: number) =>
        eventWait(id, 'a', { topic: `${stream}/x`, since: { ago_ms } })
      const client = await scene.store.general.connect()
      try {
        await client.query('begin')
        await run(client, registerStatement, registerValues([on(one, first)], lookbackMs))
        const later = waits.register(on(two, second))
        await untilWaiting(scene.store, 1)
        await client.query('commit')
        expect(await later).toEqual([{ kind: 'registered', status: 'pending' }])
      } finally {
        client.release()
      }
      expect(
        await scene.row(
          `select count(*)::int as waits, min(w.since) = min(s.projected_from) as asked_for
         from waits w join waited_streams s using (stream) where stream = $1`,
          [stream],
        ),
      ).toEqual({ waits: 2, asked_for: true })
    },
  )
})
