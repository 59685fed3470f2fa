import type { PoolClient } from 'pg'
import type { Store } from './connection.ts'
import { dropPartition, dropRemains } from './drop-partition.ts'
import { listPartitions, partitionEnd, partitionStart } from './partitions.ts'
import { dayMs } from './run-id.ts'

/** How long each response is kept, and so how far back a wait finds every event of its topic: 24 h. */
const lookbackMs = dayMs
/** A wait that is being registered looks back from its own now: an hour is dropped this much later. */
const marginMs = 3_600_000
/** Responses older than this when they are stored are held by their cursor: retention may be at their hour. */
export const oldResponseMs = lookbackMs
/** Responses outside of this are not stored: their hours would be made for them alone, and nobody waits there. */
export const responseAgeMsMax = 35 * dayMs
export const responseAheadMsMax = dayMs
/** As long as the response topic keeps the latest of each topic. */
const latestKeptMs = 30 * dayMs
const latestBatch = 10_000

/**
 * What is older is not looked for any more: the look-back behind now and behind the slowest correlator, and never past
 * what a wait that has not looked yet may want.
 */
const floorQuery = `select least(
    now() - make_interval(secs => ${(lookbackMs + marginMs) / 1000}),
    (select min(c.log_time) from correlator_cursors c) - make_interval(secs => ${lookbackMs / 1000}),
    (select min(w.since) from waits w where w.status = 'pending'),
    (select min(w.since) from waits w where w.status = 'open' and w.kind in ('event', 'cancel') and w.checked_at is null)) as floor`

/**
 * The latest response of each topic goes on in `latest_responses`. Later, on one partition, is the higher position, since
 * log times may go backwards there; between partitions it is the log time.
 */
const keepLatest = (partition: string): string =>
  `insert into latest_responses as l (topic, log_time, stream, incarnation, partition, sequence_id, id, source, event_type, key, data, traceparent, external)
   select r.topic, r.log_time, r.stream, r.incarnation, r.partition, r.sequence_id, r.id, r.source, r.event_type, r.key, r.data, r.traceparent, r.external
   from (select distinct on (topic) * from (
           select distinct on (topic, stream, incarnation, partition) topic, log_time, stream, incarnation, partition, sequence_id
           from ${partition} order by topic, stream, incarnation, partition, sequence_id desc) ends
         order by topic, log_time desc, incarnation desc, partition) latest
   join ${partition} r using (topic, log_time, stream, incarnation, partition, sequence_id)
   order by r.topic
   on conflict (topic) do update set log_time = excluded.log_time, stream = excluded.stream, incarnation = excluded.incarnation,
     partition = excluded.partition, sequence_id = excluded.sequence_id, id = excluded.id, source = excluded.source,
     event_type = excluded.event_type, key = excluded.key, data = excluded.data, traceparent = excluded.traceparent,
     external = excluded.external
   where case when (l.stream, l.incarnation, l.partition) = (excluded.stream, excluded.incarnation, excluded.partition)
     then l.sequence_id < excluded.sequence_id
     else (l.log_time, l.incarnation) < (excluded.log_time, excluded.incarnation) end`

/** One sweep: drops hours of responses that nobody looks for any more. Returns their names. */
export async function dropOldResponses(store: Store): Promise<string[]> {
  const dropped: string[] = []
  const floorMs = await floorOf(store.general)
  for (const { name, detachPending } of await listPartitions(store.general, 'responses')) {
    const start = partitionStart('responses', name)
    if (start === null || partitionEnd('responses', start) > floorMs) continue
    const keep = async (client: PoolClient): Promise<boolean> => {
      // Again under the lock: from here on nobody stores responses so old.
      if (partitionEnd('responses', start) > (await floorOf(client))) return false
      await client.query(keepLatest(name))
      return true
    }
    if (await dropPartition(store, { table: 'responses', name, detachPending }, keep)) dropped.push(name)
  }
  await dropRemains(
    store,
    'responses',
    (name) => partitionEnd('responses', partitionStart('responses', name) ?? Infinity) <= floorMs,
  )
  await dropOldLatest(store)
  return dropped
}

async function floorOf(connection: Store['general'] | PoolClient): Promise<number> {
  const { rows } = await connection.query<{ floor: number }>(floorQuery)
  return rows[0]?.floor ?? 0
}

async function dropOldLatest(store: Store): Promise<void> {
  await store.general.query(
    `delete from latest_responses where topic = any (array(
       select topic from latest_responses where log_time < now() - make_interval(secs => $1::float8 / 1000) order by log_time limit ${latestBatch}))`,
    [latestKeptMs],
  )
}
