import { dayStatement, runTables, type RunTables } from '../day-statement.ts'
import type { PauseReason } from '@headrace/schemas'
import { statement } from '../statement.ts'

/** Why a worker pauses a run, as the ending of its time there; the run keeps it as its `blocked_reason`. */
export const misfits = `'replay_mismatch', 'duplicate_step_key'`
const pauses = `${misfits}, 'retries_exhausted'`
/** Builds remembered that did not fit a run, the latest: what is forgotten may be tried again. */
const unfitBuildsMax = 20

/**
 * ARCHITECTURE, row 6, and the end, the giving back or the parking of runs: one statement for all commands of a batch.
 *
 * - `own` locks every run of the batch in id order, checks (id, epoch, worker, running) on the row as it is after any
 *   wait, and feeds everything else: sub-statements of one SQL statement have no order, and a guard that read the
 *   snapshot would store a step of a run that was recovered meanwhile. Everything refers to it by `at`, the place of
 *   (id, epoch, worker) in the batch, because a batch may hold commands of two epochs of one run.
 * - The ending of a run stands in its row of `own` (there is at most one), so that no second list has to be joined;
 *   steps are let in by a hashed subplan, which stays linear where the join of two lists of unknown length may not.
 *   Their run is read from the array of runs by place, which costs less than sending it again.
 * - Lists are unnested in the select list: a function in `from` is first written to a store of its own, one for each
 *   column, which was a sixth of a step.
 * - `r.status || '' = …`, `r.id = any (array[…])`, no bounds on `r.id`: as in claim-runs.
 * - A run is parked only while `wake`, on the row as it is after any wait, is what its worker had seen. An answer raises
 *   it under the same lock: either it is counted here, and the run stays in hand, or it finds the run waiting.
 * - It answers what differs from the usual: no row for a step, and `held` only where some run was not in its worker's
 *   hands. Reading a row for each step cost the orchestrator more than all else.
 */
const commandsText =
  (onConflict: '' | 'on conflict do nothing') =>
  ({ runs, steps }: RunTables): string =>
    `with own as materialized (
     select r.id, r.epoch, r.wake, r.claimed_at, u.at, u.worker_id, u.ending, u.payload, u.seen
     from (select unnest($1::uuid[]) as id, unnest($2::int[]) as epoch, unnest($3::text[]) as worker_id, unnest($4::text[]) as ending,
             unnest($5::text[]) as payload, unnest($6::int[]) as seen, generate_subscripts($1::uuid[], 1) as at
           order by id, epoch) u
     cross join lateral (
       select r.id, r.epoch, r.wake, r.claimed_at from ${runs} r
       where r.id = u.id and r.epoch = u.epoch and r.worker_id = u.worker_id and r.status || '' = 'running'
       for no key update) r),
   stored as (
     insert into ${steps} (run_id, epoch, key, kind, n, seen, output, error, attempts, started_at, finished_at)
     select ($1::uuid[])[u.at], ($2::int[])[u.at], u.key, u.kind, u.n, u.seen, u.output, u.error, u.attempts,
       to_timestamp(u.started_ms / 1000), to_timestamp(u.finished_ms / 1000)
     from (select unnest($7::int[]) as at, unnest($8::text[]) as key, unnest($9::text[]) as kind, unnest($10::int[]) as n,
             unnest($11::int[]) as seen, unnest($12::text[]) as output, unnest($13::text[]) as error, unnest($14::int[]) as attempts,
             unnest($15::float8[]) as started_ms, unnest($16::float8[]) as finished_ms) u
     where (u.at in (select at from own)) is true
     ${onConflict}),
   ended as (
     update ${runs} r
     set status = case own.ending when 'complete' then 'completed' when 'fail' then 'failed' when 'suspend' then 'waiting'
           when 'release' then 'queued' else 'paused' end,
         output = case own.ending when 'complete' then own.payload else r.output end,
         error = case when own.ending in ('fail', ${pauses}) then own.payload else r.error end,
         blocked_reason = case when own.ending in (${pauses}) then own.ending else r.blocked_reason end,
         unfit_builds = case when own.ending in (${misfits})
           then (array_append(r.unfit_builds, (select w.build from workers w where w.id = own.worker_id)))[greatest(cardinality(r.unfit_builds) - ${unfitBuildsMax - 2}, 1):]
           else r.unfit_builds end,
         finished_at = case when own.ending in ('complete', 'fail') then now() end,
         queued_at = case own.ending when 'release' then now() else r.queued_at end,
         epoch = r.epoch + (own.ending = 'release')::int,
         worker_id = case when own.ending in ('complete', 'fail') then r.worker_id end
     from own
     where own.ending is not null and (own.ending <> 'suspend' or own.wake = own.seen) and r.id = any (array[own.id])
     returning own.at, own.ending, own.epoch as at_epoch, own.worker_id as by_worker, own.claimed_at, own.payload, r.id, r.epoch, r.workflow, r.queue,
       r.lost, r.build,
       case when own.ending = 'release' and octet_length(r.input) <= $17 then r.input end as input,
       (date_part('epoch', r.created_at) * 1000)::int8 as created_ms, (date_part('epoch', r.started_at) * 1000)::int8 as started_ms,
       (date_part('epoch', r.finished_at) * 1000)::int8 as finished_ms, r.parent_run_id, r.parent_step_key,
       r.concurrency_key),
   noted as (
     insert into run_notes (run_id, epoch, kind, worker_id, claimed_at, detail)
     select id, at_epoch, case ending when 'release' then 'released' when 'suspend' then 'parked' else 'paused' end, by_worker, claimed_at, payload
     from ended where ending not in ('complete', 'fail') on conflict do nothing)
   select null::int as at, case when count(*) < cardinality($1::uuid[]) then coalesce(string_agg(at::text, ','), '') end as held,
     null::int as epoch, null as workflow, null as queue, null::int as lost, null as build, null as input,
     null::int8 as created_ms, null::int8 as started_ms, null::int8 as finished_ms,
     null::uuid as parent_run_id, null as parent_step_key, null as concurrency_key from own
   union all
   select at, null, epoch, workflow, queue, lost, build, input, created_ms, started_ms, finished_ms, parent_run_id, parent_step_key,
     concurrency_key from ended`

