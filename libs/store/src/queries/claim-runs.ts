import type { ClaimedRun } from '@headrace/schemas'
import { booleanArray, numberArray, textArray, uuidArray } from '../array-parameter.ts'
import type { Store } from '../connection.ts'
import { byDay, dayStatement, isUndefinedTable, runTables, type RunTables } from '../day-statement.ts'
import { isolate, withRetries } from '../fault.ts'
import { run, type Statement, statement } from '../statement.ts'
import {
  buildAtClaim,
  type ClaimedRow,
  claimedColumns,
  type ClaimRequest,
  expiresAtClaim,
  mayRunOn,
  toClaimedRuns,
} from './claimed-run.ts'

/**
 * ARCHITECTURE, row 5: `queued → running`, guarded by epoch; idempotent for (run, epoch, worker).
 *
 * - The update meets the batch's runs in id order, through look-ups by primary key, and locks each as it comes: shuffled
 *   claims without the order deadlock. After waiting for a lock the guard is checked again on the row as it is then, so
 *   of two claims one wins. Locking them in a statement part of its own first cost a tenth more.
 * - `r.status || '' = …` cannot be proved from a partial index. A plain `r.status = 'running'` was answered from the
 *   index on running rows, comparing every claim with every running run (half the throughput, worse with backlog).
 * - `r.id = any (array[u.id])` cannot become a hash join. Written `r.id = u.id`, the planner of an empty table
 *   hashed a walk over every partition, and a statement prepared then kept that plan. It would also lose the order.
 * - No bounds on `r.id` beside the key, to leave out other days' partitions: with partitions pruned before the start,
 *   Postgres 18.4 finds no row when it checks the guard again after a wait, and the claim of a run that somebody merely
 *   touched is lost (reproduced: 30 of 30). Each day has a form of its own instead.
 * - A worker that was declared dead claims nothing: its runs would have to be recovered once more. And it claims of its own
 *   queue alone: an API key may be for one.
 */
const claimText = ({ runs }: Pick<RunTables, 'runs'>): string =>
  `with living as materialized (
     select w.id, w.build, w.queue from workers w where w.id = any ($3::text[]) and w.status <> 'dead')
   update ${runs} r
   set status = 'running', worker_id = u.worker_id, started_at = coalesce(r.started_at, now()),
       claimed_at = case r.status when 'running' then r.claimed_at else now() end,
       ${buildAtClaim('u.build')}, ${expiresAtClaim}
   from (select u.*, living.build, living.queue
         from (select unnest($1::uuid[]) as id, unnest($2::int[]) as epoch, unnest($3::text[]) as worker_id,
                 unnest($4::bool[]) as want_input, generate_subscripts($1::uuid[], 1) as at) u
         join living on living.id = u.worker_id
         order by u.id, u.worker_id) u
   where r.id = any (array[u.id]) and r.epoch = u.epoch and r.queue = u.queue
     and (r.status || '' = 'queued' or (r.status || '' = 'running' and r.worker_id = u.worker_id))
     and ${mayRunOn('u.build')}
   returning u.at, ${claimedColumns}, r.claimed_at = now() as fresh, case when u.want_input then r.input end as input`

export const claimStatement = dayStatement('claim', claimText)
export const claimOfAnyDayStatement = statement('claim_runs', claimText(runTables))

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
    const key = claimKey(claim)
    const same = wanted.get(key)
    wanted.set(key, same ? { ...same, wantInput: same.wantInput || claim.wantInput } : claim)
  }
  const keys: string[] = []
  const rows: ClaimedRow[] = []
  for (const [day, ofDay] of byDay([...wanted.values()], ({ runId }) => runId)) {
    const { ok } = await isolate(ofDay, async (part) => await claimPart(store, day, part))
    for (const { items, result } of ok)
      for (const row of result) {
        const claim = items[row.at - 1]
        if (!claim) continue
        keys.push(claimKey(claim))
        rows.push(row)
      }
  }
  const runs = await toClaimedRuns(store, rows)
  const byKey = new Map(keys.map((key, index) => [key, runs[index] ?? null]))
  return claims.map((claim) => byKey.get(claimKey(claim)) ?? null)
}

const claimKey = ({ runId, epoch, workerId }: ClaimRequest): string => `${runId}/${epoch}/${workerId}`

type PlacedRow = ClaimedRow & {
  /** The claim's place in the batch, from 1. */
  at: number
}

async function claimPart(store: Store, day: number | null, claims: ClaimRequest[]): Promise<PlacedRow[]> {
  const values = [
    uuidArray(claims.map((claim) => claim.runId)),
    numberArray(claims.map((claim) => claim.epoch)),
    textArray(claims.map((claim) => claim.workerId)),
    booleanArray(claims.map((claim) => claim.wantInput)),
  ]
  const claimBy = async (prepared: Statement): Promise<PlacedRow[]> =>
    await withRetries(async () => await run<PlacedRow>(store.hot, prepared, values))
  if (day === null) return await claimBy(claimOfAnyDayStatement)
  try {
    return await claimBy(claimStatement(day))
  } catch (error) {
    if (!isUndefinedTable(error)) throw error
    return await claimBy(claimOfAnyDayStatement)
  }
}
