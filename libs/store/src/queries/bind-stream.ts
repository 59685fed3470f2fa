import type { StreamBinding } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { run, statement, transaction } from '../statement.ts'
import { projectionTriggerId, projectionVersion } from './projections.ts'
import { endReplays } from './replays.ts'
import { findStreamBinding, putStreamBinding } from './stream-bindings.ts'

/** Where who follows a stream begins on the Kafka topic that it is being bound to: per partition, its next offset. */
export type StartOffsets = ReadonlyMap<number, number>

export interface BindStream extends Omit<StreamBinding, 'revision'> {
  /** Of all external streams. */
  bindingsMax: number
  /** Asked within the transaction, when the stream is not bound yet: the offsets belong to the binding. */
  starts: () => Promise<StartOffsets>
  /** Likewise: where a stream that was waited on already is projected from. `fromMs`: ms since 1970. */
  projectedFrom: (fromMs: number) => Promise<StartOffsets>
}

export type BoundStream =
  | { kind: 'bound'; binding: StreamBinding; isNew: boolean }
  /** The stream is bound to another Kafka topic. */
  | { kind: 'bound_elsewhere'; kafkaTopic: string }
  /** Another stream is bound to the Kafka topic. */
  | { kind: 'topic_taken'; stream: string }
  | { kind: 'too_many' }

/**
 * Binds a stream to a Kafka topic, or changes how it is read. Whoever followed the stream before (its own topic, since
 * deleted, or one that it was bound to) begins on this topic, at the next incarnation: offsets of another log mean nothing
 * here. Their revisions rise, so a flush in flight moves nothing.
 */
export async function bindStream(store: Store, wanted: BindStream): Promise<BoundStream> {
  return await transaction(store.general, async (client): Promise<BoundStream> => {
    // Bindings are made a few times in a system's life: one at a time is simple, and readers go on.
    await client.query('lock table stream_bindings in share row exclusive mode')
    const before = await findStreamBinding(client, wanted.stream)
    const { rows } = await client.query<{ stream: string }>(
      'select stream from stream_bindings where kafka_topic = $1',
      [wanted.rule.kafka_topic],
    )
    const [owner] = rows
    if (owner !== undefined && owner.stream !== wanted.stream)
      return { kind: 'topic_taken', stream: owner.stream }
    if (before === null) {
      const { rows: counts } = await client.query<{ bindings: number }>(
        'select count(*)::int as bindings from stream_bindings',
      )
      if ((counts[0]?.bindings ?? 0) >= wanted.bindingsMax) return { kind: 'too_many' }
    }
    const binding = await putStreamBinding(client, wanted)
    if (binding === null)
      return { kind: 'bound_elsewhere', kafkaTopic: before?.rule.kafka_topic ?? wanted.rule.kafka_topic }
    if (before === null) await beginAnew(client, wanted)
    return { kind: 'bound', binding, isNew: before === null }
  })
}

type Client = Parameters<Parameters<typeof transaction>[1]>[0]

/** The rows in key order, as flushes lock them. Cursors of partitions that this topic does not have are of no log. */
const beginStatement = statement(
  'begin_stream_anew',
  `with own as materialized (
     select c.trigger_id, c.partition from trigger_cursors c where c.stream = $1 order by c.partition, c.trigger_id for update),
   anew as (
     select u.partition, u.next_offset, coalesce((select max(c.incarnation) from trigger_cursors c where c.stream = $1), 0) + 1 as incarnation
     from unnest($2::int[], $3::int8[]) u(partition, next_offset)),
   gone as (
     delete from trigger_cursors c using own
     where c.stream = $1 and c.partition = own.partition and c.trigger_id = own.trigger_id and own.partition <> all ($2::int[])),
   moved as (
     update trigger_cursors c
     set next_offset = a.next_offset, incarnation = a.incarnation, done = '{}', last_offset = null, last_ts = null, last_id = null, lost = 0,
       status = case c.status when 'stopped' then 'live' else c.status end, reason = null, revision = c.revision + 1, updated_at = now()
     from own join anew a on a.partition = own.partition
     where c.stream = $1 and c.partition = own.partition and c.trigger_id = own.trigger_id)
   insert into trigger_cursors (trigger_id, stream, partition, next_offset, version, incarnation, status)
   select f.trigger_id, $1, a.partition, a.next_offset, f.version, a.incarnation, f.status
   from (select t.id as trigger_id, t.version, case when t.status = 'paused' then 'paused' else 'live' end as status
         from triggers t where t.stream = $1 and t.status <> 'retired'
         union all
         select '${projectionTriggerId}', ${projectionVersion}, 'live' from waited_streams w where w.stream = $1) f
   cross join anew a
   where not exists (select 1 from own where own.trigger_id = f.trigger_id and own.partition = a.partition)
   on conflict do nothing`,
)

const projectStatement = statement(
  'begin_projection_anew',
  `with gone as (delete from projections p where p.stream = $1 and p.partition <> all ($2::int[])),
   moved as (
     update trigger_cursors c set next_offset = u.from_offset
     from unnest($2::int[], $3::int8[]) u(partition, from_offset)
     where c.stream = $1 and c.partition = u.partition and c.trigger_id = '${projectionTriggerId}'
     returning c.partition, c.incarnation, c.next_offset)
   insert into projections (stream, partition, incarnation, projected_from, from_offset)
   select $1, m.partition, m.incarnation, to_timestamp($4::float8 / 1000), m.next_offset from moved m order by 2
   on conflict (stream, partition) do update
     set incarnation = excluded.incarnation, projected_from = excluded.projected_from, from_offset = excluded.from_offset`,
)

/** Replays wait here: a range that is begun names offsets of the log that there was before. */
const followersStatement = statement(
  'followers_of_stream',
  `select t.id from triggers t where t.stream = $1 order by t.id for no key update`,
)

async function beginAnew(client: Client, { stream, starts, projectedFrom }: BindStream): Promise<void> {
  const offsets = await starts()
  const triggers = await run<{ id: string }>(client, followersStatement, [stream])
  await endReplays(
    client,
    triggers.map(({ id }) => id),
    { reason: 'stream_bound' },
  )
  await run(client, beginStatement, [stream, [...offsets.keys()], [...offsets.values()]])
  const { rows } = await client.query<{ projected_from: number }>(
    'select projected_from from waited_streams where stream = $1',
    [stream],
  )
  const [waited] = rows
  if (waited === undefined) return
  const fromMs = waited.projected_from
  const from = await projectedFrom(fromMs)
  await run(client, projectStatement, [stream, [...from.keys()], [...from.values()], fromMs])
}
