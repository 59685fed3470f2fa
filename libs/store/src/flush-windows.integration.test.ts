import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { endOfOrders, moveOf, openScene, type Scene, windowOf } from './fixtures/scene.ts'
import {
  classify,
  createCursors,
  flushWindows,
  getRun,
  loadCursors,
  newRunIds,
  readRuns,
  setCursorStatus,
  setTriggerStatus,
} from './index.ts'
import { dayMs } from './run-id.ts'

let scene: Scene
let revision: number
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
})
afterAll(async () => {
  await scene.close()
})
beforeEach(async () => {
  revision = (await cursor()).revision
})

const cursor = async (partition = 0) => (await loadCursors(scene.store, 'orders', [partition]))[0]!
const freshIds = async (count: number): Promise<string[]> => newRunIds(count, await scene.store.serverNow())
const nothing = { moved: [], started: [] }

test('a flush moves the cursor and starts its windows as queued runs, in one commit', async () => {
  const ids = await freshIds(2)
  const { moved, started } = await flushWindows(scene.store, {
    moves: [moveOf({ revision, nextOffset: 120, done: '{[125,127)}', lastOffset: 130, lastId: 'e130' })],
    runs: ids.map((id) => windowOf(id, { tags: { order: 'ü"\\' }, lastOffset: endOfOrders + 9, events: 10 })),
  })
  expect(moved).toEqual([{ triggerId: 'on_order', stream: 'orders', partition: 0 }])
  expect(started.toSorted((a, b) => (a.runId < b.runId ? -1 : 1))).toEqual(
    ids.map((runId) => ({ runId, epoch: 1 })),
  )
  expect(await cursor()).toMatchObject({
    nextOffset: 120,
    done: '{[125,127)}',
    revision: revision + 1,
    lastOffset: 130,
    lastTs: 1_795_000_000_000,
    lastId: 'e130',
  })
  const run = await getRun(scene.store, ids[0]!)
  expect(run).toMatchObject({
    status: 'queued',
    epoch: 1,
    tags: { order: 'ü"\\' },
    trigger: { id: 'on_order', firstOffset: endOfOrders, lastOffset: endOfOrders + 9, events: 10 },
  })
  expect(Math.abs((await scene.store.serverNow()) - run!.queuedAt!)).toBeLessThan(60_000)
  expect(await readRuns(scene.store, [...ids, ...(await freshIds(1))])).toEqual(new Set(ids))
})

test('of two flushes from one revision, one moves, and only its runs start', async () => {
  const ids = await freshIds(8)
  const outcomes = await Promise.all(
    ids.map(
      async (id) => await flushWindows(scene.store, { moves: [moveOf({ revision })], runs: [windowOf(id)] }),
    ),
  )
  expect(outcomes.filter(({ moved }) => moved.length === 1)).toHaveLength(1)
  expect((await readRuns(scene.store, ids)).size).toBe(1)
  expect((await cursor()).revision).toBe(revision + 1)
})

test('a cursor that moved on stays; the others of the flush move', async () => {
  const [lost, won] = await freshIds(2)
  const other = await cursor(1)
  expect(
    await flushWindows(scene.store, {
      moves: [moveOf({ revision: revision + 7 }), moveOf({ partition: 1, revision: other.revision })],
      runs: [windowOf(lost!), windowOf(won!, { partition: 1 })],
    }),
  ).toEqual({
    moved: [{ triggerId: 'on_order', stream: 'orders', partition: 1 }],
    started: [{ runId: won, epoch: 1 }],
  })
})

test('windows of several cursors and definitions, mixed, start as what each of them is', async () => {
  const ids = await freshIds(5)
  const other = await cursor(1)
  const made = [
    windowOf(ids[0]!),
    windowOf(ids[1]!, { partition: 1, build: 'b2', queue: 'slow', tags: { n: '1' } }),
    windowOf(ids[2]!, { partition: 2 }),
    windowOf(ids[3]!, { build: null, incarnation: 3, traceparent: 'trace' }),
    windowOf(ids[4]!, { partition: 1, build: 'b2', queue: 'slow', input: '"\\"{}"' }),
  ]
  const { started } = await flushWindows(scene.store, {
    moves: [moveOf({ partition: 1, revision: other.revision }), moveOf({ revision })],
    runs: made,
  })
  const wanted = made.filter(({ partition }) => partition !== 2)
  expect(started.map(({ runId }) => runId)).toEqual(wanted.map(({ runId }) => runId))
  expect((await readRuns(scene.store, ids)).size).toBe(4)
  for (const { runId, partition, build, queue, incarnation, tags, input, traceparent } of wanted)
    expect(
      await scene.row(
        'select partition, build, queue, incarnation, tags, input, traceparent from runs where id = $1',
        [runId],
      ),
    ).toEqual({ partition, build, queue, incarnation, tags, input, traceparent })
})

