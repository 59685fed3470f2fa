import { createDatabase } from '@headrace/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hotSettings, urlWithSettings } from './connection.ts'
import { accessesOf, prepare } from './fixtures/plan.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import { getTrigger, setBackpressure } from './index.ts'
import { backpressureStatement } from './queries/backpressure.ts'
import { newRunIds } from './run-id.ts'

let url: string
let scene: Scene
beforeAll(async () => {
  url = (await createDatabase()).url
  scene = await openScene(url)
})
afterAll(async () => await scene.close())

const limits = { above: 4, until: 2 }
const count = async () => await setBackpressure(scene.store, limits)
const isHeldBack = async () => (await getTrigger(scene.store, 'on_order'))?.backpressured
const hold = async (runIds: string[], reason: string | null) =>
  await scene.store.general.query(
    `update runs set blocked_reason = $2, concurrency_key = 'k' where id = any ($1::uuid[])`,
    [runIds, reason],
  )
const finish = async (runIds: string[]) =>
  await scene.store.general.query(
    `update runs set status = 'completed', output = '1', finished_at = now() where id = any ($1::uuid[])`,
    [runIds],
  )

test('a workflow is held back above the limit, held runs counted, and goes on well below it', async () => {
  const runs = await scene.startRuns(4)
  expect(await count()).toEqual([])
  runs.push(...(await scene.startRuns(1)))
  await hold(runs.slice(0, 2), 'concurrency')
  expect(await count()).toEqual([{ workflow: 'on_order', runs: 5, backpressured: true }])
  expect(await isHeldBack()).toBe(true)
  expect(await count()).toEqual([])
  await finish(runs.slice(0, 2))
  expect(await count()).toEqual([])
  expect(await isHeldBack()).toBe(true)
  await finish(runs.slice(2, 3))
  expect(await count()).toEqual([{ workflow: 'on_order', runs: 2, backpressured: false }])
  expect(await isHeldBack()).toBe(false)
  await finish(runs)
})

test('runs that are delayed, or running, hold nothing back', async () => {
  const runs = await scene.startRuns(8)
  await hold(runs.slice(0, 4), 'delayed')
  for (const run of runs.slice(4)) expect(await scene.claim(run)).toBe(true)
  expect(await count()).toEqual([])
  await finish(runs)
})

test('two who count at the same time change it once', async () => {
  const runs = await scene.startRuns(5)
  const changes = await Promise.all([count(), count(), count(), count()])
  expect(changes.flat()).toHaveLength(1)
  await finish(runs)
  expect((await Promise.all([count(), count()])).flat()).toHaveLength(1)
})

test('runs are counted from the indexes of those that are queued or held, however many there are', async () => {
  const session = new Client({ connectionString: urlWithSettings(url, hotSettings) })
  await session.connect()
  await prepare(session, backpressureStatement)
  const ids = newRunIds(20_000, await scene.store.serverNow())
  for (const reach of [
    'select 1',
    `insert into runs (id, workflow, app, queue, status, output, finished_at, queued_at, since)
     select id, 'on_order', 'shop', 'default', 'completed', '{}', now(), now(), now() from unnest($1::uuid[]) u(id)`,
    'analyze',
  ]) {
    await scene.store.general.query(reach, reach.includes('$1') ? [ids] : [])
    const indexes = (await accessesOf(session, backpressureStatement, [10, 8]))
      .filter(({ relation }) => relation.startsWith('runs'))
      .map(({ index }) => index ?? 'none')
    expect(indexes.length).toBeGreaterThan(0)
    expect(
      indexes.filter((index) => !/_(queue_queued_at|workflow_concurrency_key_).*idx/.test(index)),
    ).toEqual([])
  }
  await session.end()
})
