import { statement } from '../statement.ts'

/**
 * DESIGN §4, arrow 6, and the end or the giving back of runs: one statement for all commands of a batch.
 *
 * - `own` locks every run of the batch in id order, checks (id, epoch, worker, running) on the row as it is after any
 *   wait, and feeds everything else: sub-statements of one SQL statement have no order, and a guard that read the
 *   snapshot would store a step of a run that was recovered meanwhile. All joins are on id AND epoch, because a batch
 *   may hold commands of two epochs of one run.
 * - The ending of a run stands in its row of `own` (there is at most one), so that no second list has to be joined;
 *   steps are let in by a hashed subplan, which stays linear where the join of two lists of unknown length may not.
 * - `r.status || '' = …`, `r.id = any (array[…])`, no bounds on `r.id`: as in claim-runs.
 * - `clash`: a run may not complete on a step that met a stored row of another epoch: its code ran on with a value
 *   that is not the stored one. Reading the snapshot is right here: an older epoch's steps were inserted by statements
 *   that held the run's lock at that epoch, so they were committed before the epoch rose, before the claim at this
 *   epoch, before this batch was sent. Only epochs above 1 can clash, so in ordinary times the list is empty.
 */
export const commandsStatement = statement(
  'commands',
  `with clash as (
     select distinct k.run_id, k.epoch from unnest($17::uuid[], $18::int[], $19::text[]) k(run_id, epoch, key)
     cross join lateral (select 1 from steps t where t.run_id = k.run_id and t.key = k.key and t.epoch <> k.epoch offset 0) t),
   own as materialized (
     select r.id, r.epoch, u.worker_id, u.ending, u.payload,
       exists (select 1 from clash where clash.run_id = u.id and clash.epoch = u.epoch) as clashes
     from (select * from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[]) u(id, epoch, worker_id, ending, payload)
           order by id, epoch) u
     cross join lateral (
       select r.id, r.epoch from runs r
       where r.id = u.id and r.epoch = u.epoch and r.worker_id = u.worker_id and r.status || '' = 'running'
       for no key update) r),
   stored as (
     insert into steps (run_id, epoch, key, kind, n, seen, output, error, attempts, started_at, finished_at)
     select u.run_id, u.epoch, u.key, u.kind, u.n, u.seen, u.output, u.error, u.attempts,
       to_timestamp(u.started_ms / 1000), to_timestamp(u.finished_ms / 1000)
     from unnest($6::uuid[], $7::int[], $8::text[], $9::text[], $10::text[], $11::int[], $12::int[], $13::text[], $14::text[], $15::int[], $16::float8[], $20::float8[])
       u(run_id, epoch, worker_id, key, kind, n, seen, output, error, attempts, started_ms, finished_ms)
     where ((u.run_id, u.epoch, u.worker_id) in (select id, epoch, worker_id from own)) is true
     on conflict do nothing
     returning run_id, epoch, key),
   ended as (
     update runs r
     set status = case own.ending when 'complete' then 'completed' when 'fail' then 'failed' else 'queued' end,
         output = case own.ending when 'complete' then own.payload else r.output end,
         error = case own.ending when 'fail' then own.payload else r.error end,
         finished_at = case own.ending when 'release' then null else now() end,
         queued_at = case own.ending when 'release' then now() else r.queued_at end,
         epoch = r.epoch + (own.ending = 'release')::int,
         worker_id = case own.ending when 'release' then null else r.worker_id end
     from own
     where own.ending is not null and not own.clashes and r.id = any (array[own.id])
     returning r.id, own.epoch as at_epoch, own.worker_id as by_worker, own.ending, r.epoch, r.workflow, r.queue, r.lost,
       case when own.ending = 'release' and octet_length(r.input) <= $21 then r.input end as input,
       r.created_at, r.started_at, r.finished_at),
   noted as (
     insert into run_notes (run_id, epoch, kind, worker_id)
     select id, at_epoch, 'released', by_worker from ended where ending = 'release' on conflict do nothing)
   select 'own' as what, id, epoch as at_epoch, worker_id as key, clashes, null as ending, null::int as epoch, null as workflow, null as queue, null::int as lost, null as input,
     null::timestamptz as created_at, null::timestamptz as started_at, null::timestamptz as finished_at from own
   union all
   select 'step', run_id, epoch, key, null, null, null, null, null, null, null, null, null, null from stored
   union all
   select 'end', id, at_epoch, null, null, ending, epoch, workflow, queue, lost, input, created_at, started_at, finished_at from ended`,
)

export type Ending = 'complete' | 'fail' | 'release'

interface OwnRow {
  what: 'own'
  id: string
  at_epoch: number
  /** The worker that holds it. */
  key: string
  /** Its ending was left out: one of its steps met a row of another epoch. */
  clashes: boolean
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
     (select n.worker_id from run_notes n where n.run_id = u.id and n.epoch = u.epoch and n.kind = 'released') as released_by
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
}
