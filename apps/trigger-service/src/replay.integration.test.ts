import { randomUUID } from 'node:crypto'
import {
  createReplay,
  cursorsOfTriggers,
  readReplay,
  type ReplayRow,
  setTriggerStatus,
} from '@headrace/store'
import { createDatabase, eventually, expireRecords, infra } from '@headrace/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { numbersIn, Scene, type SceneTrigger, upTo } from './stage/scene.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const scene = new Scene({ brokers, partitions: 1, prefix: `${prefix}-replay`, databaseUrl })

const fives: SceneTrigger = {
  id: 'fives',
  pattern: 'orders/created',
  size: 5,
  timeoutMs: 3_600_000,
  if: 'event.data < 40',
}
const each: SceneTrigger = { id: 'each', pattern: 'orders/**' }

beforeAll(async () => {
  await scene.open()
  await scene.register('b1', [fives, each])
  await scene.start()
  await scene.publish(33)
  await scene.publish(2, { topic: 'orders/other' })
  await scene.publish(10)
  await scene.publish(1)
  await eventually('all is read', async () => (await scene.windows('each')).length === 46)
  await eventually('all is stored', async () => (await scene.windows('fives')).length === 7)
})
afterAll(async () => await scene.end())

async function replay(range: {
  from: number
  to: number
  dryRun: boolean
  triggerId?: string
}): Promise<string> {
  const id = randomUUID()
  const ranges = [{ stream: 'orders', partition: 0, fromOffset: range.from, toOffset: range.to }]
  const { triggerId = 'fives', dryRun } = range
  const given = { id, triggerId, dryRun, ranges, runningMax: 10 }
  expect(await createReplay(scene.store, given)).toBe('created')
  return id
}
const ended = async (id: string, triggerId = 'fives'): Promise<ReplayRow> =>
  await eventually('the replay has ended', async () => {
    const [row] = await readReplay(scene.store, triggerId, id)
    return row !== undefined && row.status !== 'running' && row
  })
const windowsOf = async (id: string): Promise<number[][]> =>
  (await scene.windows('fives', id)).map(({ data }) => data as number[])
const cursors = async () =>
  (
    await scene.store.general.query(
      'select trigger_id, next_offset, done, revision, last_offset, status from trigger_cursors order by trigger_id',
    )
  ).rows as unknown[]

it('counts in a dry run what the real one starts, in windows of the range alone, and leaves the live cursor alone', async () => {
  const before = await cursors()
  const dry = await ended(await replay({ from: 3, to: 40, dryRun: true }))
  expect(dry).toMatchObject({
    status: 'done',
    windows: 7,
    events: 35,
    filtered: 0,
    repeats: 0,
    deadLetters: 0,
  })
  const id = await replay({ from: 3, to: 40, dryRun: false })
  expect(await ended(id)).toMatchObject({ status: 'done', nextOffset: 40, windows: null })
  const windows = await windowsOf(id)
  expect(windows.flat()).toEqual([...upTo(30, 3), ...upTo(5, 35)])
  expect([windows.length, windows.flat().length]).toEqual([dry.windows, dry.events])
  expect(windows.map((window) => window.length)).toEqual([5, 5, 5, 5, 5, 5, 5])
  expect(await cursors()).toEqual(before)
})

it('counts what its filter passes over, and closes what is open at the end of the range', async () => {
  const dry = await ended(await replay({ from: 38, to: 46, dryRun: true }))
  expect(dry).toMatchObject({ windows: 1, events: 2, filtered: 6 })
  const id = await replay({ from: 38, to: 46, dryRun: false })
  await ended(id)
  expect(await windowsOf(id)).toEqual([[38, 39]])
})

it('takes no event for its own repeat, and passes over those that came again', async () => {
  await scene.send([{ id: 'a' }, { id: 'b' }])
  await scene.send([{ id: 'a' }])
  await eventually('both are read', async () => (await scene.windows('each')).length === 48)
  const range = { from: 46, to: 49, triggerId: 'each' }
  const dry = await ended(await replay({ ...range, dryRun: true }), 'each')
  expect(dry).toMatchObject({ windows: 2, events: 2, repeats: 1 })
  const id = await replay({ ...range, dryRun: false })
  await ended(id, 'each')
  expect((await scene.windows('each', id)).flatMap(({ data }) => data)).toEqual(['a', 'b'])
})

it('tells Postgres what is in open windows', async () => {
  await eventually('three events are in one', async () => {
    const cursors = await cursorsOfTriggers(scene.store, ['fives', 'each'])
    const held = new Map(cursors.map(({ triggerId, open }) => [triggerId, open?.events ?? 0]))
    return held.get('fives') === 3 && held.get('each') === 0
  })
})

it('waits while its trigger is paused, and goes on from its own cursor', async () => {
  await setTriggerStatus(scene.store, 'fives', 'paused')
  const id = await replay({ from: 0, to: 30, dryRun: false })
  expect(await scene.windows('fives', id)).toEqual([])
  await scene.publish(3)
  await eventually('the lane has gone on without it', async () => (await scene.windows('each')).length === 51)
  expect(await scene.windows('fives', id)).toEqual([])
  // Half of it was done by somebody who died: his windows and his cursor are stored.
  await scene.store.general.query(
    `update trigger_cursors set next_offset = 10, revision = revision + 1 where trigger_id = $1`,
    [`fives:${id}`],
  )
  await setTriggerStatus(scene.store, 'fives', 'live')
  await ended(id)
  expect(await windowsOf(id)).toEqual([upTo(5, 10), upTo(5, 15), upTo(5, 20), upTo(5, 25)])
})

it('ends when the log does not hold its range any more, and says why', async () => {
  await setTriggerStatus(scene.store, 'fives', 'paused')
  const id = await replay({ from: 0, to: 30, dryRun: false })
  await expireRecords(brokers, { topic: scene.topic, partition: 0, before: 10 })
  await setTriggerStatus(scene.store, 'fives', 'live')
  expect(await ended(id)).toMatchObject({ status: 'failed', reason: 'gap' })
  expect(numbersIn(await scene.windows('fives', id))).toEqual([])
})

it('ends when its trigger is retired', async () => {
  await setTriggerStatus(scene.store, 'fives', 'paused')
  const id = await replay({ from: 20, to: 30, dryRun: false })
  await scene.register('b2', [each])
  expect(await ended(id)).toMatchObject({ status: 'cancelled', reason: 'trigger_retired' })
  expect(JSON.stringify(await cursors())).not.toContain(id)
})
