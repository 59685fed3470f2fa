import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import { apart, type ConcurrencyKey, heldColumn, type HeldRow } from './concurrency-keys.ts'
import { type DueRow, laterOf } from './time-out-runs.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'

/**
 * Lets go runs whose delay is over. `skip locked`, since they are taken in the order of their times and not of their ids:
 * whoever has one locked is about to decide about it, and the next look comes in a second. Their epoch stays: no task of
 * it was ever sent. Under a concurrency rule it waits on, to be let in.
 */
export const releaseDelayedStatement = statement(
  'release_delayed_runs',
  `with due as materialized (
     select r.id from runs r
     where r.status = 'queued' and r.blocked_reason = 'delayed' and r.run_at <= now()
     order by r.run_at limit $1 for no key update of r skip locked)
   update runs r set blocked_reason = case when r.concurrency_key is not null then 'concurrency' end, queued_at = now()
   from due where r.id = any (array[due.id])
   returning ${seedColumns}, ${heldColumn}`,
)

export const nextDelayedStatement = statement(
  'next_delayed_run',
  `select r.run_at as next, r.run_at <= now() as due from runs r
   where r.status = 'queued' and r.blocked_reason = 'delayed'
   order by r.run_at limit 1`,
)

/** The next tasks of delayed runs whose time has come, at most `limit`, and the keys of those that wait to be let in. `nextDueMs`: when the next is due (ms since 1970, by Postgres's clock). */
export async function releaseDelayedRuns(
  store: Store,
  { limit }: { limit: number },
): Promise<{ queued: TaskSeed[]; held: ConcurrencyKey[]; nextDueMs: number | null }> {
  const next = async (): Promise<DueRow | undefined> =>
    (await run<DueRow>(store.hot, nextDelayedStatement, []))[0]
  const first = await next()
  if (!first?.due) return { queued: [], held: [], nextDueMs: first?.next ?? null }
  const rows = await withRetries(
    async () => await run<SeedRow & HeldRow>(store.hot, releaseDelayedStatement, [limit]),
  )
  const { free, held } = apart(rows)
  return { queued: free.map(toTaskSeed), held, nextDueMs: laterOf(await next()) }
}
