import { createDatabase } from '@headrace/testing'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { openScene, type Scene } from './fixtures/scene.ts'
import { dropOrTrimPartitions, ensurePartitions, newRunIds } from './index.ts'
import { ensurePartitionDays, listPartitions, partitionName } from './partitions.ts'
import { dayMs } from './run-id.ts'

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

/** A run made so many days ago, with a step, a note and an external id. */
async function oldRun(
  daysAgo: number,
  status: 'completed' | 'failed' | 'queued',
  endedDaysAgo = daysAgo,
): Promise<string> {
  const day = now - daysAgo * dayMs
  await ensurePartitionDays(scene.store.general, day, day)
  const [id] = newRunIds(1, day)
  await scene.row(
    `insert into runs (id, workflow, app, queue, status, output, error, since, queued_at, finished_at)
     values ($1, 'on_order', 'shop', 'default', $2, '{}', '{}', now(), now(),
       case $2 when 'queued' then null else now() - make_interval(days => $3) end)`,
    [id, status, endedDaysAgo],
  )
  await scene.row(`insert into steps (run_id, key, kind, n, epoch) values ($1, 'a', 'run', 0, 1)`, [id])
  await scene.row(`insert into run_notes (run_id, epoch, kind) values ($1, 1, 'released')`, [id])
  await scene.row(
    `insert into run_ids (workflow, external_id, run_id) values ('on_order', $1::text, $1::uuid)`,
    [id],
  )
  return id!
}
const there = async (id: string): Promise<unknown> => ({
  ...(await scene.row(
    `select (select count(*)::int from runs where id = $1) as runs, (select count(*)::int from steps where run_id = $1) as steps,
       (select count(*)::int from run_notes where run_id = $1) as notes, (select count(*)::int from run_ids where run_id = $1) as ids`,
    [id],
  )),
})
const all = { runs: 1, steps: 1, notes: 1, ids: 1 }
const none = { runs: 0, steps: 0, notes: 0, ids: 0 }
const isPending = async (): Promise<boolean> =>
  (await listPartitions(scene.store.general, 'steps')).some(({ detachPending }) => detachPending)
const nameOf = (daysAgo: number): string => partitionName('runs', now - daysAgo * dayMs)

test('a day without a live or kept run is dropped, with its steps and all that belongs to its runs', async () => {
  const old = await oldRun(9, 'completed')
  const kept = await oldRun(5, 'completed')
  // More than one statement deletes.
  await scene.row(
    `insert into run_notes (run_id, epoch, kind) select $1, n, 'released' from generate_series(2, 25000) n`,
    [old],
  )
  expect(await dropOrTrimPartitions(scene.store)).toEqual({ dropped: [nameOf(9)], deleted: 0, more: false })
  expect(await there(old)).toEqual(none)
  expect(await there(kept)).toEqual(all)
  const names = (await listPartitions(scene.store.general, 'steps')).map(({ name }) => name)
  expect(names).not.toContain(partitionName('steps', now - 9 * dayMs))
})

test('beside a live run, a failed one or one that ended late, old runs are deleted one by one', async () => {
  const live = await oldRun(20, 'queued')
  const ended = await oldRun(20, 'completed')
  const endedLate = await oldRun(19, 'completed', 2)
  const endedBeside = await oldRun(19, 'completed', 10)
  const failed = await oldRun(18, 'failed')
  const failedLongAgo = await oldRun(40, 'failed')
  expect(await dropOrTrimPartitions(scene.store)).toEqual({ dropped: [nameOf(40)], deleted: 2, more: false })
  for (const id of [live, endedLate, failed]) expect(await there(id)).toEqual(all)
  for (const id of [ended, endedBeside, failedLongAgo]) expect(await there(id)).toEqual(none)
})

test('a drop that was broken off is finished by the next sweep', async () => {
  await oldRun(9, 'completed')
  const reader = await scene.store.general.connect()
  await reader.query('begin')
  await reader.query('select count(*) from steps')
  // The detach has marked the partition and waits for the reader; there it is broken off.
  const detacher = await scene.store.general.connect()
  const { rows } = await detacher.query<{ pid: number }>('select pg_backend_pid() as pid')
  const broken = detacher
    .query(`alter table steps detach partition ${partitionName('steps', now - 9 * dayMs)} concurrently`)
    .catch((error: unknown) => error)
  while (!(await isPending())) await scene.store.ping()
  await scene.row('select pg_cancel_backend($1)', [rows[0]!.pid])
  expect(await broken).toBeInstanceOf(Error)
  detacher.release(true)
  await reader.query('commit')
  reader.release()
  expect(await isPending()).toBe(true)
  expect((await dropOrTrimPartitions(scene.store)).dropped).toEqual([nameOf(9)])
})

test('partitions are made ahead once, by any number of instances, and also where one was created but not attached', async () => {
  const orphan = partitionName('runs', now + 10 * dayMs)
  await scene.row(
    `create table ${orphan} (like runs including defaults including constraints including indexes)`,
  )
  const made = await Promise.all(
    Array.from({ length: 3 }, async () => await ensurePartitions(scene.store, { aheadDays: 10 })),
  )
  expect(made.flat().toSorted()).toEqual([...new Set(made.flat())].toSorted())
  expect(made.flat()).toContain(orphan)
  expect(ofDays(await ensurePartitions(scene.store, { aheadDays: 10 }))).toEqual([])
})

/** Those of runs and steps: an hour of responses may begin while a test runs. */
const ofDays = (names: string[]): string[] => names.filter((name) => /^(runs|steps)_/.test(name))

test('making a partition does not wait for an open reader, nor stop inserts', async () => {
  const reader = await scene.store.general.connect()
  await reader.query('begin')
  await reader.query('select count(*) from runs')
  const made = await ensurePartitions(scene.store, { aheadDays: 6 })
  await reader.query('rollback')
  reader.release()
  expect(ofDays(made)).toHaveLength(6)
})
