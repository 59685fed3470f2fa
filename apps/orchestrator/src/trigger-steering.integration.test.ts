import { randomUUID } from 'node:crypto'
import { type Broker, createBroker, eventsTopic } from '@headrace/broker'
import type { Problem, WireReplay, WireReset, WireTrigger } from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { noteOpenWindows, setCursorStatus } from '@headrace/store'
import { createDatabase, eventually, expireRecords, infra } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const topic = eventsTopic(prefix, 'orders').name
let headrace: Started
let broker: Broker
let middle: string

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  await headrace.worker({ workflows: [workflowOf('a', 'orders/created'), workflowOf('b', 'orders/created')] })
  broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
  const producer = broker.producer()
  const record = { topic, partition: 0, key: null, value: '1', headers: {} }
  await producer.produce(Array.from({ length: 6 }, () => record))
  await expireRecords(brokers, { topic, partition: 0, before: 2 })
  // The second half is younger by the log's time.
  const ends = await eventually('the log has a time', async () => {
    for await (const { records } of broker.readRange({ topic, partition: 0, from: 5, to: 6 }))
      for (const { timestamp } of records) return timestamp
    return null
  })
  await eventually('the clock has moved', () => Date.now() > ends + 1)
  middle = new Date(ends + 1).toISOString()
  await eventually('Kafka counts by it', async () => {
    await producer.produce([{ ...record, headers: { late: '1' } }])
    return (await broker.offsetsForTime(topic, ends + 1)).get(0) !== null
  })
})
afterAll(async () => {
  await broker.close()
  await headrace.stop()
})
beforeEach(async () => {
  await headrace.call('/v1/triggers/a/resume', { method: 'POST' })
  await headrace.store.general.query(
    `update trigger_cursors set next_offset = 4, incarnation = 1, status = 'live', reason = null, last_offset = null, last_ts = null where partition = 0`,
  )
})

const post = async <Body = WireReset & Problem>(action: string, body?: unknown) =>
  await headrace.call<Body>(`/v1/triggers/a/${action}`, { method: 'POST', body })
const shown = async () => (await headrace.call<WireTrigger>('/v1/triggers/a')).body
const cursor = async () => (await shown()).cursors.find(({ partition }) => partition === 0)
const end = async () => (await broker.offsets(topic)).get(0)!.high

describe('a reset', () => {
  test('says what it would do, and does that when it is told to', async () => {
    const dry = await post('reset', { to: 'earliest' })
    expect(dry).toMatchObject({ status: 200, body: { trigger: 'a', dry_run: true } })
    expect(dry.body.cursors[0]).toEqual({
      stream: 'orders',
      partition: 0,
      next_offset: 4,
      reset_to: 2,
      end_offset: await end(),
      incarnation: 1,
      again: 2,
      skipped: 0,
    })
    expect(await cursor()).toMatchObject({ next_offset: 4 })
    const done = await post('reset', { to: 'earliest', dry_run: false })
    expect(done.body).toEqual({ ...dry.body, dry_run: false })
    expect(await cursor()).toMatchObject({ next_offset: 2, status: 'live' })
  })

  test('goes to the end, to the first event of a time, or to offsets of the partitions that are named', async () => {
    const high = await end()
    for (const [to, reset_to, partitions] of [
      ['latest', high, 3],
      [middle, 6, 3],
      [{ offsets: { 0: 3 } }, 3, 1],
    ] as const) {
      const { body } = await post('reset', { to })
      expect(body.cursors[0]).toMatchObject({ reset_to, skipped: Math.max(0, reset_to - 4) })
      expect(body.cursors).toHaveLength(partitions)
    }
  })

  test('sets a stopped cursor going, in a new incarnation where the topic was made anew', async () => {
    const at = { triggerId: 'a', stream: 'orders', partition: 0, status: 'stopped' } as const
    for (const [reason, incarnation] of [
      ['gap', 1],
      ['truncated', 1],
      ['recreated', 2],
    ] as const) {
      await setCursorStatus(headrace.store, { ...at, reason, lost: 7 })
      expect(await shown()).toMatchObject({ status: 'stopped', reason })
      expect(await cursor()).toMatchObject({ status: 'stopped', reason, lost: 7 })
      const { body } = await post('reset', { to: 'earliest', dry_run: false })
      expect(body.cursors[0]).toMatchObject({ incarnation })
      expect(await shown()).toMatchObject({ status: 'live', reason: null })
      expect(await cursor()).toMatchObject({ lost: 0 })
    }
    // Who comes second goes on in the incarnation of the first; asked again, nothing rises.
    await setCursorStatus(headrace.store, { ...at, triggerId: 'b', reason: 'recreated' })
    const second = await headrace.call<WireReset>('/v1/triggers/b/reset', {
      method: 'POST',
      body: { to: 'earliest', dry_run: false },
    })
    expect(second.body.cursors[0]).toMatchObject({ incarnation: 2 })
    expect((await post('reset', { to: 'earliest' })).body.cursors[0]).toMatchObject({ incarnation: 2 })
  })

  test('of a paused trigger finds by the log that its topic was made anew, and leaves it paused', async () => {
    await post('pause')
    await headrace.store.general.query(
      `update trigger_cursors set last_offset = 3, last_ts = to_timestamp(1) where partition = 0 and trigger_id = 'a'`,
    )
    const { body } = await post('reset', { to: 'latest', dry_run: false })
    expect(body.cursors[0]).toMatchObject({ incarnation: 2, again: 0 })
    expect(await shown()).toMatchObject({ status: 'paused' })
    expect(await cursor()).toMatchObject({ status: 'paused', next_offset: await end() })
  })
})

