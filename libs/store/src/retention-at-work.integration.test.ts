import { createDatabase } from '@headrace/testing'
import type { PoolClient } from 'pg'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { untilWaiting } from './fixtures/in-order.ts'
import { openScene, type Scene, stepOf, suspendOf } from './fixtures/scene.ts'
import { sequenceIdOf, timeWait, waitScene, type WaitScene } from './fixtures/waits.ts'
import {
  answerTimers,
  claimRuns,
  dropOldResponses,
  dropOrTrimPartitions,
  enterEventIds,
  newRunIds,
  openWaitsOn,
  sweepEndedWaits,
  sweepEventIds,
} from './index.ts'
import { ensurePartitionDays, listPartitions, listRemains, partitionName } from './partitions.ts'
import { dayMs, runIdTime } from './run-id.ts'

let scene: Scene
let waits: WaitScene
let now: number
const scenes: Scene[] = []
beforeEach(async () => {
  scene = await openScene((await createDatabase()).url)
  scenes.push(scene)
  waits = await waitScene(scene)
  now = await scene.store.serverNow()
})
afterAll(async () => {
  await Promise.all(scenes.map(async (each) => await each.close()))
})

const sweep = async () => await dropOrTrimPartitions(scene.store)
const nameOf = (daysAgo: number, table: 'runs' | 'steps' = 'runs'): string =>
  partitionName(table, now - daysAgo * dayMs)
const names = async (): Promise<string[]> =>
  (
    await Promise.all(
      (['runs', 'steps'] as const).map(async (table) => await listPartitions(scene.store.general, table)),
    )
  )
    .flat()
    .map(({ name }) => name)
const count = async (table: string): Promise<unknown> =>
  (await scene.row(`select count(*)::int as rows from ${table}`))['rows']

async function day(daysAgo: number): Promise<number> {
  const at = now - daysAgo * dayMs
  await ensurePartitionDays(scene.store.general, at, at)
  return at
}

/** A run that completed so many days ago, which another one may have started, with so many notes. */
async function completed(daysAgo: number, { parent = '', notes = 0 } = {}): Promise<string> {
  const [id = ''] = newRunIds(1, await day(daysAgo))
  await scene.row(
    `insert into runs (id, workflow, app, queue, status, output, since, finished_at)
     values ($1, 'on_order', 'shop', 'default', 'completed', '{}', now(), now() - make_interval(days => $2))`,
    [id, daysAgo],
  )
  await scene.row(`insert into steps (run_id, key, kind, n, epoch) values ($1, 'a', 'run', 0, 1)`, [id])
  await scene.row(
    `insert into run_notes (run_id, epoch, kind) select $1, n, 'released' from generate_series(1, $2::int) n`,
    [id, notes],
  )
  if (parent !== '')
    await scene.row(
      `insert into run_ids (workflow, external_id, run_id) values ('headrace:child', concat($1::text, '/start'), $2)`,
      [parent, id],
    )
  return id
}

/** Makes a run of now one that began so many days ago: its id tells the day. */
async function aged(runId: string, daysAgo: number): Promise<string> {
  const [id = ''] = newRunIds(1, await day(daysAgo))
  await scene.row(
    'update runs set id = $2, created_at = created_at - make_interval(days => $3) where id = $1',
    [runId, id, daysAgo],
  )
  await scene.row('update steps set run_id = $2 where run_id = $1', [runId, id])
  await scene.row(
    `update waits set run_id = $2, since = since - make_interval(days => $3), asked_since = asked_since - make_interval(days => $3),
       created_at = created_at - make_interval(days => $3), checked_at = checked_at - make_interval(days => $3) where run_id = $1`,
    [runId, id, daysAgo],
  )
  return id
}

/** Returns once the partition is marked as going; whoever removes it waits for its readers then. */
async function untilPending(table: 'runs' | 'steps'): Promise<void> {
  while (!(await listPartitions(scene.store.general, table)).some(({ detachPending }) => detachPending))
    await scene.store.ping()
}

