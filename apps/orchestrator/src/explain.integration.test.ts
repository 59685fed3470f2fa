import { createBroker } from '@headrace/broker'
import { encodeEvent } from '@headrace/core'
import type { Problem, WireDeadLetter, WireExplanation } from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { enterEventIds, loadCursors, passGap, recordRepeats } from '@headrace/store'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
const producer = broker.producer()
let headrace: Started

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  await headrace.lastingWorker({
    workflows: [
      workflowOf('all', 'orders/**'),
      workflowOf('paid', 'orders/paid'),
      workflowOf('other', 'users/*'),
    ],
  })
  await eventually(
    'the topic of dead letters is made',
    async () => await broker.offsets(`${prefix}.dead-letters`),
  )
})
afterAll(async () => {
  await headrace.stop()
  await broker.close()
})

async function written(
  topic: string,
  record: { value: string; headers: Record<string, string>; key?: string },
): Promise<number> {
  const [outcome] = await producer.produce([
    { topic: `${prefix}.${topic}`, partition: 1, key: null, ...record },
  ])
  if (outcome?.status !== 'written') throw new Error(JSON.stringify(outcome))
  return outcome.offset
}

const event = (id: string) =>
  encodeEvent({
    id,
    source: 'till',
    topic: 'orders/created',
    eventType: null,
    data: { id },
    key: null,
    time: 0,
    traceparent: null,
    dedup: true,
  })

const explain = async (offset: number) =>
  (await headrace.call<WireExplanation>(`/v1/events/orders/1/${offset}/explain`)).body
const outcomesAt = async (offset: number) =>
  Object.fromEntries((await explain(offset)).triggers.map(({ trigger, outcome }) => [trigger, outcome]))

/** As the trigger service would leave the cursor. */
async function moveCursor(nextOffset: number, lastOffset = nextOffset - 1): Promise<void> {
  await headrace.store.general.query(
    `update trigger_cursors set next_offset = $1, last_offset = $2 where stream = 'orders' and partition = 1`,
    [nextOffset, lastOffset],
  )
}

test('an event is explained from before it is read until its window is a run, which came of a dead letter', async () => {
  const offset = await written('events.orders', event('first'))
  expect(await outcomesAt(offset)).toEqual({ all: 'not_read_yet', paid: 'no_match' })
  await moveCursor(offset, offset)
  expect(await outcomesAt(offset)).toEqual({ all: 'open_window', paid: 'no_match' })
  await moveCursor(offset + 1)
  expect(await outcomesAt(offset)).toEqual({ all: 'before_cursor', paid: 'no_match' })
  const input = { events: [{ sequence_id: offset, id: 'first', created_at: '2026-11-23T12:00:00.000Z' }] }
  const letter = await written('dead-letters', {
    value: JSON.stringify(input),
    headers: {
      reason: 'run_not_storable',
      stream: 'orders',
      partition: '1',
      offset: String(offset),
      trigger_id: 'all',
    },
  })
  expect(await outcomesAt(offset)).toEqual({ all: 'dead_letter', paid: 'no_match' })
  const path = `/v1/dead-letters/1.${letter}/redrive`
  const { body: redriven } = await headrace.call<WireDeadLetter>(path, { method: 'POST' })
  const { event: shown, unreadable, triggers, waits } = await explain(offset)
  expect(shown).toMatchObject({ id: 'first', stream: 'orders', partition: 1, sequence_id: offset })
  expect([unreadable, waits]).toEqual([null, []])
  expect(triggers).toEqual([
    { trigger: 'all', outcome: 'run', run_id: redriven.decision!.run_id, detail: null },
    { trigger: 'paid', outcome: 'no_match', run_id: null, detail: expect.stringContaining('orders/paid') },
  ])
})

test('a repeat names the position that its id was seen at first, also when the id is long forgotten', async () => {
  const [first, second] = [
    await written('events.orders', event('twice')),
    await written('events.orders', event('twice')),
  ]
  const entry = {
    stream: 'orders',
    source: 'till',
    id: 'twice',
    incarnation: 1,
    partition: 1,
    logTimeMs: Date.now(),
  }
  await enterEventIds(headrace.store, [{ ...entry, sequenceId: first, runId: null }])
  await moveCursor(second + 1)
  expect(await outcomesAt(first)).toMatchObject({ all: 'before_cursor' })
  const isRepeat = { outcome: 'repeat', detail: expect.stringContaining(`sequence id ${first}`) }
  expect((await explain(second)).triggers[0]).toMatchObject(isRepeat)
  await recordRepeats(headrace.store, [
    {
      ...entry,
      sequenceId: second,
      first: { incarnation: 1, partition: 1, sequenceId: first },
    },
  ])
  await headrace.store.general.query(`delete from event_ids where stream = 'orders'`)
  expect((await explain(second)).triggers[0]).toMatchObject(isRepeat)
})

test('a record that is no event is a dead letter of every trigger of its stream', async () => {
  const offset = await written('events.orders', {
    value: '{',
    headers: { ce_id: 'x', ce_subject: 'orders/paid' },
  })
  const headers = { reason: 'undecodable', stream: 'orders', partition: '1', offset: String(offset) }
  await written('dead-letters', { value: '{', headers })
  await moveCursor(offset + 1)
  const { event: shown, unreadable } = await explain(offset)
  expect([shown, unreadable?.reason]).toEqual([null, 'undecodable'])
  expect(await outcomesAt(offset)).toEqual({ all: 'dead_letter', paid: 'dead_letter' })
})

test('the waits that an event answered are named', async () => {
  const offset = await written('events.orders', event('answer'))
  const { body: run } = await headrace.call<{ id: string }>('/v1/runs', {
    method: 'POST',
    body: { workflow: 'all' },
  })
  await headrace.store.general.query(
    `insert into waits (run_id, key, kind, status, topic, stream, since, asked_since, epoch, expires_at, wake,
       answered_incarnation, answered_partition, answered_offset, answered_at)
     values ($1, 'reply', 'event', 'answered', 'orders/created', 'orders', now(), now(), 1, now(), 1, 1, 1, $2, now())`,
    [run.id, offset],
  )
  expect((await explain(offset)).waits).toEqual([{ run_id: run.id, key: 'reply' }])
})

test('an event that retention took before a trigger was there says whose it would have been', async () => {
  const [cursor] = (await loadCursors(headrace.store, 'orders', [0])).filter(
    ({ triggerId }) => triggerId === 'paid',
  )
  const { nextOffset, incarnation } = cursor!
  expect(await passGap(headrace.store, cursor!, { nextOffset: nextOffset + 5, incarnation, lost: 5 })).toBe(
    true,
  )
  const detailAt = async (offset: number) =>
    (await headrace.call<Problem>(`/v1/events/orders/0/${offset}/explain`)).body.detail
  expect(await detailAt(nextOffset + 4)).toMatch(/retention unread by paid$/)
  expect(await detailAt(nextOffset + 5)).toMatch(/retention$/)
})

test.each([
  ['orders/1/99999', 404, 'event_not_found'],
  ['orders/9/0', 404, 'event_not_found'],
  ['orders/1/first', 404, 'event_not_found'],
  ['none/0/0', 404, 'stream_not_found'],
])('%s: %i %s', async (position, status, code) => {
  const answer = await headrace.call<Problem>(`/v1/events/${position}/explain`)
  expect([answer.status, answer.body.code]).toEqual([status, code])
})
