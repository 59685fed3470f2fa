import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { removalLock, withResponsePartitions } from '../partitions.ts'
import { run, statement, transaction } from '../statement.ts'
import { oldResponseMs } from '../response-retention.ts'

/** A copy of an event, as waits look for it. */
export interface ResponseRow {
  topic: string
  /** The event's own time in its stream's log, ms since 1970. */
  logTimeMs: number
  stream: string
  incarnation: number
  partition: number
  sequenceId: number
  id: string
  source: string
  eventType: string | null
  key: string | null
  /** JSON text. */
  data: string
  traceparent: string | null
  /** Of an event of an external stream: what its record says beside the event, as a JSON object. */
  external: string | null
}

/** Responses come again: after a restart of the projection, of the correlator, in a rebalance. The position says so. */
export const insertResponsesStatement = statement(
  'insert_responses',
  `insert into responses (topic, log_time, stream, incarnation, partition, sequence_id, id, source, event_type, key, data, traceparent, external)
   select u.topic, to_timestamp(u.log_time / 1000), u.stream, u.incarnation, u.partition, u.sequence_id, u.id, u.source,
     u.event_type, u.key, u.data, u.traceparent, u.external
   from unnest($1::text[], $2::float8[], $3::text[], $4::int[], $5::int[], $6::int8[], $7::text[], $8::text[], $9::text[],
       $10::text[], $11::text[], $12::text[], $13::text[])
     u(topic, log_time, stream, incarnation, partition, sequence_id, id, source, event_type, key, data, traceparent, external)
   on conflict do nothing`,
)

const holdStatement = statement(
  'hold_correlator_cursor',
  `insert into correlator_cursors as c (partition, next_offset, log_time) values ($1, 0, to_timestamp($2::float8 / 1000))
   on conflict (partition) do update set log_time = least(c.log_time, excluded.log_time)`,
)

/**
 * Stores responses that were read from one partition of the response topic, and commits. What is there already stays.
 * Throws what Postgres says of a bad row (the caller halves the batch); their hours are made when they are missing.
 *
 * Responses older than what retention keeps (a projection that was away for days) are stored and matched all the same:
 * they hold the cursor's `log_time` back in the same transaction, under the lock that a dropped hour holds, so that no
 * hour goes between the insert and the match. Raising the cursor lets go again.
 */
export async function insertResponses(
  store: Store,
  rows: readonly ResponseRow[],
  read: { partition: number; nowMs: number },
): Promise<void> {
  if (rows.length === 0) return
  const oldestMs = rows.reduce((least, { logTimeMs }) => Math.min(least, logTimeMs), Number.POSITIVE_INFINITY)
  const values = valuesOf(rows)
  const insert = async (): Promise<void> => {
    if (oldestMs > read.nowMs - oldResponseMs) {
      await run(store.hot, insertResponsesStatement, values)
      return
    }
    await transaction(store.hot, async (client) => {
      await client.query('select pg_advisory_xact_lock_shared($1)', [removalLock('responses')])
      await run(client, holdStatement, [read.partition, oldestMs])
      await run(client, insertResponsesStatement, values)
    })
  }
  await withResponsePartitions(
    store,
    rows.map(({ logTimeMs }) => logTimeMs),
    async () => await withRetries(insert),
  )
}

function valuesOf(rows: readonly ResponseRow[]): unknown[] {
  return [
    rows.map(({ topic }) => topic),
    rows.map(({ logTimeMs }) => logTimeMs),
    rows.map(({ stream }) => stream),
    rows.map(({ incarnation }) => incarnation),
    rows.map(({ partition }) => partition),
    rows.map(({ sequenceId }) => sequenceId),
    rows.map(({ id }) => id),
    rows.map(({ source }) => source),
    rows.map(({ eventType }) => eventType),
    rows.map(({ key }) => key),
    rows.map(({ data }) => data),
    rows.map(({ traceparent }) => traceparent),
    rows.map(({ external }) => external),
  ]
}