async function reading<Result>(work: (reader: PoolClient) => Promise<Result>): Promise<Result> {
  const reader = await scene.store.general.connect()
  try {
    await reader.query('begin')
    await reader.query('select count(*) from runs join steps on run_id = id')
    return await work(reader)
  } finally {
    await reader.query('rollback')
    reader.release()
  }
}

describe('a run that waits for 40 days', () => {
  async function parked(): Promise<string> {
    await waits.openStreams('answers')
    const id = await waits.claimed()
    await scene.apply(stepOf(id, 'before'))
    return id
  }
  async function sweepAll(): Promise<void> {
    await completed(40)
    await completed(20)
    expect(await sweep()).toEqual({ dropped: [nameOf(20)], deleted: 1, more: false })
    await dropOldResponses(scene.store)
    await sweepEndedWaits(scene.store, { after: null, limit: 1_000 })
    await sweepEventIds(scene.store, {
      stream: 'answers',
      olderThanMs: now - dayMs,
      cursors: [],
      keepMs: dayMs,
      limit: 1_000,
      afterRun: null,
    })
  }
  const stepsAtClaim = async (runId: string) =>
    (
      await claimRuns(scene.store, { claims: [{ runId, epoch: 2, workerId: 'w2', wantInput: true }] })
    )[0]?.steps.map(({ key }) => key)

  test('is kept with its steps, its wait and the ids it published under, and an event resumes it', async () => {
    const fresh = await parked()
    await waits.waiting(fresh, 'answer', { timeout_ms: 366 * dayMs })
    expect(await scene.apply(suspendOf(fresh))).toEqual([{ kind: 'done' }])
    const id = await aged(fresh, 40)
    const published = {
      stream: 'answers',
      source: 'headrace:run',
      id: `${id}/publish`,
      incarnation: 1,
      partition: 0,
      sequenceId: 7,
      logTimeMs: now - 40 * dayMs,
      runId: id,
    }
    await enterEventIds(scene.store, [published])
    await sweepAll()
    expect(await enterEventIds(scene.store, [{ ...published, sequenceId: 8, logTimeMs: now }])).toEqual([
      { incarnation: 1, partition: 0, sequenceId: 7 },
    ])
    await waits.store(waits.response(12))
    const found = await openWaitsOn(scene.store, ['answers/a'], null, 10)
    expect(found.map(({ runId }) => runId)).toEqual([id])
    expect(await waits.look([id, 'answer'])).toMatchObject({ queued: [{ runId: id, epoch: 2 }] })
    expect(await stepsAtClaim(id)).toEqual(['before', 'answer'])
    expect((await waits.answersOf(id, 0, 2)).length).toBe(0)
    const answer = await scene.row(`select key, output from steps where run_id = $1 and key = 'answer'`, [id])
    expect(sequenceIdOf(answer as never)).toBe(12)
  })

  test('is resumed by its timer', async () => {
    const fresh = await parked()
    await waits.register(timeWait(fresh, 'nap', { after_ms: 366 * dayMs }))
    expect(await scene.apply(suspendOf(fresh))).toEqual([{ kind: 'done' }])
    const id = await aged(fresh, 40)
    await sweepAll()
    await scene.row('update waits set expires_at = now() where run_id = $1', [id])
    expect(await answerTimers(scene.store, { limit: 10 })).toMatchObject({ queued: [{ runId: id }] })
    expect(await stepsAtClaim(id)).toEqual(['before', 'nap'])
  })
})

test('while a removal waits for an open reader, inserts go on and partitions are made', async () => {
  await completed(9)
  await completed(8)
  const dropped = await reading(async (reader) => {
    const sweeping = sweep()
    await untilPending('steps')
    expect(await scene.startRuns(100)).toHaveLength(100)
    const missing = newRunIds(1, now + 20 * dayMs)[0]!
    await ensurePartitionDays(scene.store.general, now + 20 * dayMs, now + 20 * dayMs)
    await scene.row(
      `insert into runs (id, workflow, app, queue, status, since, queued_at) values ($1, 'on_order', 'shop', 'default', 'queued', now(), now())`,
      [missing],
    )
    await reader.query('commit')
    return (await sweeping).dropped
  })
  expect(dropped).toEqual([nameOf(9), nameOf(8)])
})

