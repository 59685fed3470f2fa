import { createDatabase } from '@headrace/testing'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { openScene, type Scene } from './fixtures/scene.ts'
import {
  createProjections,
  dropOldResponses,
  insertResponses,
  loadCorrelatorCursors,
  newRunIds,
  openStream,
  raiseCorrelatorCursor,
  resetCorrelatorCursor,
  type ResponseRow,
  streamsToOpen,
} from './index.ts'
import { listPartitions, partitionName, removalLock } from './partitions.ts'

const hourMs = 3_600_000
let scene: Scene
let now: number
const scenes: Scene[] = []
beforeEach(async () => {
  scene = await openScene((await createDatabase()).url)
  scenes.push(scene)
  now = await scene.store.serverNow()
})
afterAll(async () => {
  await Promise.all(scenes.map(async (each) => await each.close()))
})

const response = (changes: Partial<ResponseRow> = {}): ResponseRow => ({
  topic: 'orders/paid',
  logTimeMs: now,
  stream: 'orders',
  incarnation: 1,
  partition: 0,
  sequenceId: 0,
  id: 'e0',
  source: 'shop',
  eventType: null,
  key: null,
  data: '{"a":"\\u0000"}',
  traceparent: null,
  external: null,
  ...changes,
})
const insert = async (...rows: ResponseRow[]): Promise<void> =>
  await insertResponses(scene.store, rows, { partition: 0, nowMs: now })
const ids = async (table = 'responses'): Promise<unknown> =>
  (await scene.row(`select coalesce(array_agg(id order by topic, id), '{}') as ids from ${table}`))['ids']
const hours = async (): Promise<string[]> =>
  (await listPartitions(scene.store.general, 'responses')).map(({ name }) => name)
const hourOf = (hoursAgo: number): string => partitionName('responses', now - hoursAgo * hourMs)

/** A wait of a run that does not matter here. */
async function wait(changes: { status: string; sinceHoursAgo: number; checked?: boolean }): Promise<void> {
  const [runId] = newRunIds(1, now)
  await scene.row(
    `insert into waits (run_id, key, kind, status, topic, stream, since, asked_since, epoch, expires_at, checked_at)
     values ($1, 'w', 'event', $2, 'orders/paid', 'orders', to_timestamp($3::float8 / 1000), to_timestamp($3::float8 / 1000), 1, now(), case when $4 then now() end)`,
    [runId, changes.status, now - changes.sinceHoursAgo * hourMs, changes.checked ?? false],
  )
}

test('a response is stored once, however often its position comes', async () => {
  await insert(response(), response({ sequenceId: 1, id: 'e1' }))
  await insert(response({ id: 'other' }), response({ sequenceId: 2, id: 'e2' }))
  expect(await ids()).toEqual(['e0', 'e1', 'e2'])
})

test('hours that were not made ahead are made when a response of theirs comes', async () => {
  expect(await hours()).toContain(hourOf(0))
  await insert(response({ logTimeMs: now - 5 * hourMs }), response({ logTimeMs: now - 9 * hourMs, id: 'e9' }))
  expect(await hours()).toEqual(expect.arrayContaining([hourOf(5), hourOf(9)]))
  expect(await ids()).toEqual(['e0', 'e9'])
})

test('a cursor only rises, but for a topic that was made anew', async () => {
  const { store } = scene
  await raiseCorrelatorCursor(store, { partition: 1, nextOffset: 10, logTimeMs: now })
  await raiseCorrelatorCursor(store, { partition: 1, nextOffset: 7, logTimeMs: now })
  await raiseCorrelatorCursor(store, { partition: 3, nextOffset: 0, logTimeMs: null })
  expect(await loadCorrelatorCursors(store)).toEqual(
    new Map([
      [1, 10],
      [3, 0],
    ]),
  )
  await resetCorrelatorCursor(store, { partition: 1, nextOffset: 2 })
  expect((await loadCorrelatorCursors(store)).get(1)).toBe(2)
})

test('a stream is to be opened until what was asked for is said to be there, to the microsecond', async () => {
  const { store } = scene
  const asked = '2026-11-22 10:00:00.123456+00'
  await scene.row(
    `insert into waited_streams (stream, projected_from) values ('orders', $1), ('users', now())`,
    [asked],
  )
  await createProjections(store, [
    { stream: 'orders', partition: 0, fromOffset: 0, projectedFrom: Date.parse('2026-11-22T10:00:00.123Z') },
    { stream: 'orders', partition: 1, fromOffset: 0, projectedFrom: Date.parse('2026-11-22T10:00:00.124Z') },
  ])
  const [orders, users] = await streamsToOpen(store)
  expect(orders).toEqual({ stream: 'orders', projectedFrom: asked, projected: [0], known: true })
  expect(users).toMatchObject({ stream: 'users', projected: [], known: false })

  expect(await openStream(store, orders!)).toBe(true)
  expect(await openStream(store, orders!)).toBe(false)
  expect((await streamsToOpen(store)).map(({ stream }) => stream)).toEqual(['users'])

  // Somebody wants more meanwhile: what is opened is what was looked at.
  await scene.row(`update waited_streams set projected_from = projected_from - interval '1 hour'`)
  const [again] = await streamsToOpen(store)
  await scene.row(`update waited_streams set projected_from = projected_from - interval '1 hour'`)
  expect(await openStream(store, again!)).toBe(true)
  expect((await streamsToOpen(store))[0]).toMatchObject({
    stream: 'orders',
    projectedFrom: '2026-11-22 08:00:00.123456+00',
  })
})

