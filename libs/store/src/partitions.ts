import { escapeIdentifier, type Pool, type PoolClient } from 'pg'
import type { Store } from './connection.ts'
import { classify, withRetries } from './fault.ts'
import { dayMs, runIdFloor, runIdTime } from './run-id.ts'
import { transaction } from './statement.ts'

/** A table in partitions by time: one for each day or hour of UTC, named for its start. */
interface PartitionedBy {
  periodMs: number
  /**
   * Held while a partition of the table is removed, which may wait for an open reader; not by those who make partitions,
   * because somebody's insert waits for them.
   */
  removalLock: number
  /** The lowest value of the partition key at a time. */
  bound: (timeMs: number) => string
}

const hourMs = 3_600_000
const byRunId = { periodMs: dayMs, bound: runIdFloor }
const partitionedTables = {
  runs: { ...byRunId, removalLock: 7_216_004 },
  steps: { ...byRunId, removalLock: 7_216_005 },
  /** By the log time of the events. */
  responses: {
    periodMs: hourMs,
    removalLock: 7_216_006,
    bound: (timeMs: number) => new Date(timeMs).toISOString(),
  },
} satisfies Record<string, PartitionedBy>
export type PartitionedTable = keyof typeof partitionedTables

/** Held while partitions are made: instances take turns instead of failing one another. */
const makingLock = 7_216_003
/** Attaching waits for nobody longer than this; the duty comes again, and inserts never queue behind it. */
const attachLockTimeoutMs = 2_000
const partitionsAheadDaysDefault = 3
/** Each hour's partition is one more for every plan; what is missing is made on demand. */
const responsesAheadMs = 6 * hourMs

/** `runs_20261123`, `responses_2026112313`: the day or hour of UTC that it begins at. */
export function partitionName(table: PartitionedTable, timeMs: number): string {
  const start = new Date(startOf(table, timeMs)).toISOString().replaceAll(/[-T]/g, '')
  return `${table}_${start.slice(0, partitionedTables[table].periodMs === dayMs ? 8 : 10)}`
}

/** When a partition begins, ms since 1970; null for a name that is not one of ours. */
export function partitionStart(table: PartitionedTable, name: string): number | null {
  const match = /^[a-z]+_(\d{4})(\d{2})(\d{2})(\d{2})?$/.exec(name)
  if (!match) return null
  const [year = 0, month = 0, day = 0, hour = 0] = match.slice(1).map((digits) => Number(digits ?? 0))
  const startMs = Date.UTC(year, month - 1, day, hour)
  return partitionName(table, startMs) === name ? startMs : null
}

export const removalLock = (table: PartitionedTable): number => partitionedTables[table].removalLock

/** The first moment after a partition that begins then. */
export const partitionEnd = (table: PartitionedTable, startMs: number): number =>
  startMs + partitionedTables[table].periodMs

function startOf(table: PartitionedTable, timeMs: number): number {
  const { periodMs } = partitionedTables[table]
  return Math.floor(timeMs / periodMs) * periodMs
}

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

/** Tables that were partitions, left behind by a removal that was cut short between its last two statements. */
export async function listRemains(connection: Pool | PoolClient, table: PartitionedTable): Promise<string[]> {
  const { rows } = await connection.query<{ name: string }>(
    `select c.relname as name from pg_class c
      where c.relkind = 'r' and not c.relispartition and starts_with(c.relname, $1 || '_')
        and c.relnamespace = (select p.relnamespace from pg_class p where p.oid = to_regclass($1)) order by 1`,
    [table],
  )
  return rows.map(({ name }) => name).filter((name) => partitionStart(table, name) !== null)
}

/**
 * Partitions belong to whom their table belongs to. Another role that works with them is that one for a while, which it must be
 * a member of: for the transaction, or for the rest of the session.
 */
