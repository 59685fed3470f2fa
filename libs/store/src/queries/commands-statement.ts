import { statement } from '../statement.ts'

/**
 * DESIGN §4, arrow 6, and the end, the giving back or the parking of runs: one statement for all commands of a batch.
 *
 * - `own` locks every run of the batch in id order, checks (id, epoch, worker, running) on the row as it is after any
 *   wait, and feeds everything else: sub-statements of one SQL statement have no order, and a guard that read the
 *   snapshot would store a step of a run that was recovered meanwhile. All joins are on id AND epoch, because a batch
 *   may hold commands of two epochs of one run.
 * - The ending of a run stands in its row of `own` (there is at most one), so that no second list has to be joined;
 *   steps are let in by a hashed subplan, which stays linear where the join of two lists of unknown length may not.
 * - `r.status || '' = …`, `r.id = any (array[…])`, no bounds on `r.id`: as in claim-runs.
 * - A run completes only while every step that was let in was stored, by this very statement: a step that met a stored
 *   row may have left its run's code with a value that is not the stored one. The snapshot cannot tell, because an
 *   answer is inserted at the same epoch by who had the run's lock just before (the answer and the step have one key
 *   when new code took the key of an open wait for a step). So one conflict holds back every `complete` of the batch,
 *   which a later look at the rows decides (apply-commands); without a conflict it costs two counts.
 * - A run is parked only while `wake`, on the row as it is after any wait, is what its worker had seen. An answer raises
 *   it under the same lock: either it is counted here, and the run stays in hand, or it finds the run waiting.
 */
export const commandsStatement = statement(
  'commands',
  `with own as materialized (
     select r.id, r.epoch, r.wake, u.worker_id, u.ending, u.payload, u.seen, u.steps
     from (select * from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[])
             u(id, epoch, worker_id, ending, payload, seen, steps)
           order by id, epoch) u
     cross join lateral (
       select r.id, r.epoch, r.wake from runs r
       where r.id = u.id and r.epoch = u.epoch and r.worker_id = u.worker_id and r.status || '' = 'running'
       for no key update) r),
   stored as (
     insert into steps (run_id, epoch, key, kind, n, seen, output, error, attempts, started_at, finished_at)
     select u.run_id, u.epoch, u.key, u.kind, u.n, u.seen, u.output, u.error, u.attempts,
       to_timestamp(u.started_ms / 1000), to_timestamp(u.finished_ms / 1000)
     from unnest($8::uuid[], $9::int[], $10::text[], $11::text[], $12::text[], $13::int[], $14::int[], $15::text[], $16::text[], $17::int[], $18::float8[], $19::float8[])
       u(run_id, epoch, worker_id, key, kind, n, seen, output, error, attempts, started_ms, finished_ms)
     where ((u.run_id, u.epoch, u.worker_id) in (select id, epoch, worker_id from own)) is true
     on conflict do nothing
     returning run_id, epoch, key),
   ended as (
     update runs r
     set status = case own.ending when 'complete' then 'completed' when 'fail' then 'failed' when 'suspend' then 'waiting' else 'queued' end,
         output = case own.ending when 'complete' then own.payload else r.output end,
         error = case own.ending when 'fail' then own.payload else r.error end,
         finished_at = case when own.ending in ('complete', 'fail') then now() end,
         queued_at = case own.ending when 'release' then now() else r.queued_at end,
         epoch = r.epoch + (own.ending = 'release')::int,
         worker_id = case when own.ending in ('complete', 'fail') then r.worker_id end
     from own
     where own.ending is not null
       and (own.ending <> 'complete' or (select count(*) from stored) = (select sum(steps) from own))
       and (own.ending <> 'suspend' or own.wake = own.seen)
       and r.id = any (array[own.id])
     returning r.id, own.epoch as at_epoch, own.worker_id as by_worker, own.ending, r.epoch, r.workflow, r.queue, r.lost,
       case when own.ending = 'release' and octet_length(r.input) <= $20 then r.input end as input,
       r.created_at, r.started_at, r.finished_at),
   noted as (
     insert into run_notes (run_id, epoch, kind, worker_id)
     select id, at_epoch, 'released', by_worker from ended where ending = 'release' on conflict do nothing)
   select 'own' as what, id, epoch as at_epoch, worker_id as key, null as ending, null::int as epoch, null as workflow, null as queue, null::int as lost, null as input,
     null::timestamptz as created_at, null::timestamptz as started_at, null::timestamptz as finished_at from own
   union all
   select 'step', run_id, epoch, key, null, null, null, null, null, null, null, null, null from stored
   union all
   select 'end', id, at_epoch, null, ending, epoch, workflow, queue, lost, input, created_at, started_at, finished_at from ended`,
)

export type Ending = 'complete' | 'fail' | 'release' | 'suspend'

interface OwnRow {
  what: 'own'
  id: string
  at_epoch: number
  /** The worker that holds it. */
  key: string
}
interface StoredRow {
  what: 'step'
  id: string
  at_epoch: number
  key: string
}
interface EndRow {
  what: 'end'
  id: string
  at_epoch: number
  ending: Ending
  /** After the ending: a release raised it. */
  epoch: number
  workflow: string
  queue: string
  lost: number
  input: string | null
  created_at: number
  started_at: number
  finished_at: number | null
}
export type CommandsRow = OwnRow | StoredRow | EndRow

/** The states that tell a resend from a loss: read after the fact, by primary key. */
export const endingsStatement = statement(
  'endings_of_runs',
  `select r.id, u.epoch, r.epoch as now_epoch, r.status, r.worker_id,
     (select n.worker_id from run_notes n where n.run_id = u.id and n.epoch = u.epoch and n.kind = 'released') as released_by,
     exists (select 1 from run_notes n where n.run_id = u.id and n.epoch = u.epoch and n.kind <> 'stolen') as taken
   from unnest($1::uuid[], $2::int[]) u(id, epoch)
   cross join lateral (select r.id, r.epoch, r.status, r.worker_id from runs r where r.id = u.id offset 0) r`,
)

export interface EndingRow {
  id: string
  epoch: number
  now_epoch: number
  status: string
  worker_id: string | null
  released_by: string | null
  /** Its epoch rose, or its life ended, in another way than by an answer while it was parked: all others leave a note. */
  taken: boolean
}
