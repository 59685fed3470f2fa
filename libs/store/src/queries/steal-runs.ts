import type { ClaimedRun } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import {
  buildAtClaim,
  type ClaimedRow,
  claimedColumns,
  expiresAtClaim,
  mayRunOn,
  toClaimedRuns,
} from './claimed-run.ts'

/** Younger queued runs have a task on its way. */
export const stealAfterMs = 2_000

/** Asked once a statement. */
const itsBuild = '(select w.build from workers w where w.id = $1)'

/**
 * Healing for every lost task: the oldest queued runs of a worker's workflows. `skip locked`, so that two
 * thieves never wait for each other; the index on queued runs gives them in order, so the scan ends at the limit.
 * `$6`: runs that lost two workers already are taken only alone, by a worker with nothing in hand.
 */
export const stealStatement = statement(
  'steal_runs',
  `with own as materialized (
     select r.id, r.epoch from runs r
     where r.queue = $2 and r.status = 'queued' and r.blocked_reason is null
       and r.queued_at < now() - make_interval(secs => $5::float8 / 1000)
       and r.workflow = any ($3::text[])
       and ${mayRunOn(itsBuild)}
       and case when $6 then r.lost >= 2 else r.lost < 2 end
       and exists (select 1 from workers w where w.id = $1 and w.status <> 'dead'
         and (not $6 or not exists (select 1 from runs h where h.status = 'running' and h.worker_id = $1)))
     order by r.queued_at limit $4
     for no key update of r skip locked),
   taken as (
     update runs r
     set status = 'running', worker_id = $1, started_at = coalesce(r.started_at, now()), claimed_at = now(),
       ${buildAtClaim(itsBuild)}, ${expiresAtClaim}
     from own where r.id = any (array[own.id])
     returning ${claimedColumns}, true as fresh, r.input),
   noted as (
     insert into run_notes (run_id, epoch, kind, worker_id)
     select id, epoch, 'stolen', $1 from taken on conflict do nothing)
   select * from taken order by id`,
)

/**
 * Takes up to `limit` runs that were queued more than 2 s ago, with their input and stored steps. A run that already
 * cost two workers their life is taken only when there is no other, alone, and only by a worker with no run in hand.
 */
export async function stealRuns(
  store: Store,
  request: { workerId: string; queue: string; workflows: string[]; limit: number },
): Promise<ClaimedRun[]> {
  const steal = async (limit: number, alone: boolean): Promise<ClaimedRow[]> =>
    await withRetries(
      async () =>
        await run<ClaimedRow>(store.hot, stealStatement, [
          request.workerId,
          request.queue,
          request.workflows,
          limit,
          stealAfterMs,
          alone,
        ]),
    )
  const rows = await steal(request.limit, false)
  return await toClaimedRuns(store, rows.length > 0 ? rows : await steal(1, true))
}
