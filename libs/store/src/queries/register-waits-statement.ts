import { limits } from '@headrace/schemas'
import { statement } from '../statement.ts'

/**
 * ARCHITECTURE, row 7, its first half: the wait's row. All registrations of a batch in one statement.
 *
 * - No lock on runs, only a look at them: an answer in flight holds the wait's row and wants the run, and a registration
 *   that held the run and wanted the wait's row would complete the circle. A wait that is inserted for a run which is lost
 *   at that moment is what its next replay finds.
 * - $14 and $15 are the first and the last of the ids: known at the start, so that other days are not even opened. Right only
 *   in a statement that locks no row (see answer-waits); `on conflict do update` looks at the row as it is by itself.
 * - `where not exists` in `missing`, then `on conflict do nothing`: the latter alone waits for whoever holds a row of the
 *   same key, also where that row is long there. With it, only two first registrations of one wait meet.
 * - A stream's row comes before the waits on it (`inserted` is held up by `projected`), so that whoever sees a wait knows from
 *   when its stream is to be projected. Both are one commit: a registration that is refused leaves no stream to project.
 *   Rows are taken in the order of their names, and only where something changes.
 * - A pending wait has nothing to look at, so it counts as checked until it is opened; so does a wait for a time, always.
 * - `since`: the look-back is the bound of what is complete on `responses`. For a wait since its run began, nothing on the
 *   window's partition up to the window's last event answers; else nothing of the window itself.
 */
export const registerStatement = statement(
  'register_waits',
  `with asked as materialized (
     select * from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[],
         $10::text[], $11::float8[], $12::float8[])
       u(run_id, key, epoch, worker_id, seen, kind, topic, stream, filter, mode, mode_ms, timeout_ms)
     order by run_id, key),
   held as materialized (
     select a.*,
       case when a.kind <> 'event' then now() when a.mode = 'run' then r.since
            when a.mode = 'at' then to_timestamp(a.mode_ms / 1000) else now() - make_interval(secs => a.mode_ms / 1000) end as asked_since,
       case when a.kind = 'event' then now() + make_interval(secs => a.timeout_ms / 1000)
            when a.mode = 'at' then to_timestamp(a.mode_ms / 1000) else now() + make_interval(secs => a.mode_ms / 1000) end as expires_at,
       case when a.stream = r.stream then r.incarnation end as after_incarnation,
       case when a.stream = r.stream then r.partition end as after_partition,
       case when a.stream = r.stream then case when a.mode = 'run' then 0 else r.first_offset end end as after_from,
       case when a.stream = r.stream then r.last_offset end as after_offset,
       w.kind as there_kind, w.topic as there_topic, w.filter as there_filter, w.status as there_status, s.kind as step_kind
     from asked a
     cross join lateral (
       select r.since, r.stream, r.incarnation, r.partition, r.first_offset, r.last_offset from runs r
       where r.id = a.run_id and r.epoch = a.epoch and r.worker_id = a.worker_id and r.status || '' = 'running'
         and r.id between $14 and $15 offset 0) r
     left join lateral (
       select w.kind, w.topic, w.filter, w.status from waits w where w.run_id = a.run_id and w.key = a.key offset 0) w on true
     left join lateral (
       select s.kind from steps s where s.run_id = a.run_id and s.key = a.key and w.kind is null
         and s.run_id between $14 and $15 offset 0) s on true),
   missing as materialized (
     select h.*, greatest(h.asked_since, now() - make_interval(secs => $13::float8 / 1000)) as since,
       h.expires_at > now() + make_interval(secs => ${limits.waitMsMax / 1000}) as too_long,
       o.open + row_number() over (partition by h.run_id order by h.key) > ${limits.openWaitsPerRunMax} as too_many
     from held h
     cross join lateral (
       select count(*) as open from waits w where w.run_id = h.run_id and w.status in ('pending', 'open') and w.kind <> 'cancel' offset 0) o
     where h.there_kind is null and h.step_kind is null),
   fresh as materialized (select * from missing where not too_long and not too_many),
   streams as materialized (
     select stream, min(since) as since from fresh where kind = 'event' group by stream order by stream),
   projected as (
     insert into waited_streams (stream, projected_from)
     select m.stream, m.since from streams m
     where not exists (select 1 from waited_streams s where s.stream = m.stream and s.projected_from <= m.since)
     order by m.stream
     on conflict (stream) do update set projected_from = excluded.projected_from
       where waited_streams.projected_from > excluded.projected_from
     returning stream),
   inserted as (
     insert into waits (run_id, key, kind, status, topic, stream, filter, since, asked_since, lookback_truncated,
       after_incarnation, after_partition, after_from, after_offset, epoch, seen, expires_at, checked_at)
     select f.run_id, f.key, f.kind, case when o.is_open then 'open' else 'pending' end, f.topic, f.stream, f.filter,
       f.since, f.asked_since, f.asked_since < f.since,
       f.after_incarnation, f.after_partition, f.after_from, f.after_offset, f.epoch, f.seen, f.expires_at,
       case when f.kind = 'event' and o.is_open then null else now() end
     from fresh f
     left join lateral (
       select s.open_from from waited_streams s where s.stream = f.stream offset 0) s on true
     cross join lateral (select f.kind <> 'event' or coalesce(s.open_from <= f.since, false) as is_open) o
     where (select count(*) from projected) >= 0
     order by f.run_id, f.key
     on conflict do nothing
     returning run_id, key, status, lookback_truncated)
   select h.run_id, h.key, h.epoch, h.worker_id, h.there_kind, h.there_topic, h.there_filter, h.step_kind,
     m.too_long, m.too_many, coalesce(h.there_status, i.status) as status,
     coalesce(i.lookback_truncated, false) as lookback_truncated
   from held h
   left join missing m on m.run_id = h.run_id and m.key = h.key
   left join inserted i on i.run_id = h.run_id and i.key = h.key`,
)

export interface RegisterRow {
  run_id: string
  key: string
  epoch: number
  worker_id: string
  /** The wait that stands under this key. */
  there_kind: string | null
  there_topic: string | null
  there_filter: string | null
  /** No wait, but a step stands under this key. */
  step_kind: string | null
  too_long: boolean | null
  too_many: boolean | null
  /** Of the wait, there or inserted; null: another registration of it was first, at the same moment. */
  status: 'pending' | 'open' | 'answered' | 'timed_out' | 'cancelled' | null
  /** Inserted now, it looks back less far than was asked for. */
  lookback_truncated: boolean
}
