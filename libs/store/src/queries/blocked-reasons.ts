import type { Store } from '../connection.ts'
import { workerDeadAfterMs } from './recover-runs.ts'

/**
 * Why a queued run is not taken: nobody living has its workflow · somebody has, but of no build that may have it (it is
 * pinned, or did not fit theirs) · its workflow is paused, and it has not begun.
 */
export type NotTakenReason = 'no_worker' | 'no_worker_of_build' | 'workflow_paused'

/** Those among these runs that nobody may take now, by their ids. Asked of runs that nothing else holds back. */
export async function notTakenReasons(
  store: Store,
  runIds: readonly string[],
): Promise<Map<string, NotTakenReason>> {
  if (runIds.length === 0) return new Map()
  const { rows } = await store.general.query<{ id: string; reason: NotTakenReason }>(
    `select r.id,
       case when r.started_at is null and f.paused_at is not null then 'workflow_paused'
         when w.builds is null then 'no_worker' else 'no_worker_of_build' end as reason
     from unnest($2::uuid[]) u(id)
     cross join lateral (
       select r.id, r.workflow, r.queue, r.build, r.started_at, coalesce(r.unfit_builds, '{}') as unfit_builds
       from runs r where r.id = u.id and r.status || '' = 'queued' offset 0) r
     left join workflows f on f.id = r.workflow
     cross join lateral (
       select array_agg(w.build) as builds from workers w
       where w.status = 'live' and w.last_heartbeat_at > now() - make_interval(secs => $1::float8 / 1000)
         and r.workflow = any (w.workflows)) w
     where (r.started_at is null and f.paused_at is not null)
       or not exists (
         select 1 from unnest(w.builds) b(build)
         where b.build <> all (r.unfit_builds)
           and (r.started_at is null or b.build = r.build or f.on_deploy is distinct from 'pin'))`,
    [workerDeadAfterMs, runIds],
  )
  return new Map(rows.map(({ id, reason }) => [id, reason]))
}
