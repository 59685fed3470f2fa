import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import { workerDeadAfterMs } from './recover-runs.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'

/** Runs of one statement: some ms of locks. */
const resumedMax = 500

/**
 * Runs that were paused because code did not fit them, once a worker is there whose build they were not tried on: their
 * remedy is a deployment, of a fix or of what was there before, and nobody is to be asked for what it brought. Claims keep
 * them from the builds on which they were tried, so each build gets a run once. `skip locked`: taken in no order of others.
 */
export const resumeUnfitStatement = statement(
  'resume_unfit_runs',
  `with own as materialized (
     select r.id, r.epoch, fit.build
     from runs r
     cross join lateral (
       select w.build from workers w
       where w.status = 'live' and w.last_heartbeat_at > now() - make_interval(secs => $1::float8 / 1000)
         and w.queue = r.queue and r.workflow = any (w.workflows) and w.build <> all (r.unfit_builds)
         and (w.build = r.build or not exists (select 1 from workflows f where f.id = r.workflow and f.on_deploy = 'pin'))
       order by w.started_at desc limit 1) fit
     where r.status = 'paused' and r.blocked_reason in ('replay_mismatch', 'duplicate_step_key')
     limit ${resumedMax}
     for no key update of r skip locked),
   resumed as (
     update runs r set status = 'queued', epoch = r.epoch + 1, queued_at = now(), blocked_reason = null, error = null
     from own where r.id = any (array[own.id])
     returning ${seedColumns}),
   noted as (
     insert into run_notes (run_id, epoch, kind, detail)
     select id, epoch, 'resumed', concat('for build ', build) from own order by id on conflict do nothing)
   select * from resumed order by id`,
)

/** Queues them again, at most 500: their next tasks. `more`: there may be others. */
export async function resumeUnfitRuns(store: Store): Promise<{ queued: TaskSeed[]; more: boolean }> {
  const rows = await withRetries(
    async () => await run<SeedRow>(store.hot, resumeUnfitStatement, [workerDeadAfterMs]),
  )
  return { queued: rows.map(toTaskSeed), more: rows.length === resumedMax }
}
