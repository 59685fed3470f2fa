import { deadLettersTopic, responsesTopic } from '@headrace/broker'
import { setCheckpointHandler } from '@headrace/core'
import type { WireEvent } from '@headrace/schemas'
import { dropOldResponses, loadCorrelatorCursors } from '@headrace/store'
import { createDatabase, eventually, infra, readTopic } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type FakeProjection, fakeProjection } from '../fakes/fake-projection.ts'
import { waitCommand } from '../fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from '../fakes/started-orchestrator.ts'
import { type WaitingRuns, waitingRuns } from '../fakes/waiting-runs.ts'
import { correlate } from './correlate.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
let projection: FakeProjection
let runs: WaitingRuns

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  projection = fakeProjection(headrace.store, { brokers, prefix, eventually })
  runs = await waitingRuns(headrace, eventually)
  await projection.opened('approvals')
})
afterEach(() => setCheckpointHandler(null))
afterAll(async () => {
  await headrace.stop()
  await projection.close()
})

let topics = 0
const newTopic = (): string => `approvals/${(topics += 1)}`
/** Projects an event; its number is what comes back. */
const respond = async (topic: string, data: unknown): Promise<number> => {
  const event = projection.event(topic, data)
  await projection.project(event)
  return event.sequenceId
}
const answerOf = async (runId: string): Promise<number> =>
  ((await runs.settled(runId)).output as unknown as WireEvent).sequence_id

/** Holds whoever comes to a checkpoint, until it is let go. */
function holdAt(point: string): { reached: Promise<void>; letGo: () => void } {
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: held, resolve: letGo } = Promise.withResolvers<void>()
  setCheckpointHandler((name) => {
    if (name !== point) return undefined
    reach()
    return held
  })
  return { reached, letGo }
}

describe('an event that comes', () => {
  test('after the wait resumes its parked run, and is all there', async () => {
    const topic = newTopic()
    const runId = await runs.parked(topic)
    const event = projection.event(
      topic,
      { ok: true, text: 'a\u0000\ud83d\ude00"' },
      { key: 'k', eventType: 'yes' },
    )
    await projection.project(event)
    expect((await runs.settled(runId)).output).toEqual({
      id: event.id,
      source: 'test',
      topic,
      event_type: 'yes',
      data: { ok: true, text: 'a\u0000\ud83d\ude00"' },
      key: 'k',
      stream: 'approvals',
      partition: 0,
      sequence_id: event.sequenceId,
      created_at: new Date(event.createdAt).toISOString(),
    })
    expect(await runs.run(runId)).toMatchObject({ status: 'queued', epoch: 2, waiting_for: [] })
  })

  test('before the wait answers it at once', async () => {
    const topic = newTopic()
    const runId = await runs.claimed()
    const first = await respond(topic, 1)
    await respond(topic, 2)
    await projection.correlated()
    expect(await runs.wait(runId, topic)).toMatchObject({ kind: 'answers', wake: 1 })
    expect(await answerOf(runId)).toBe(first)
  })

  test('answers every wait on its topic, and none on another', async () => {
    const topic = newTopic()
    const [one, two, other] = [
      await runs.parked(topic),
      await runs.parked(topic),
      await runs.parked(newTopic()),
    ]
    const number = await respond(topic, null)
    expect([await answerOf(one), await answerOf(two)]).toEqual([number, number])
    expect(await runs.state(other)).toMatchObject({ status: 'open' })
  })

  test('answers a wait whose filter it passes; one on which it cannot be evaluated is passed over', async () => {
    const topic = newTopic()
    const large = await runs.parked(topic, { filter: 'event.data.total > 50' })
    const any = await runs.parked(topic)
    const first = await respond(topic, { total: 'sixty' })
    await respond(topic, { total: 50 })
    const number = await respond(topic, { total: 50.5 })
    expect([await answerOf(any), await answerOf(large)]).toEqual([first, number])
  })

  test('earlier answers first, though the correlator has read neither when the wait looks', async () => {
    const topic = newTopic()
    const hold = holdAt('correlator.before-insert')
    const first = await respond(topic, 1)
    await hold.reached
    const runId = await runs.claimed()
    expect(await runs.wait(runId, topic)).toEqual({ kind: 'waiting' })
    const second = await respond(topic, 2)
    hold.letGo()
    expect(await answerOf(runId)).toBe(first)
    // The run goes on to wait for the next one.
    await runs.worker.do(waitCommand(runId, 'w2', topic, { seen: 1 }))
    await eventually('the second wait is answered', async () => {
      const { rows } = await headrace.store.general.query<{ answered_offset: number }>(
        `select answered_offset from waits where run_id = $1 and key = 'w2' and status = 'answered'`,
        [runId],
      )
      return rows[0]?.answered_offset === second
    })
  })

  test('that was stored and matched is found by a wait that registers before the cursor is raised', async () => {
    const topic = newTopic()
    const hold = holdAt('answer.after-match')
    const number = await respond(topic, 1)
    await hold.reached
    const runId = await runs.claimed()
    expect(await runs.wait(runId, topic)).toMatchObject({ kind: 'answers' })
    hold.letGo()
    expect(await answerOf(runId)).toBe(number)
  })

  test('a day before the look-back is found by a wait that asks for it, as the latest of its topic', async () => {
    const topic = newTopic()
    const old = projection.event(topic, 'old', { createdAt: Date.now() - 30 * 3_600_000 })
    const latest = projection.event(topic, 'latest', { createdAt: Date.now() - 29 * 3_600_000 })
    await projection.project(old, latest)
    await projection.correlated()
    await eventually('their hours are dropped', async () => {
      await dropOldResponses(headrace.store)
      const { rows } = await headrace.store.general.query('select from responses where topic = $1', [topic])
      return rows.length === 0
    })
    const runId = await runs.claimed()
    expect(await runs.wait(runId, topic, { since: { ago_ms: 48 * 3_600_000 } })).toMatchObject({
      kind: 'answers',
    })
    expect(await runs.settled(runId)).toMatchObject({
      output: { data: 'latest', sequence_id: latest.sequenceId },
    })
  })
})