test('a sweep that is cut short while it deletes goes on with the next one', async () => {
  const ended = await completed(9, { notes: 3 })
  const blocker = await scene.store.general.connect()
  await blocker.query('begin')
  await blocker.query('select 1 from run_notes where run_id = $1 and epoch = 2 for update', [ended])
  const cut = sweep().catch((error: unknown) => error)
  await untilWaiting(scene.store, 1)
  await scene.row(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
  )
  expect(await cut).toBeInstanceOf(Error)
  await blocker.query('rollback')
  blocker.release()
  expect((await sweep()).dropped).toEqual([nameOf(9)])
  expect(await count('run_notes')).toBe(0)
})

test('a partition that was detached and not dropped is dropped by the next sweep, and none that is to come', async () => {
  await completed(9)
  const steps = nameOf(9, 'steps')
  await scene.store.general.query(`alter table steps detach partition ${steps}`)
  const ahead = partitionName('runs', now + 10 * dayMs)
  await scene.row(`create table ${ahead} (like runs including all)`)
  await sweep()
  expect(await listRemains(scene.store.general, 'steps')).toEqual([])
  expect(await listRemains(scene.store.general, 'runs')).toEqual([ahead])
  expect(await names()).not.toContain(nameOf(9))
})

test('sweeps of several instances at once leave nothing behind and do not fail', async () => {
  for (const daysAgo of [12, 11, 10, 9]) await completed(daysAgo, { notes: 12_000 })
  const swept = await Promise.all(Array.from({ length: 4 }, sweep))
  const dropped = swept.flatMap((each) => each.dropped)
  expect(new Set(dropped).size).toBe(dropped.length)
  await sweep()
  for (const daysAgo of [12, 11, 10, 9]) {
    expect(await names()).not.toContain(nameOf(daysAgo))
    expect(await names()).not.toContain(nameOf(daysAgo, 'steps'))
  }
  expect(await count('run_notes')).toBe(0)
})

test('a retention of minutes deletes ended runs, and never the table that runs are being started in', async () => {
  const [id = ''] = await scene.startRuns(1)
  await scene.row(
    `update runs set status = 'completed', output = '{}', finished_at = now() - interval '2 minutes' where id = $1`,
    [id],
  )
  const short = { endedMs: 60_000, failedMs: 60_000 }
  const { dropped } = await dropOrTrimPartitions(scene.store, short)
  expect(dropped).not.toContain(partitionName('runs', now))
  expect(await scene.startRuns(1)).toHaveLength(1)
})

test('the name of a child is kept for as long as the run that started it, and goes with it', async () => {
  const [parent = ''] = newRunIds(1, await day(20))
  await scene.row(
    `insert into runs (id, workflow, app, queue, status, since, queued_at) values ($1, 'on_order', 'shop', 'default', 'queued', now(), now())`,
    [parent],
  )
  await completed(19, { parent })
  expect((await sweep()).dropped).toEqual([nameOf(19)])
  expect(await count('run_ids')).toBe(1)
  await scene.row(
    `update runs set status = 'completed', output = '{}', finished_at = now() - interval '8 days' where id = $1`,
    [parent],
  )
  expect((await sweep()).dropped).toEqual([nameOf(20)])
  expect(await count('run_ids')).toBe(0)
})

test('a day whose partition nobody made is made by those who start its runs, all at once and beside an open reader', async () => {
  // Tomorrow's too: it may begin meanwhile.
  for (const partition of [now, now + dayMs].map((at) => partitionName('runs', at))) {
    await scene.store.general.query(`alter table runs detach partition ${partition}`)
    await scene.store.general.query(`drop table ${partition}`)
  }
  const started = await reading(async () => await scene.startRuns(100))
  expect(await names()).toContain(partitionName('runs', runIdTime(started[0]!)))
  expect(await count('runs')).toBe(100)
})
