import type { Pool, PoolClient } from 'pg'
import type { Store } from './connection.ts'
import { classify, withRetries } from './fault.ts'
import { dayMs, runIdFloor, runIdTime } from './run-id.ts'
import { transaction } from './statement.ts'

const partitionedTables = ['runs', 'steps'] as const
export type PartitionedTable = (typeof partitionedTables)[number]

/** Held while partitions are made or removed: instances take turns instead of failing one another. */
export const partitionsLock = 7_216_003
/** Attaching waits for nobody longer than this; the duty comes again, and inserts never queue behind it. */
const attachLockTimeoutMs = 2_000
const partitionsAheadDaysDefault = 3

/** `runs_20261123`: the day of UTC that the ids inside were made on. */
export function partitionName(table: PartitionedTable, dayStartMs: number): string {
  return `${table}_${new Date(dayStartMs).toISOString().slice(0, 10).replaceAll('-', '')}`
}

/** The day a partition holds, ms since 1970; null for a name that is not one of ours. */
export function partitionDay(name: string): number | null {
  const match = /^(?:runs|steps)_(\d{4})(\d{2})(\d{2})$/.exec(name)
  return match ? Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3])) : null
}

const dayStart = (timeMs: number): number => Math.floor(timeMs / dayMs) * dayMs

/** The partitions of a table that are attached, or waiting to be detached for good. */
export async function listPartitions(
  connection: Pool | PoolClient,
  table: PartitionedTable,
): Promise<{ name: string; detachPending: boolean }[]> {
  const { rows } = await connection.query<{ name: string; detach_pending: boolean }>(
    `select c.relname as name, i.inhdetachpending as detach_pending
       from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = to_regclass($1) order by 1`,
    [table],
  )
  return rows.map((row) => ({ name: row.name, detachPending: row.detach_pending }))
}

/**
 * Makes the partitions of yesterday, today and the days ahead, by Postgres's clock. Yesterday's, because an id may be
 * some seconds older than its insert. Returns the names of those that were not there.
 */
export async function ensurePartitions(
  store: Store,
  options: { aheadDays?: number } = {},
): Promise<string[]> {
  const now = await store.serverNow()
  return await ensurePartitionDays(
    store.general,
    now - dayMs,
    now + (options.aheadDays ?? partitionsAheadDaysDefault) * dayMs,
  )
}

/** Makes the partitions of every day from that of `fromMs` to that of `toMs`. */
export async function ensurePartitionDays(pool: Pool, fromMs: number, toMs: number): Promise<string[]> {
  const made: string[] = []
  for (const table of partitionedTables) {
    const there = new Set((await listPartitions(pool, table)).map((partition) => partition.name))
    for (let day = dayStart(fromMs); day <= dayStart(toMs); day += dayMs) {
      const name = partitionName(table, day)
      if (there.has(name)) continue
      if (await withRetries(async () => await attachPartition(pool, table, day))) made.push(name)
    }
  }
  return made
}

/**
 * Create, then attach. `create … partition of` takes ACCESS EXCLUSIVE on the parent, and behind one open reader it
 * stopped all inserts for 1.8 s; attaching takes SHARE UPDATE EXCLUSIVE, which inserts and readers do not meet.
 * False when another instance was first.
 */
async function attachPartition(pool: Pool, table: PartitionedTable, day: number): Promise<boolean> {
  const name = partitionName(table, day)
  return await transaction(pool, async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [partitionsLock])
    if ((await listPartitions(client, table)).some((partition) => partition.name === name)) return false
    await client.query(`set local lock_timeout = ${attachLockTimeoutMs}`)
    await client.query(
      `create table if not exists ${name} (like ${table} including defaults including constraints including indexes including storage)`,
    )
    await client.query(
      `alter table ${table} attach partition ${name} for values from ('${runIdFloor(day)}') to ('${runIdFloor(day + dayMs)}')`,
    )
    return true
  })
}

/** Ids this far from Postgres's now come from a broken clock: a partition made for them would never be looked at. */
const madeOnDemandDaysMax = 400

/**
 * Runs `work`; when a row has no partition, makes those of the days of `runIds` and runs it once more. A missing
 * partition is an outage of ours (the duty that makes them ahead did not run), never a row's fault.
 */
export async function withPartitions<Result>(
  store: Store,
  runIds: string[],
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (classify(error) !== 'missing_partition' || runIds.length === 0) throw error
    const now = await store.serverNow()
    const days = new Set(runIds.map((id) => Math.floor(runIdTime(id) / dayMs) * dayMs))
    for (const day of days)
      if (Math.abs(day - now) <= madeOnDemandDaysMax * dayMs)
        await ensurePartitionDays(store.general, day, day)
    return await work()
  }
}