/**
 * The usual one: of one day, and it fails as a whole (23505) when a step meets a stored row. So where it goes through, a
 * `complete` stands on steps that were all stored by the same commit. No earlier look could promise that: an answer is
 * inserted at the same epoch by who had the run's lock just before (the answer and the step have one key when new code
 * took the key of an open wait for a step). A plain insert also costs an eighth less than one that expects conflicts.
 */
export const commandsStatement = dayStatement('commands', commandsText(''))

/** For batches of which a step met a stored row, which stays; never with a `complete`: apply-commands decides those. */
export const carefulCommandsStatement = statement(
  'commands_carefully',
  commandsText('on conflict do nothing')(runTables),
)

export type Ending = 'complete' | 'fail' | 'release' | 'suspend' | PauseReason

/** Once: which runs were in their workers' hands, by their places (from 1) in the batch; null: all. */
interface HeldRow {
  at: null
  held: string | null
}
/** Of a run that ended, was given back or parked; `at`: its place in the batch, from 1. */
export interface EndRow {
  at: number
  /** After the ending: a release raised it. */
  epoch: number
  workflow: string
  queue: string
  lost: number
  build: string | null
  input: string | null
  /** Ms since 1970. */
  created_ms: number
  started_ms: number
  finished_ms: number | null
  parent_run_id: string | null
  parent_step_key: string | null
  concurrency_key: string | null
}
export type CommandsRow = HeldRow | EndRow

/** The states that tell a resend from a loss: read after the fact, by primary key. */
export const endingsStatement = statement(
  'endings_of_runs',
  `select r.id, u.epoch, r.epoch as now_epoch, r.status, r.worker_id,
     (select n.worker_id from run_notes n where n.run_id = u.id and n.epoch = u.epoch and n.kind = 'released') as released_by,
     (select n.worker_id from run_notes n where n.run_id = u.id and n.epoch = u.epoch and n.kind = 'paused') as paused_by,
     exists (select 1 from run_notes n where n.run_id = u.id and n.epoch = u.epoch and n.kind not in ('stolen', 'parked')) as taken
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
  /** Whose it was when it was paused, by its worker or by a person: either way what was asked for. */
  paused_by: string | null
  /** Its epoch rose, or its life ended, in another way than by an answer while it was parked: a note says so. */
  taken: boolean
}
