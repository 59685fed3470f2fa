import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import { type DueRow, laterOf } from './time-out-runs.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'

/**
 * Lets go runs whose delay is over. `skip locked`, since they are taken in the order of their times and not of their ids:
 * whoever has one locked is about to decide about it, and the next look comes in a second. Their epoch stays: no task of
 * it was ever sent.
 */
export const releaseDelayedStatement = statement(
  'release_delayed_runs',
  `with due as materialized (
     select r.id from runs r
     where r.status = 'queued' and r.blocked_reason = 'delayed' and r.run_at <= now()
     order by r.run_at limit $1 for no key update of r skip locked)
   update runs r set blocked_reason = null, queued_at = now()
   from due where r.id = any (array[due.id])
   returning ${seedColumns}`,
)

export const nextDelayedStatement = statement(
  'next_delayed_run',
  `select r.run_at as next, r.run_at <= now() as due from runs r
   where r.status = 'queued' and r.blocked_reason = 'delayed'
   order by r.run_at limit 1`,
)

/** The next tasks of delayed runs whose time has come, at most `limit`. `nextDueMs`: when the next is due (ms since 1970, by Postgres's clock). */
export async function releaseDelayedRuns(
  store: Store,
  { limit }: { limit: number },
): Promise<{ queued: TaskSeed[]; nextDueMs: number | null }> {
  const next = async (): Promise<DueRow | undefined> =>
    (await run<DueRow>(store.hot, nextDelayedStatement, []))[0]
  const first = await next()
  if (!first?.due) return { queued: [], nextDueMs: first?.next ?? null }
  const rows = await withRetries(async () => await run<SeedRow>(store.hot, releaseDelayedStatement, [limit]))
  return { queued: rows.map(toTaskSeed), nextDueMs: laterOf(await next()) }
}