test('a trigger of which too many runs are queued says so', async () => {
  const since = async (at: string) =>
    await headrace.store.general.query(`update workflows set backpressured_since = ${at} where id = 'a'`)
  await since('now()')
  expect(await shown()).toMatchObject({ status: 'backpressured', reason: 'queued_runs' })
  await since('null')
  expect(await shown()).toMatchObject({ status: 'live', reason: null })
})

test('a cursor tells what its open window holds, and how long retention leaves what it has not seen', async () => {
  const { stream, partition } = (await cursor())!
  const { rows } = await headrace.store.general.query<{ revision: number }>(
    `select revision from trigger_cursors where trigger_id = 'a' and partition = 0`,
  )
  const note = { triggerId: 'a', stream, partition, revision: rows[0]!.revision, events: 2 }
  const unread = await cursor()
  expect(unread).toMatchObject({ open_window: null })
  const days = 24 * 3_600
  expect(unread!.retention_margin_seconds).toBeLessThanOrEqual(7 * days)
  expect(unread!.retention_margin_seconds).toBeGreaterThan(6 * days)
  await noteOpenWindows(headrace.store, [{ ...note, since: Date.now() - 3 * days * 1_000 }])
  const open = await cursor()
  expect(open).toMatchObject({ open_window: { events: 2, since: expect.stringMatching(/Z$/) } })
  expect(open!.retention_margin_seconds).toBeLessThanOrEqual(4 * days)
  // An owner of before notes nothing, and what was noted is not of where the cursor is now.
  await noteOpenWindows(headrace.store, [{ ...note, revision: note.revision - 1, events: 9, since: 1 }])
  expect(await cursor()).toMatchObject({ open_window: { events: 2 } })
  await post('reset', { to: 'latest', dry_run: false })
  expect(await cursor()).toMatchObject({ open_window: null, retention_margin_seconds: null })
})

