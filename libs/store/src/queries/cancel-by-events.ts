import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { EventPlace } from '../wait-candidate.ts'
import type { EndedRun } from './apply-commands.ts'
import { endColumns, type EndedRow, toEndedRun } from './steer-runs.ts'
import type { WaitRef } from './wait-ref.ts'

/** A run that an event cancels, by the wait that it answers. */
export interface CancelAnswer extends WaitRef {
  place: EventPlace
}

/**
 * Run-state's `cancel`, by an event instead of a person.
 *
 * - `w` locks the waits, then `own` their runs, each in order, as whatever answers a wait does (answer-waits); both check
 *   their guards on the row as it is after any wait. Of two events, or of an event and an end, one counts, and the wait
 *   of a run that has ended stays as it is.
 * - Of several waits of one run the first is the reason.
 */
export const cancelByEventsStatement = statement(
  'cancel_by_events',
  `with w as materialized (
     select w.run_id, w.key, w.topic, w.stream, u.incarnation, u.partition, u.sequence_id
     from (select * from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::int8[])
             u(run_id, key, incarnation, partition, sequence_id) order by run_id, key) u
     cross join lateral (
       select w.run_id, w.key, w.topic, w.stream from waits w
       where w.run_id = u.run_id and w.key = u.key and w.status || '' = 'open' and w.kind || '' = 'cancel'
       for no key update) w),
   own as materialized (
     select u.*, r.id, r.epoch, r.status, r.worker_id, r.claimed_at
     from (select distinct on (run_id) *, concat('the event ', topic, ' at ', stream, '/', partition, '/', sequence_id) as event
           from w order by run_id, key) u
     cross join lateral (
       select r.id, r.epoch, r.status, r.worker_id, r.claimed_at from runs r
       where r.id = u.run_id and r.status || '' in ('queued', 'running', 'waiting', 'paused')
       for no key update) r),
   answered as (
     update waits w
     set status = 'answered', answered_at = now(), answered_incarnation = own.incarnation, answered_partition = own.partition,
         answered_offset = own.sequence_id
     from own where w.run_id = any (array[own.run_id]) and w.key = any (array[own.key])),
   ended as (
     update runs r
     set status = 'cancelled', worker_id = null, finished_at = now(),
         error = json_build_object('name', 'RunCancelledError', 'message', concat(own.event, ' cancelled the run'),
           'code', 'cancelled_by_event', 'stack', null, 'step_key', null)::text
     from own where r.id = any (array[own.id])
     returning ${endColumns}),
   noted as (
     insert into run_notes (run_id, epoch, kind, worker_id, claimed_at, detail)
     select id, epoch, 'cancelled', case status when 'running' then worker_id end, case status when 'running' then claimed_at end, event
     from own order by id on conflict do nothing)
   select * from ended order by id`,
)

const cancelByEventsValues = (answers: readonly CancelAnswer[]): unknown[] => [
  answers.map(({ runId }) => runId),
  answers.map(({ key }) => key),
  answers.map(({ place }) => place.incarnation),
  answers.map(({ place }) => place.partition),
  answers.map(({ place }) => place.sequenceId),
]

/** Cancels the live runs among these; whose wait is not open any more stays as it is. */
export async function cancelByEvents(store: Store, answers: readonly CancelAnswer[]): Promise<EndedRun[]> {
  if (answers.length === 0) return []
  const values = cancelByEventsValues(answers)
  const rows = await withRetries(async () => await run<EndedRow>(store.hot, cancelByEventsStatement, values))
  return rows.map(toEndedRun)
}
