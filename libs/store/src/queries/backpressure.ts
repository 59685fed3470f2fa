import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/**
 * Counts from the partial indexes of queued and of held runs alone. Of two who count at the same time the second waits for
 * the first one's row, looks at it again, and leaves it.
 */
export const backpressureStatement = statement(
  'set_backpressure',
  `with queued as materialized (
     select q.workflow, count(*) as runs from (
       select r.workflow from runs r where r.status = 'queued' and r.blocked_reason is null
       union all
       select r.workflow from runs r where r.status = 'queued' and r.blocked_reason = 'concurrency') q
     group by q.workflow),
   changed as materialized (
     select w.id, coalesce(q.runs, 0) as runs from workflows w left join queued q on q.workflow = w.id
     where case when w.backpressured_since is null then q.runs > $1 else coalesce(q.runs, 0) <= $2 end
     order by w.id for no key update of w)
   update workflows w set backpressured_since = case when w.backpressured_since is null then now() end
   from changed where w.id = changed.id
   returning w.id as workflow, changed.runs::int as runs, w.backpressured_since is not null as backpressured`,
)

/** A workflow whose triggers are held back from now on, or are not any more. */
export interface BackpressureChange extends Record<string, unknown> {
  workflow: string
  /** Queued ones, and those that a concurrency rule holds. */
  runs: number
  backpressured: boolean
}

/**
 * Holds back the triggers of workflows of which more than `above` runs are queued, and lets them go on at `until` or fewer;
 * answers what changed. Who lists triggers reads it.
 */
export async function setBackpressure(
  store: Store,
  { above, until }: { above: number; until: number },
): Promise<BackpressureChange[]> {
  return await run<BackpressureChange>(store.hot, backpressureStatement, [above, until])
}
