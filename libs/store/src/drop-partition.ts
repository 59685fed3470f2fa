import type { PoolClient } from 'pg'
import type { Store } from './connection.ts'
import { classify } from './fault.ts'
import { type PartitionedTable, partitionsLock } from './partitions.ts'

/** Detaching waits for statements that still read the partition; then for the next sweep. */
const detachTimeoutMs = 60_000

/**
 * `detach … concurrently` runs in no transaction and blocks nobody; broken off half-way it leaves the partition
 * pending, which `finalize` ends. False when it is to be tried later.
 *
 * `prepare` runs before, under the lock that everybody takes who makes or removes partitions; false from it leaves the
 * partition alone.
 */
export async function dropPartition(
  store: Store,
  partition: { table: PartitionedTable; name: string; detachPending: boolean },
  prepare?: (client: PoolClient) => Promise<boolean>,
): Promise<boolean> {
  const client = await store.general.connect()
  try {
    const { rows } = await client.query<{ mine: boolean }>('select pg_try_advisory_lock($1) as mine', [
      partitionsLock,
    ])
    if (!rows[0]?.mine) return false
    await client.query(`set statement_timeout = ${detachTimeoutMs}`)
    if (prepare && !(await prepare(client))) return false
    const how = partition.detachPending ? 'finalize' : 'concurrently'
    await client.query(`alter table ${partition.table} detach partition ${partition.name} ${how}`)
    await client.query(`drop table ${partition.name}`)
    return true
  } catch (error) {
    // Somebody reads it for longer than we wait, or another instance was first: the next sweep finds it again.
    if (['retry', 'outage'].includes(classify(error))) return false
    throw error
  } finally {
    // The timeout is the session's: it is closed, not given back. Closing takes a moment, in which it would still hold
    // the lock that the next partition needs.
    await client.query('select pg_advisory_unlock_all()').catch(() => {})
    client.release(true)
  }
}
