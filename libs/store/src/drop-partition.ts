import type { PoolClient } from 'pg'
import type { Store } from './connection.ts'
import { isUndefinedTable } from './day-statement.ts'
import { classify } from './fault.ts'
import { actAsOwner, listRemains, type PartitionedTable, removalLock } from './partitions.ts'

/** Detaching waits for statements that still read the partition, with no lock that others meet; then for the next sweep. */
const detachTimeoutMs = 60_000
/** Finalizing waits with a lock that attaching needs as well: somebody's insert may be waiting for that. */
const finalizeTimeoutMs = 2_000

/**
 * `detach … concurrently` runs in no transaction and blocks nobody; broken off half-way it leaves the partition
 * pending, which `finalize` ends. False when it is to be tried later.
 *
 * `prepare` runs before, under the lock that everybody takes who removes partitions of the table; false from it leaves
 * the partition alone.
 */
export async function dropPartition(
  store: Store,
  partition: { table: PartitionedTable; name: string; detachPending: boolean },
  prepare?: (client: PoolClient) => Promise<boolean>,
): Promise<boolean> {
  const { table, name, detachPending } = partition
  return await removing(store, table, async (client) => {
    if (prepare && !(await prepare(client))) return false
    if (detachPending) await client.query(`set statement_timeout = ${finalizeTimeoutMs}`)
    await client.query(
      `alter table ${table} detach partition ${name} ${detachPending ? 'finalize' : 'concurrently'}`,
    )
    await client.query(`drop table ${name}`)
    return true
  })
}

/** Drops what a removal left that was cut short after detaching: nothing lists such a table among the partitions. */
export async function dropRemains(
  store: Store,
  table: PartitionedTable,
  isOld: (name: string) => boolean,
): Promise<void> {
  if ((await listRemains(store.general, table)).filter(isOld).length === 0) return
  await removing(store, table, async (client) => {
    // Again under the lock: what another instance has just detached, it drops itself.
    for (const name of (await listRemains(client, table)).filter(isOld))
      await client.query(`drop table ${name}`)
    return true
  })
}

async function removing(
  store: Store,
  table: PartitionedTable,
  work: (client: PoolClient) => Promise<boolean>,
): Promise<boolean> {
  const client = await store.general.connect()
  try {
    const { rows } = await client.query<{ mine: boolean }>('select pg_try_advisory_lock($1) as mine', [
      removalLock(table),
    ])
    if (!rows[0]?.mine) return false
    await client.query(`set statement_timeout = ${detachTimeoutMs}`)
    await actAsOwner(client, table, 'session')
    return await work(client)
  } catch (error) {
    if (isForLater(error)) return false
    throw error
  } finally {
    // Timeout and role are the session's: it is closed, not given back. Closing takes a moment, in which it would still hold
    // the lock that the next partition needs.
    await client.query('select pg_advisory_unlock_all()').catch(() => {})
    client.release(true)
  }
}

/** 55000: another partition of the table is pending, and has to be finalized first. */
const pendingState = '55000'

/** Somebody reads it for longer than we wait, or another instance was first: the next sweep finds it again. */
function isForLater(error: unknown): boolean {
  if (['retry', 'outage'].includes(classify(error)) || isUndefinedTable(error)) return true
  return error instanceof Error && 'code' in error && error.code === pendingState
}