test('a record that is no response is set aside, and what follows it goes on', async () => {
  const topic = newTopic()
  const runId = await runs.parked(topic)
  const other = await runs.parked('approvals/late')
  await projection.raw(topic, 'not a response')
  await projection.project(projection.event('approvals/late', 1, { createdAt: 0 }))
  const number = await respond(topic, 1)
  expect(await answerOf(runId)).toBe(number)
  await projection.correlated()
  const letters = await readTopic(brokers, deadLettersTopic(prefix).name)
  const ofResponses = letters.filter(({ headers }) => headers['kafka_topic'] === responsesTopic(prefix).name)
  expect(Object.fromEntries(ofResponses.map(({ headers, value }) => [headers['reason'], value]))).toEqual({
    not_a_response: 'not a response',
    response_out_of_time: '1',
  })
  expect(await runs.state(other)).toMatchObject({ status: 'open' })
})

test('a batch of an owner that was taken for dead changes nothing when it is done again', async () => {
  const topic = newTopic()
  const runId = await runs.parked(topic)
  const number = await respond(topic, 1)
  await respond(topic, 2)
  expect(await answerOf(runId)).toBe(number)
  await projection.correlated()
  const cursors = await loadCorrelatorCursors(headrace.store)
  const before = await runs.run(runId)

  const answered: string[] = []
  for (const partition of cursors.keys()) {
    const range = { topic: responsesTopic(prefix).name, partition, from: 0, to: null }
    for await (const { records, nextOffset } of projection.broker.readRange(range)) {
      await correlate(
        {
          store: headrace.store,
          serverClock: { now: () => Date.now() },
          events: { answered: ({ answers }) => answered.push(...answers.map((each) => each.runId)) },
          matches: () => true,
          cancels: { came: async () => await Promise.resolve() },
          setAside: async () => await Promise.resolve(),
        },
        { partition, records, nextOffset: Math.min(nextOffset, 1) },
        new AbortController().signal,
      )
    }
  }
  expect(answered).toEqual([])
  expect(await runs.run(runId)).toEqual(before)
  expect(await loadCorrelatorCursors(headrace.store)).toEqual(cursors)
})

test('two orchestrators share the work, and each goes on where the other stopped', async () => {
  const count = 24
  const name = (round: number, index: number): string => `approvals/r${round}-${index}`
  const round = async (number: number, meanwhile: () => Promise<void>): Promise<void> => {
    const parked = await Promise.all(
      Array.from({ length: count }, async (_, index) => await runs.parked(name(number, index))),
    )
    const going = meanwhile()
    const numbers = await Promise.all(
      parked.map(async (_, index) => await respond(name(number, index), index)),
    )
    await going
    expect(await Promise.all(parked.map(answerOf))).toEqual(numbers)
  }
  let second: Started | null = null
  await round(1, async () => {
    second = await startedOrchestrator({ brokers, prefix, databaseUrl })
  })
  await round(2, async () => await Promise.resolve())
  await round(3, async () => await second?.stop())
  await round(4, async () => await Promise.resolve())
})
