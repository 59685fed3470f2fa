import { type WorkflowDefinition } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { workerDeadAfterMs } from './recover-runs.ts'

export interface BuildRecord {
  app: string
  id: string
  /** Its set of workflows and triggers is the one that counts. */
  inForce: boolean
  /** Ids of the workflows it has. */
  workflows: string[]
  /** Living workers, those that drain left out. */
  workers: number
  /** Live runs that began on it and that no other build may have. */
  pinnedRuns: number
  firstRegisteredAt: number
  lastRegisteredAt: number
}

const livingWorker = `w.status = 'live' and w.last_heartbeat_at > now() - make_interval(secs => $1::float8 / 1000)`

/** Builds of all apps, the newest first. */
export async function listBuilds(store: Store): Promise<BuildRecord[]> {
  const { rows } = await store.general.query<{
    app: string
    id: string
    in_force: boolean
    workflows: string[]
    workers: number
    pinned_runs: number
    first_registered_at: number
    last_registered_at: number
  }>(
    `with pinned as (
       select r.app, r.build, count(*)::int as runs
       from workflows f
       cross join lateral (
         select r.app, r.build from runs r where r.workflow = f.id and r.status in ('waiting', 'paused') and r.started_at is not null
         union all
         select r.app, r.build from runs r where r.workflow = f.id and r.queue = f.queue and r.status = 'queued' and r.blocked_reason is null and r.started_at is not null
         union all
         select r.app, r.build from runs r where r.workflow = f.id and r.status = 'running') r
       where f.on_deploy = 'pin' group by 1, 2)
     select b.app, b.id, b.id is not distinct from a.current_build as in_force,
       array(select jsonb_path_query(b.definition, '$[*].id') #>> '{}') as workflows,
       (select count(*)::int from workers w where w.app = b.app and w.build = b.id and ${livingWorker}) as workers,
       coalesce(p.runs, 0) as pinned_runs, b.first_registered_at, b.last_registered_at
     from builds b join apps a on a.id = b.app
     left join pinned p on p.app = b.app and p.build = b.id
     order by b.first_registered_at desc, b.app, b.id`,
    [workerDeadAfterMs],
  )
  return rows.map((row) => ({
    app: row.app,
    id: row.id,
    inForce: row.in_force,
    workflows: row.workflows,
    workers: row.workers,
    pinnedRuns: row.pinned_runs,
    firstRegisteredAt: row.first_registered_at,
    lastRegisteredAt: row.last_registered_at,
  }))
}

/** A build whose set is to count, as it was registered. */
export interface RisenBuild {
  app: string
  build: string
  workflows: WorkflowDefinition[]
}

/**
 * Builds that are the newest of their app with a living worker, while another one's set counts: a roll-back of which the
 * workers came before those of the newer build had left, or an older build whose workers are what is left of a
 * deployment that failed. Apps without any worker are not among them.
 */
export async function risenBuilds(store: Store): Promise<RisenBuild[]> {
  const { rows } = await store.general.query<RisenBuild>(
    `select a.id as app, newest.id as build, newest.definition as workflows
     from apps a
     cross join lateral (
       select b.id, b.definition from builds b
       where b.app = a.id and exists (select 1 from workers w where w.app = b.app and w.build = b.id and ${livingWorker})
       order by b.first_registered_at desc limit 1) newest
     where newest.id is distinct from a.current_build
     order by a.id`,
    [workerDeadAfterMs],
  )
  return rows
}