describe('a replay', () => {
  const replay = async (body: unknown) => await post<Omit<WireReplay, 'status'> & Problem>('replay', body)

  test('waits with its paused trigger, is begun once under one id, and is cancelled', async () => {
    await post('pause')
    const id = randomUUID()
    const asked = { id, from: 'earliest', dry_run: false }
    const begun = await replay(asked)
    expect(begun).toMatchObject({
      status: 202,
      body: { id, trigger: 'a', dry_run: false, status: 'running', counts: null },
    })
    // Up to where the trigger is; of the other partitions, where nothing is, nothing.
    expect(begun.body.ranges).toMatchObject([
      { partition: 0, from_offset: 2, to_offset: 4, next_offset: 2, status: 'running' },
      { partition: 1, from_offset: 0, to_offset: 0, status: 'done' },
      { partition: 2, from_offset: 0, to_offset: 0, status: 'done' },
    ])
    expect((await replay({ ...asked, from: 'latest' })).body).toEqual(begun.body)
    const path = `/v1/triggers/a/replays/${id}`
    expect((await headrace.call(path)).body).toEqual(begun.body)
    const cancelled = await headrace.call<WireReplay>(`${path}/cancel`, { method: 'POST' })
    expect(cancelled).toMatchObject({
      status: 200,
      body: { status: 'cancelled', finished_at: expect.any(String) },
    })
    expect((await headrace.call(`${path}/cancel`, { method: 'POST' })).body).toEqual(cancelled.body)
  })

  test('asked for several times at once under one id is one, and the id is free for another trigger', async () => {
    await post('pause')
    const asked = { id: randomUUID(), from: 'earliest', dry_run: false }
    const all = await Promise.all(Array.from({ length: 4 }, async () => await replay(asked)))
    for (const answer of all) expect(answer).toMatchObject({ status: 202, body: all[0]?.body })
    const of = async (trigger: string, action: string, body?: unknown) =>
      await headrace.call<WireReplay>(`/v1/triggers/${trigger}/${action}`, { method: 'POST', body })
    expect(await of('b', 'replay', asked)).toMatchObject({
      status: 202,
      body: { trigger: 'b', id: asked.id },
    })
    for (const trigger of ['a', 'b'])
      expect((await of(trigger, `replays/${asked.id}/cancel`)).body).toMatchObject({
        status: 'cancelled',
        trigger,
      })
  })

  test('of nothing is done at once', async () => {
    const { status, body } = await replay({ from: { offsets: { 0: 3 } }, to: { offsets: { 0: 3 } } })
    expect(status).toBe(200)
    expect(body).toMatchObject({ status: 'done', counts: { windows: 0, events: 0, repeats: 0 } })
    expect(body.ranges).toHaveLength(1)
  })

  test('is refused when too many are running', async () => {
    await post('pause')
    const asked = { from: 'earliest', dry_run: false }
    const all = await Promise.all(Array.from({ length: 13 }, async () => await replay(asked)))
    const begun = all.filter(({ status }) => status === 202)
    expect(begun).toHaveLength(10)
    expect(all.filter(({ status, body }) => status === 409 && body.code === 'too_many_replays')).toHaveLength(
      3,
    )
    // One that runs is told, not begun again.
    const [first] = begun
    expect(await replay({ ...asked, id: first?.body.id })).toMatchObject({ status: 202, body: first?.body })
    for (const { body } of begun)
      await headrace.call(`/v1/triggers/a/replays/${body.id}/cancel`, { method: 'POST' })
  })
})

test.each([
  ['reset', {}, '/to', 'invalid_field'],
  ['reset', { to: 'yesterday' }, '/to', 'invalid_field'],
  ['reset', { to: { offsets: {} } }, '/to/offsets', 'invalid_field'],
  ['reset', { to: { offsets: { 9: 1 } } }, '/to/offsets/9', 'invalid_field'],
  ['reset', { to: { offsets: { 0: 1 } } }, '/to/offsets/0', 'invalid_field'],
  ['reset', { to: 'latest', dryRun: false }, '/dryRun', 'unknown_field'],
  ['replay', { from: { offsets: { 0: 99 } } }, '/from/offsets/0', 'invalid_field'],
  ['replay', { from: 'latest', to: 'earliest' }, '/to', 'invalid_field'],
  ['replay', { from: { offsets: { 0: 3 } }, to: { offsets: { 1: 0 } } }, '/to', 'invalid_field'],
  ['replay', { from: 'earliest', id: 'mine' }, '/id', 'invalid_field'],
])('%s %j is refused at %s', async (action, body, pointer, code) => {
  const answer = await post<Problem>(action, body)
  expect(answer.status).toBe(422)
  expect(answer.body.errors).toMatchObject([{ pointer, code }])
})

test.each([
  ['/v1/triggers/none/reset', { to: 'latest' }, 'trigger_not_found'],
  ['/v1/triggers/none/replay', { from: 'earliest' }, 'trigger_not_found'],
  [`/v1/triggers/a/replays/${randomUUID()}/cancel`, undefined, 'replay_not_found'],
  ['/v1/triggers/a/replays/none/cancel', undefined, 'replay_not_found'],
])('%s names nothing', async (path, body, code) => {
  expect(await headrace.call(path, { method: 'POST', body })).toMatchObject({ status: 404, body: { code } })
})
