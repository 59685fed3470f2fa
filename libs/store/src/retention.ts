import type { PoolClient } from 'pg'
import type { Store } from './connection.ts'
import { isUndefinedTable } from './day-statement.ts'
import { dropPartition, dropRemains } from './drop-partition.ts'
import { listPartitions, partitionName, partitionStart } from './partitions.ts'
import { childIds } from './queries/start-children-statement.ts'
import { dayMs, runIdFloor } from './run-id.ts'
import { transaction } from './statement.ts'

export interface Retention {
  /** Ended runs but failed ones, counted from their end. */
  endedMs: number
  failedMs: number
}
export const retentionDefault: Retention = { endedMs: 7 * dayMs, failedMs: 30 * dayMs }

/** Rows a delete takes at once: some ms of locks, and little to roll back. */
const trimBatch = 1_000
/** Deletes of one sweep in a partition, which must not hold its connection for minutes; then it says that there is more. */
const trimBatchesMax = 50
/** Rows beside runs that a delete takes at once; they are small. */
const sideBatch = 10_000
/** Whether a day of millions holds a kept run is known when all are read. */
const lookTimeoutMs = 60_000
/**
 * A day's partition stays for so long after its end, whatever is in it: an id may be older than its insert, by as much as
 * an outage lasted for whoever tries the same insert again. A row that came in behind the last look would go with it.
 */
const dropMarginMs = dayMs

const endedBefore = `r.finished_at < case r.status
  when 'failed' then now() - make_interval(secs => $2::float8 / 1000)
  else now() - make_interval(secs => $1::float8 / 1000) end`

export interface RetentionOutcome {
  /** Partitions of runs that were dropped, with those of their steps. */
  dropped: string[]
  /** Runs deleted from partitions that still hold a live or a kept one. */
  deleted: number
  /** There is more to delete than one sweep does. */
  more: boolean
}

interface Sweep {
  store: Store
  /** The values of {@link endedBefore}. */
  values: [endedMs: number, failedMs: number]
  nowMs: number
  /** Rows are deleted one by one only once their day is so old that it would have been dropped with nothing to keep. */
  trimAfterMs: number
}

/**
 * One sweep of retention. A day's partition goes once it holds no live and no kept run; until then its ended runs are
 * deleted by batches. A run never changes partition, so a day without live runs stays without.
 *
 * Cut short anywhere, and run by any number of instances at once, it is the same sweep again: what belongs to a run goes
 * before the run does, and the partition only once nothing of it is left beside.
 */
export async function dropOrTrimPartitions(
  store: Store,
  retention: Retention = retentionDefault,
): Promise<RetentionOutcome> {
  const { endedMs, failedMs } = retention
  const shortestMs = Math.min(endedMs, failedMs)
  const nowMs = await store.serverNow()
  const sweep: Sweep = {
    store,
    values: [endedMs, failedMs],
    nowMs,
    trimAfterMs: shortestMs + Math.min(shortestMs, dayMs),
  }
  const outcome: RetentionOutcome = { dropped: [], deleted: 0, more: false }
  for (const { name, detachPending } of await listPartitions(store.general, 'runs')) {
    const day = partitionStart('runs', name)
    if (day === null || day > nowMs - shortestMs) continue
    try {
      await sweepDay(sweep, { name, day, detachPending }, outcome)
    } catch (error) {
      // Another instance has dropped it meanwhile.
      if (!isUndefinedTable(error)) throw error
    }
  }
  const isOver = (table: 'runs' | 'steps') => (name: string) =>
    (partitionStart(table, name) ?? nowMs) + dayMs + dropMarginMs <= nowMs
  for (const table of ['steps', 'runs'] as const) await dropRemains(store, table, isOver(table))
  return outcome
}

async function sweepDay(
  sweep: Sweep,
  partition: { name: string; day: number; detachPending: boolean },
  outcome: RetentionOutcome,
): Promise<void> {
  const { store, values, nowMs, trimAfterMs } = sweep
  const { name, day } = partition
  const kept = await transaction(store.general, async (client) => {
    await client.query(`set local statement_timeout = ${lookTimeoutMs}`)
    return await isKept(client, name, values)
  })
  const isOver = day + dayMs + dropMarginMs <= nowMs
  if (!kept && isOver) {
    if (await dropDay(sweep, partition)) outcome.dropped.push(name)
  } else if (day + trimAfterMs <= nowMs) {
    const trimmed = await trimDay(sweep, name)
    outcome.deleted += trimmed.deleted
    outcome.more ||= trimmed.more
  }
}

