import { compileCancelFilter, crashPoint } from '@headrace/core'
import { type CancelRule, limits, ownKeyPrefix, streamOf } from '@headrace/schemas'
import type { Pool, PoolClient, QueryResultRow } from 'pg'
import { textArray, uuidArray } from '../array-parameter.ts'
import { run, type Statement, statement, transaction } from '../statement.ts'

/** A wait of a run that is being started: an event that answers it cancels the run. */
export interface CancelWait {
  runId: string
  key: string
  topic: string
  filter: string | null
  /** What the filter asks of the run's first event, JSON text; null: nothing. */
  firstEvent: string | null
}

/** The waits of a run with this input (JSON text), one for each rule. */
export function cancelWaitsOf(
  runId: string,
  rules: readonly CancelRule[],
  input: string | null,
): CancelWait[] {
  return rules.map(({ event: topic, if: filter = null }, at) => {
    const compiled = filter === null ? null : compileCancelFilter(filter)
    return {
      runId,
      key: `${ownKeyPrefix}cancel/${at}`,
      topic,
      filter,
      firstEvent: compiled?.kind === 'ok' ? compiled.kept(input) : null,
    }
  })
}

/**
 * The waits of the runs that the same transaction has just started; of one that it did not start there is no row, and no
 * wait.
 *
 * - `since`: that of the run, within the look-back. A retry is somebody's decision, behind whatever had cancelled the run
 *   before: it is cancelled by what comes from its own start on.
 * - Registration has its streams projected for the look-back behind it, so from every `since` that can stand here: nothing
 *   of `waited_streams` is to be moved, and no lock taken.
 * - A pending wait has nothing to look at until it is opened (register-waits).
 */
export const insertCancelWaitsStatement = statement(
  'insert_cancel_waits',
  `insert into waits (run_id, key, kind, status, topic, stream, filter, first_event, since, asked_since, lookback_truncated,
     after_incarnation, after_partition, after_from, after_offset, epoch, checked_at)
   select r.id, a.key, 'cancel', case when o.is_open then 'open' else 'pending' end, a.topic, a.stream, a.filter, a.first_event,
     t.since, r.asked_since, r.asked_since < t.since,
     case when a.stream = r.stream then r.incarnation end, case when a.stream = r.stream then r.partition end,
     case when a.stream = r.stream then 0 end, case when a.stream = r.stream then r.last_offset end,
     r.epoch, case when o.is_open then null else now() end
   from (select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
           u(run_id, key, topic, stream, filter, first_event) order by run_id, key) a
   cross join lateral (
     select r.id, r.epoch, r.stream, r.incarnation, r.partition, r.last_offset,
       case when r.retry_of is null then r.since else r.created_at end as asked_since
     from runs r where r.id = a.run_id and r.finished_at is null offset 0) r
   cross join lateral (
     select greatest(r.asked_since, now() - make_interval(secs => ${limits.lookbackMsDefault / 1000})) as since) t
   left join lateral (select s.open_from from waited_streams s where s.stream = a.stream offset 0) s on true
   cross join lateral (select coalesce(s.open_from <= t.since, false) as is_open) o
   on conflict do nothing`,
)

const cancelWaitValues = (waits: readonly CancelWait[]): unknown[] => [
  uuidArray(waits.map(({ runId }) => runId)),
  textArray(waits.map(({ key }) => key)),
  textArray(waits.map(({ topic }) => topic)),
  textArray(waits.map(({ topic }) => streamOf(topic))),
  textArray(waits.map(({ filter }) => filter)),
  textArray(waits.map(({ firstEvent }) => firstEvent)),
]

/**
 * A statement that starts runs, and what may cancel them, in one transaction: nobody sees such a run without its waits.
 * Runs that nothing cancels cost no more than the statement itself.
 */
export async function startRuns<Row extends QueryResultRow>(
  pool: Pool,
  start: Statement,
  values: unknown[],
  waits: readonly CancelWait[],
): Promise<Row[]> {
  if (waits.length === 0) return await run<Row>(pool, start, values)
  return await transaction(pool, async (client) => {
    const rows = await run<Row>(client, start, values)
    crashPoint('start.before-cancel-waits')
    await run(client, insertCancelWaitsStatement, cancelWaitValues(waits))
    return rows
  })
}

/**
 * Has the streams of these rules copied to where waits look, from the look-back before now on: runs of a trigger that lags
 * begin in the past. In the transaction that registers the rules, so before any run has such a wait.
 */
export async function projectStreams(client: PoolClient, streams: readonly string[]): Promise<void> {
  if (streams.length === 0) return
  await client.query(
    `insert into waited_streams (stream, projected_from)
     select s, now() - make_interval(secs => $2::float8 / 1000) from unnest($1::text[]) s order by s
     on conflict (stream) do update set projected_from = excluded.projected_from
       where waited_streams.projected_from > excluded.projected_from`,
    [[...new Set(streams)], limits.lookbackMsDefault],
  )
}
