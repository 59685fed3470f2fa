import type { ClaimedRun } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { isolate, withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import { type ClaimedRow, claimedColumns, type ClaimRequest, toClaimedRuns } from './claimed-run.ts'

/**
 * DESIGN §4, arrow 5: `queued → running`, guarded by epoch; idempotent for (run, epoch, worker).
 *
 * - `own` locks the batch's runs in id order through a look-up by primary key: shuffled claims without it deadlock.
 *   After waiting for a lock the guard is checked again on the row as it is then, so of two claims one wins.
 * - `r.status || '' = …` cannot be proved from a partial index. A plain `r.status = 'running'` was answered from the
 *   index on running rows, comparing every claim with every running run (half the throughput, worse with backlog).
 * - `r.id = any (array[own.id])` cannot become a hash join. Written `r.id = own.id`, the planner of an empty table
 *   hashed a walk over every partition, and a statement prepared then kept that plan.
 * - No bounds on `r.id` beside the key, to leave out other days' partitions: with partitions pruned before the start,
 *   Postgres 18.4 finds no row when it checks the guard again after a wait, and the claim of a run that somebody merely
 *   touched is lost (reproduced: 30 of 30).
 * - A worker that was declared dead claims nothing: its runs would have to be recovered once more.
 */
export const claimStatement = statement(
  'claim_runs',
  `with own as materialized (
     select r.id, r.epoch, r.was, u.worker_id, u.want_input
     from (select * from unnest($1::uuid[], $2::int[], $3::text[], $4::bool[]) u(id, epoch, worker_id, want_input)
           where exists (select 1 from workers w where w.id = u.worker_id and w.status <> 'dead')
           order by id, worker_id) u
     cross join lateral (
       select r.id, r.epoch, r.status as was from runs r
       where r.id = u.id and r.epoch = u.epoch
         and (r.status || '' = 'queued' or (r.status || '' = 'running' and r.worker_id = u.worker_id))
       for no key update) r)
   update runs r
   set status = 'running', worker_id = own.worker_id, started_at = coalesce(r.started_at, now()),
       claimed_at = case own.was when 'running' then r.claimed_at else now() end
   from own where r.id = any (array[own.id])
   returning ${claimedColumns}, own.was, case when own.want_input then r.input end as input`,
)

export type { ClaimRequest } from './claimed-run.ts'

/**
 * Claims runs for workers; answers by index, null where the run is not (or no longer) to be had at that epoch.
 * Claims of several workers may share a call. Steps come from a later statement: one snapshot would miss a result
 * that was stored between the lock and the look.
 */
export async function claimRuns(
  store: Store,
  request: { claims: ClaimRequest[] },
): Promise<(ClaimedRun | null)[]> {
  const { claims } = request
  if (claims.length === 0) return []
  const wanted = new Map<string, ClaimRequest>()
  for (const claim of claims) {
    const key = claimKey(claim.runId, claim.epoch, claim.workerId)
    const same = wanted.get(key)
    wanted.set(key, same ? { ...same, wantInput: same.wantInput || claim.wantInput } : claim)
  }
  const { ok } = await isolate([...wanted.values()], async (part) => await claimPart(store, part))
  const rows = ok.flatMap((part) => part.result)
  const claimed = await toClaimedRuns(store, rows)
  const byKey = new Map(
    rows.map((row, index) => [claimKey(row.id, row.epoch, row.worker_id), claimed[index] ?? null]),
  )
  return claims.map((claim) => byKey.get(claimKey(claim.runId, claim.epoch, claim.workerId)) ?? null)
}

const claimKey = (runId: string, epoch: number, workerId: string): string => `${runId}/${epoch}/${workerId}`

async function claimPart(store: Store, claims: ClaimRequest[]): Promise<ClaimedRow[]> {
  return await withRetries(
    async () =>
      await run<ClaimedRow>(store.hot, claimStatement, [
        claims.map((claim) => claim.runId),
        claims.map((claim) => claim.epoch),
        claims.map((claim) => claim.workerId),
        claims.map((claim) => claim.wantInput),
      ]),
  )
}