test('a move without windows is progress', async () => {
  const { moved } = await flushWindows(scene.store, {
    moves: [moveOf({ revision, lastOffset: null, lastTs: null, lastId: null })],
    runs: [],
  })
  expect(moved).toHaveLength(1)
  expect(await cursor()).toMatchObject({ lastOffset: null, lastTs: null })
})

test('a paused, stopped or redefined cursor does not move', async () => {
  const flush = async (changes = {}) =>
    await flushWindows(scene.store, {
      moves: [moveOf({ revision: (await cursor()).revision, ...changes })],
      runs: [windowOf((await freshIds(1))[0]!)],
    })
  expect(await flush({ version: 2 })).toEqual(nothing)
  expect(await setTriggerStatus(scene.store, 'on_order', 'paused')).toBe(true)
  expect(await flush()).toEqual(nothing)
  // A cursor that is made while its trigger is paused is paused too.
  await createCursors(scene.store, [
    { triggerId: 'on_order', stream: 'orders', partition: 9, nextOffset: 0, version: 1 },
  ])
  expect(await cursor(9)).toMatchObject({ status: 'paused', incarnation: 1 })
  expect(await setTriggerStatus(scene.store, 'on_order', 'live')).toBe(true)
  expect(await cursor(9)).toMatchObject({ status: 'live' })
  const stop = { triggerId: 'on_order', stream: 'orders', partition: 0 }
  await setCursorStatus(scene.store, { ...stop, status: 'stopped', reason: 'gap' })
  expect(await flush()).toEqual(nothing)
  // Resuming the trigger does not hide a gap.
  await setTriggerStatus(scene.store, 'on_order', 'paused')
  await setTriggerStatus(scene.store, 'on_order', 'live')
  expect(await cursor()).toMatchObject({ status: 'stopped', reason: 'gap' })
  await setCursorStatus(scene.store, { ...stop, status: 'live', reason: null })
  expect((await flush()).moved).toHaveLength(1)
  expect(await setTriggerStatus(scene.store, 'unknown', 'paused')).toBe(false)
})

test('a cursor that is there is left as it is', async () => {
  const before = await cursor()
  await createCursors(scene.store, [
    { triggerId: 'on_order', stream: 'orders', partition: 0, nextOffset: 0, version: 9 },
  ])
  expect(await cursor()).toEqual(before)
})

test.each([
  ['a NUL in a tag', { tags: { a: 'b\u0000' } }],
  ['half of a surrogate pair in a tag', { tags: { a: '\ud800' } }],
  ['a NUL in its input', { input: '"\u0000"' }],
  ['more events than a window may have', { events: 1_001 }],
  ['offsets in the wrong order', { lastOffset: 0 }],
  ['an id that is no uuid', { runId: 'nonsense' }],
  ['an offset that is no number', { firstOffset: Number.NaN }],
])('a window with %s is its own fault, and nothing of the flush is done', async (_, changes) => {
  const [good, bad] = await freshIds(2)
  const error: unknown = await flushWindows(scene.store, {
    moves: [moveOf({ revision })],
    runs: [windowOf(good!), windowOf(bad!, changes)],
  }).catch((reason: unknown) => reason)
  expect(classify(error)).toBe('row')
  expect((await cursor()).revision).toBe(revision)
  expect((await readRuns(scene.store, [good!])).size).toBe(0)
})

test('JSON that jsonb refuses is kept to the letter', async () => {
  const [id] = await freshIds(1)
  const input = '{"a":"\\u0000\\ud800","b":1.0,"b":2}'
  await flushWindows(scene.store, { moves: [moveOf({ revision })], runs: [windowOf(id!, { input })] })
  expect((await getRun(scene.store, id!))?.input).toBe(input)
})

test('a run without a partition gets one made, and is started', async () => {
  const [id] = newRunIds(1, (await scene.store.serverNow()) + 40 * dayMs)
  const { started } = await flushWindows(scene.store, {
    moves: [moveOf({ revision })],
    runs: [windowOf(id!)],
  })
  expect(started).toEqual([{ runId: id, epoch: 1 }])
})

test('a partition made for an absurd day would never be looked at: the fault is thrown, as an outage of ours', async () => {
  const [id] = newRunIds(1, (await scene.store.serverNow()) + 4_000 * dayMs)
  const error: unknown = await flushWindows(scene.store, {
    moves: [moveOf({ revision })],
    runs: [windowOf(id!)],
  }).catch((reason: unknown) => reason)
  expect(classify(error)).toBe('missing_partition')
})