export async function actAsOwner(
  client: PoolClient,
  table: PartitionedTable,
  scope: 'local' | 'session',
): Promise<void> {
  const { rows } = await client.query<{ owner: string }>(
    `select pg_get_userbyid(c.relowner) as owner from pg_class c
      where c.oid = to_regclass($1) and pg_get_userbyid(c.relowner) <> current_user`,
    [table],
  )
  for (const { owner } of rows) await client.query(`set ${scope} role ${escapeIdentifier(owner)}`)
}

/**
 * Makes the partitions of yesterday, today and the days ahead, by Postgres's clock. Yesterday's, because an id may be
 * some seconds older than its insert. Of responses, those of the hours ahead. Returns the names of those that were not
 * there.
 */
export async function ensurePartitions(
  store: Store,
  options: { aheadDays?: number } = {},
): Promise<string[]> {
  const now = await store.serverNow()
  const days = options.aheadDays ?? partitionsAheadDaysDefault
  return [
    ...(await ensurePartitionDays(store.general, now - dayMs, now + days * dayMs)),
    ...(await ensureTable(store.general, 'responses', now - hourMs, now + responsesAheadMs)),
  ]
}

/** Makes the partitions of runs and steps of every day from that of `fromMs` to that of `toMs`. */
export async function ensurePartitionDays(pool: Pool, fromMs: number, toMs: number): Promise<string[]> {
  return [
    ...(await ensureTable(pool, 'runs', fromMs, toMs)),
    ...(await ensureTable(pool, 'steps', fromMs, toMs)),
  ]
}

async function ensureTable(
  pool: Pool,
  table: PartitionedTable,
  fromMs: number,
  toMs: number,
): Promise<string[]> {
  const made: string[] = []
  const { periodMs } = partitionedTables[table]
  const there = new Set((await listPartitions(pool, table)).map((partition) => partition.name))
  for (let start = startOf(table, fromMs); start <= toMs; start += periodMs) {
    const name = partitionName(table, start)
    if (there.has(name)) continue
    if (await withRetries(async () => await attachPartition(pool, table, start))) made.push(name)
  }
  return made
}

/**
 * Create, then attach. `create … partition of` takes ACCESS EXCLUSIVE on the parent, and behind one open reader it
 * stopped all inserts for 1.8 s; attaching takes SHARE UPDATE EXCLUSIVE, which inserts and readers do not meet.
 * False when another instance was first.
 */
async function attachPartition(pool: Pool, table: PartitionedTable, startMs: number): Promise<boolean> {
  const name = partitionName(table, startMs)
  const { bound } = partitionedTables[table]
  return await transaction(pool, async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [makingLock])
    if ((await listPartitions(client, table)).some((partition) => partition.name === name)) return false
    await client.query(`set local lock_timeout = ${attachLockTimeoutMs}`)
    await actAsOwner(client, table, 'local')
    await client.query(
      `create table if not exists ${name} (like ${table} including defaults including constraints including indexes including storage)`,
    )
    await client.query(
      `alter table ${table} attach partition ${name} for values from ('${bound(startMs)}') to ('${bound(partitionEnd(table, startMs))}')`,
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
  return await withMade(work, runIds.length, async () => {
    const now = await store.serverNow()
    const days = new Set(runIds.map((id) => startOf('runs', runIdTime(id))))
    for (const day of days)
      if (Math.abs(day - now) <= madeOnDemandDaysMax * dayMs)
        await ensurePartitionDays(store.general, day, day)
  })
}

/** The same for responses, by the log times of the rows; the caller has left out those it does not want an hour for. */
export async function withResponsePartitions<Result>(
  store: Store,
  logTimesMs: readonly number[],
  work: () => Promise<Result>,
): Promise<Result> {
  return await withMade(work, logTimesMs.length, async () => {
    const hours = new Set(logTimesMs.map((timeMs) => startOf('responses', timeMs)))
    for (const hour of hours) await ensureTable(store.general, 'responses', hour, hour)
  })
}

async function withMade<Result>(
  work: () => Promise<Result>,
  rows: number,
  make: () => Promise<void>,
): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (classify(error) !== 'missing_partition' || rows === 0) throw error
    await make()
    return await work()
  }
}
