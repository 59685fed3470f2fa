import type { Store } from './connection.ts'
import { dropPartition } from './drop-partition.ts'
import { listPartitions, partitionName, partitionStart } from './partitions.ts'
import { dayMs, runIdFloor } from './run-id.ts'

export interface Retention {
  /** Ended runs but failed ones, counted from their end. */
  endedMs: number
  failedMs: number
}
export const retentionDefault: Retention = { endedMs: 7 * dayMs, failedMs: 30 * dayMs }

/** Rows a delete takes at once: some ms of locks, and little to roll back. */
const trimBatch = 1_000
/** Deletes of one call: the duty comes again, and a long backlog must not hold its connection for minutes. */
const trimBatchesMax = 50
/** Rows beside runs that a delete takes at once; they are small. */
const sideBatch = 10_000

const endedBefore = `r.finished_at < case r.status
  when 'failed' then now() - make_interval(secs => $2::float8 / 1000)
  else now() - make_interval(secs => $1::float8 / 1000) end`

export interface RetentionOutcome {
  /** Partitions of runs that were dropped, with those of their steps. */
  dropped: string[]
  /** Runs deleted from partitions that still hold a live or a kept one. */
  deleted: number
}

/**
 * One sweep of retention. A day's partition goes once it holds no live and no kept run; until then its ended runs are
 * deleted by batches. A run never changes partition, so a day without live runs stays without.
 */
export async function dropOrTrimPartitions(
  store: Store,
  retention: Retention = retentionDefault,
): Promise<RetentionOutcome> {
  const values = [retention.endedMs, retention.failedMs]
  const now = await store.serverNow()
  const oldest = now - Math.min(retention.endedMs, retention.failedMs)
  const outcome: RetentionOutcome = { dropped: [], deleted: 0 }
  for (const { name, detachPending } of await listPartitions(store.general, 'runs')) {
    const day = partitionStart('runs', name)
    if (day === null || day > oldest) continue
    const { rows } = await store.general.query<{ kept: boolean }>(
      `select exists (select 1 from ${name} r where (${endedBefore}) is not true) as kept`,
      values,
    )
    if (!rows[0]?.kept) {
      if (await dropDay(store, day, detachPending)) outcome.dropped.push(name)
    } else outcome.deleted += await trimDay(store, name, values)
  }
  return outcome
}

/** Drops a day: the side rows of its runs, then the partitions, steps first. False when it is to be tried later. */
async function dropDay(store: Store, day: number, detachPending: boolean): Promise<boolean> {
  const bounds = [runIdFloor(day), runIdFloor(day + dayMs)]
  for (const table of ['run_notes', 'run_ids', 'waits'])
    if (!(await deleteBeside(store, table, bounds))) return false
  const stepsPartition = (await listPartitions(store.general, 'steps')).find(
    (partition) => partition.name === partitionName('steps', day),
  )
  if (stepsPartition && !(await dropPartition(store, { table: 'steps', ...stepsPartition }))) return false
  return await dropPartition(store, { table: 'runs', name: partitionName('runs', day), detachPending })
}

/** By batches: a busy day's rows in one statement would take longer than a statement may, and so never go. */
async function deleteBeside(store: Store, table: string, bounds: string[]): Promise<boolean> {
  for (let batch = 0; batch < trimBatchesMax; batch += 1) {
    const { rowCount } = await store.general.query(
      `delete from ${table} where ctid = any (array(select ctid from ${table} where run_id >= $1 and run_id < $2 limit ${sideBatch}))`,
      bounds,
    )
    if ((rowCount ?? 0) < sideBatch) return true
  }
  return false
}

async function trimDay(store: Store, name: string, values: number[]): Promise<number> {
  let deleted = 0
  for (let batch = 0; batch < trimBatchesMax; batch += 1) {
    const { rows } = await store.general.query<{ id: string }>(
      `select r.id from ${name} r where ${endedBefore} order by r.id limit ${trimBatch}`,
      values,
    )
    const ids = rows.map((row) => row.id)
    const count = ids.length
    // Waits before runs, in statements of their own: what answers a wait locks in that order. An ended run stays ended.
    await store.general.query('delete from waits where run_id = any ($1::uuid[])', [ids])
    await store.general.query(
      `with s as (delete from steps where run_id = any ($1::uuid[])),
         n as (delete from run_notes where run_id = any ($1::uuid[])),
         i as (delete from run_ids where run_id = any ($1::uuid[]))
       delete from ${name} where id = any ($1::uuid[])`,
      [ids],
    )
    deleted += count
    if (count < trimBatch) break
  }
  return deleted
}