test('hours past the look-back are dropped; the latest of each topic is kept', async () => {
  const old = (hoursAgo: number, changes: Partial<ResponseRow>): ResponseRow =>
    response({ logTimeMs: now - hoursAgo * hourMs, ...changes })
  await insert(
    old(30, { sequenceId: 1, id: 'a1' }),
    old(30, { sequenceId: 2, id: 'a2' }),
    // Log times go backwards within a partition; its order is that of its offsets.
    old(29, { sequenceId: 4, id: 'a4' }),
    old(28.5, { sequenceId: 3, id: 'a3' }),
    old(40, { topic: 'orders/sent', partition: 1, id: 'b' }),
    old(29, { topic: 'orders/sent', partition: 2, id: 'c' }),
    old(3, { sequenceId: 9, id: 'kept' }),
  )
  await raiseCorrelatorCursor(scene.store, { partition: 0, nextOffset: 7, logTimeMs: null })
  const dropped = await dropOldResponses(scene.store)
  expect(dropped).toEqual(expect.arrayContaining([hourOf(40), hourOf(30), hourOf(29)]))
  expect(await hours()).not.toContain(hourOf(40))
  expect(await ids()).toEqual(['kept'])
  expect(await ids('latest_responses')).toEqual(['a4', 'c'])
  // What is kept as the latest may be followed by an older copy, which came late.
  await insert(old(30, { sequenceId: 1, id: 'a1' }), old(50, { topic: 'orders/sent', partition: 3, id: 'd' }))
  await raiseCorrelatorCursor(scene.store, { partition: 0, nextOffset: 9, logTimeMs: null })
  await dropOldResponses(scene.store)
  expect(await ids('latest_responses')).toEqual(['a4', 'c'])
  await scene.row(`update latest_responses set log_time = now() - interval '31 days' where id = 'c'`)
  await dropOldResponses(scene.store)
  expect(await ids('latest_responses')).toEqual(['a4'])
})

test.each([
  ['a pending wait', { status: 'pending', sinceHoursAgo: 30, checked: true }],
  ['an open wait that has not looked yet', { status: 'open', sinceHoursAgo: 30 }],
])('an hour stays that %s may want', async (_name, asked) => {
  await insert(
    response({ logTimeMs: now - 32 * hourMs }),
    response({ logTimeMs: now - 30 * hourMs, id: 'wanted' }),
  )
  await raiseCorrelatorCursor(scene.store, { partition: 0, nextOffset: 2, logTimeMs: null })
  await wait(asked)
  await wait({ status: 'open', sinceHoursAgo: 90, checked: true })
  expect(await dropOldResponses(scene.store)).toEqual([hourOf(32)])
  expect(await ids()).toEqual(['wanted'])
  await scene.row(`update waits set status = 'open', checked_at = now()`)
  expect(await dropOldResponses(scene.store)).toEqual([hourOf(30)])
})

test('hours stay within the look-back of the slowest partition', async () => {
  await insert(
    response({ logTimeMs: now - 60 * hourMs }),
    response({ logTimeMs: now - 50 * hourMs, id: 'wanted' }),
  )
  await raiseCorrelatorCursor(scene.store, { partition: 0, nextOffset: 2, logTimeMs: now - 30 * hourMs })
  await raiseCorrelatorCursor(scene.store, { partition: 1, nextOffset: 2, logTimeMs: null })
  expect(await dropOldResponses(scene.store)).toEqual([hourOf(60)])
  await raiseCorrelatorCursor(scene.store, { partition: 0, nextOffset: 2, logTimeMs: null })
  expect(await dropOldResponses(scene.store)).toEqual([hourOf(50)])
})

test('an old response that is being matched is not dropped under its matching', async () => {
  const { store } = scene
  await raiseCorrelatorCursor(store, { partition: 0, nextOffset: 4, logTimeMs: null })
  await insert(response({ logTimeMs: now - 80 * hourMs }))
  // Stored, not matched yet: its cursor holds it.
  expect(await dropOldResponses(store)).toEqual([])
  await raiseCorrelatorCursor(store, { partition: 0, nextOffset: 5, logTimeMs: null })
  expect(await dropOldResponses(store)).toEqual([hourOf(80)])
})

test('an hour that is being dropped makes the insert of its responses wait, and is then made anew', async () => {
  const { store } = scene
  await insert(response({ logTimeMs: now - 80 * hourMs }))
  await raiseCorrelatorCursor(store, { partition: 0, nextOffset: 1, logTimeMs: null })
  const dropping = await store.general.connect()
  await dropping.query('select pg_advisory_lock($1)', [removalLock('responses')])
  const inserting = insert(response({ logTimeMs: now - 80 * hourMs, sequenceId: 1, id: 'e1' }))
  const blocked = async (): Promise<unknown> =>
    (
      await scene.row(
        `select count(*)::int as waiting from pg_locks where locktype = 'advisory' and not granted`,
      )
    )['waiting']
  while ((await blocked()) !== 1);
  await dropping.query(`alter table responses detach partition ${hourOf(80)} concurrently`)
  await dropping.query(`drop table ${hourOf(80)}`)
  await dropping.query('select pg_advisory_unlock($1)', [removalLock('responses')])
  dropping.release()
  await inserting
  expect(await ids()).toEqual(['e1'])
})
