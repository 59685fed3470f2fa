import { createDatabase } from '@headrace/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hotSettings, urlWithSettings } from './connection.ts'
import { accessesOf, type PlanValue, prepare } from './fixtures/plan.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import {
  gapsOver,
  loadCursors,
  passGap,
  recordRepeats,
  repeatAt,
  repeatsAt,
  type RepeatDecision,
  sweepDecisions,
} from './index.ts'
import {
  recordRepeatsStatement,
  repeatAtStatement,
  repeatsAtStatement,
  sweepDecisionsStatement,
} from './queries/decisions.ts'
import type { Statement } from './statement.ts'

let url: string
let scene: Scene
beforeAll(async () => {
  url = (await createDatabase()).url
  scene = await openScene(url)
})
afterAll(async () => {
  await scene.close()
})

const first = { incarnation: 1, partition: 2, sequenceId: 7 }
const repeat = (sequenceId: number, changes: Partial<RepeatDecision> = {}): RepeatDecision => ({
  stream: 'orders',
  incarnation: 1,
  partition: 0,
  sequenceId,
  first,
  ...changes,
})
const at = async (sequenceId: number, incarnation = 1) =>
  await repeatAt(scene.store, { stream: 'orders', partition: 0, incarnation, sequenceId })

test('a repeat is recorded once with the position of the first, however often and by how many it is read', async () => {
  const repeats = [repeat(3), repeat(1), repeat(2)]
  await Promise.all(
    [repeats, repeats.toReversed(), repeats].map(async (some) => await recordRepeats(scene.store, some)),
  )
  await recordRepeats(scene.store, [repeat(2, { first: { ...first, sequenceId: 8 } })])
  expect([await at(1), await at(2), await at(3), await at(4)]).toEqual([first, first, first, null])
})

test('the same place of another incarnation is another event', async () => {
  await recordRepeats(scene.store, [repeat(20, { incarnation: 2 })])
  expect([await at(20), await at(20, 2)]).toEqual([null, first])
})

test('a gap that a trigger passes is kept with its first and last event, once, and not where nothing was lost', async () => {
  const cursorNow = async () =>
    (await loadCursors(scene.store, 'orders', [1])).find(({ triggerId }) => triggerId === 'on_order')!
  const cursor = await cursorNow()
  const from = cursor.nextOffset
  const past = { nextOffset: from + 10, incarnation: 1, lost: 10 }
  const passed = await Promise.all([1, 2, 3].map(async () => await passGap(scene.store, cursor, past)))
  expect(passed.filter(Boolean)).toHaveLength(1)
  // Cut or made anew: nothing of what the cursor was to read is known to be lost.
  expect(await passGap(scene.store, await cursorNow(), { nextOffset: 0, incarnation: 2, lost: 0 })).toBe(true)
  const over = async (sequenceId: number) =>
    await gapsOver(scene.store, { stream: 'orders', partition: 1, sequenceId })
  const gap = { triggerId: 'on_order', fromSequenceId: from, toSequenceId: from + 9 }
  expect([await over(from), await over(from + 9)]).toEqual([[gap], [gap]])
  expect([await over(from - 1), await over(from + 10)]).toEqual([[], []])
})

test('decisions go when they are old, however many they are, and no others', async () => {
  await scene.row(
    `insert into decisions (kind, stream, partition, incarnation, sequence_id, last_sequence_id, first_incarnation, first_partition, first_sequence_id, at)
     select 'repeat', 'old', 0, 1, n, n, 1, 0, 0, now() - interval '8 days' from generate_series(1, 25000) n`,
  )
  await recordRepeats(scene.store, [repeat(30)])
  expect(await sweepDecisions(scene.store, 7 * 86_400_000)).toEqual({ more: false })
  expect(await scene.row(`select count(*)::int as rows from decisions where stream = 'old'`)).toEqual({
    rows: 0,
  })
  expect(await at(30)).toEqual(first)
})

test('the repeats among many positions are told, each with its first', async () => {
  await recordRepeats(scene.store, [repeat(50), repeat(51, { first: { ...first, sequenceId: 8 } })])
  const places = [50, 49, 51].map((sequenceId) => repeat(sequenceId))
  expect(await repeatsAt(scene.store, places)).toEqual([first, null, { ...first, sequenceId: 8 }])
  expect(await repeatsAt(scene.store, [])).toEqual([])
})

test('decisions are found by key, and old ones by time, on tables empty, grown and analysed', async () => {
  const statements: { statement: Statement; values: PlanValue[]; index: string }[] = [
    { statement: repeatAtStatement, values: ['orders', 0, 1, 9], index: 'decisions_pkey' },
    {
      statement: repeatsAtStatement,
      values: [
        ['orders', 'orders'],
        [0, 1],
        [1, 1],
        [9, 9],
      ],
      index: 'decisions_pkey',
    },
    { statement: sweepDecisionsStatement, values: [1_000, 10], index: 'decisions_at' },
  ]
  const session = new Client({ connectionString: urlWithSettings(url, hotSettings) })
  await session.connect()
  for (const { statement } of [{ statement: recordRepeatsStatement }, ...statements])
    await prepare(session, statement)
  const stages = [
    'delete from decisions',
    `insert into decisions (kind, stream, partition, incarnation, sequence_id, last_sequence_id, first_incarnation, first_partition, first_sequence_id)
     select 'repeat', 'orders', n % 4, 1, n, n, 1, 0, 0 from generate_series(1, 20000) n`,
    'analyze decisions',
  ]
  for (const reach of stages) {
    await scene.row(reach)
    for (const { statement, values, index } of statements)
      expect((await accessesOf(session, statement, values)).map((access) => access.index)).toContain(index)
    const recorded = await accessesOf(session, recordRepeatsStatement, [
      ['orders'],
      [0],
      [1],
      [1],
      [1],
      [0],
      [0],
    ])
    expect(recorded.filter(({ relation }) => relation === 'decisions')).toEqual([])
  }
  await session.end()
})