async function isKept(client: PoolClient, name: string, values: number[]): Promise<boolean> {
  const { rows } = await client.query<{ kept: boolean }>(
    `select exists (select 1 from ${name} r where (${endedBefore}) is not true) as kept`,
    values,
  )
  return rows[0]?.kept ?? false
}

/** A child's name stays for as long as the run that started it, which may ask for it again. */
const parent = `select p.id from runs p where p.id = case i.workflow when '${childIds}' then split_part(i.external_id, '/', 1)::uuid end`

/** What belongs to the runs of a day, beside their steps: rows of each table, by the bounds of the day's ids. */
const besideDay = [
  { table: 'waits', where: 'i.run_id >= $1::uuid and i.run_id < $2::uuid' },
  { table: 'run_notes', where: 'i.run_id >= $1::uuid and i.run_id < $2::uuid' },
  { table: 'run_ids', where: `i.run_id >= $1::uuid and i.run_id < $2::uuid and not exists (${parent})` },
  // The names of their children, which may be of later days. They begin with the parent's id.
  {
    table: 'run_ids',
    where: `i.workflow = '${childIds}' and i.external_id >= $1::uuid::text and i.external_id < $2::uuid::text`,
  },
]

/** Drops a day: what belongs to its runs, then the partitions, steps first. False when it is to be tried later. */
async function dropDay(
  { store, values }: Sweep,
  { name, day, detachPending }: { name: string; day: number; detachPending: boolean },
): Promise<boolean> {
  const bounds = [runIdFloor(day), runIdFloor(day + dayMs)]
  for (const beside of besideDay) if (!(await deleteBeside(store, beside, bounds))) return false
  // Again under the lock: another instance may be behind us, or what is beside may have been left to it.
  const isFree = async (client: PoolClient): Promise<boolean> => {
    if (await isKept(client, name, values)) return false
    for (const { table, where } of besideDay) {
      const { rows } = await client.query(`select 1 from ${table} i where ${where} limit 1`, bounds)
      if (rows.length > 0) return false
    }
    return true
  }
  const steps = (await listPartitions(store.general, 'steps')).find(
    (partition) => partition.name === partitionName('steps', day),
  )
  if (steps && !(await dropPartition(store, { table: 'steps', ...steps }, isFree))) return false
  return await dropPartition(store, { table: 'runs', name, detachPending }, isFree)
}

/** By batches: a busy day's rows in one statement would take longer than a statement may, and so never go. */
async function deleteBeside(
  store: Store,
  { table, where }: (typeof besideDay)[number],
  bounds: string[],
): Promise<boolean> {
  for (let batch = 0; batch < trimBatchesMax; batch += 1) {
    const { rowCount } = await store.general.query(
      `delete from ${table} where ctid = any (array(select i.ctid from ${table} i where ${where} limit ${sideBatch}))`,
      bounds,
    )
    if ((rowCount ?? 0) < sideBatch) return true
  }
  return false
}

/** Walks the partition once, so that what is kept in it is not passed over again for each batch. */
async function trimDay({ store, values }: Sweep, name: string): Promise<{ deleted: number; more: boolean }> {
  let deleted = 0
  let after = runIdFloor(0)
  for (let batch = 0; batch < trimBatchesMax; batch += 1) {
    const { rows } = await store.general.query<{ id: string }>(
      `select r.id from ${name} r where r.id > $3 and ${endedBefore} order by r.id limit ${trimBatch}`,
      [...values, after],
    )
    const ids = rows.map((row) => row.id)
    // Waits before runs, in statements of their own: what answers a wait locks in that order. An ended run stays ended.
    await store.general.query('delete from waits where run_id = any ($1::uuid[])', [ids])
    const { rowCount } = await store.general.query(
      `with s as (delete from steps where run_id = any ($1::uuid[])),
         n as (delete from run_notes where run_id = any ($1::uuid[])),
         i as (delete from run_ids i where i.run_id = any ($1::uuid[]) and not exists (${parent} and p.id <> all ($1::uuid[])))
       delete from ${name} where id = any ($1::uuid[])`,
      [ids],
    )
    deleted += rowCount ?? 0
    after = ids.at(-1) ?? after
    if (ids.length < trimBatch) return { deleted, more: false }
  }
  return { deleted, more: true }
}
