import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import { refColumns, type WaitRef } from './wait-ref.ts'

/**
 * Marks open event waits as having looked for themselves. Never one that is pending: it has not looked when it is opened.
 * Passes over those that somebody holds, who is answering them; where not, they are swept.
 */
export const markCheckedStatement = statement(
  'mark_checked',
  `with own as materialized (
     select w.* from (select * from unnest($1::uuid[], $2::text[]) u(run_id, key) order by run_id, key) u
     cross join lateral (
       select w.run_id, w.key from waits w
       where w.run_id = u.run_id and w.key = u.key and w.status || '' = 'open' and w.checked_at is null
       for no key update skip locked) w)
   update waits w set checked_at = now()
   from own where w.run_id = any (array[own.run_id]) and w.key = any (array[own.key])`,
)

/** Only for waits that were open, and were looked for since: `answerFromResponses` does it for those it read. */
export async function markChecked(store: Store, refs: readonly WaitRef[]): Promise<void> {
  if (refs.length === 0) return
  await withRetries(async () => await run(store.hot, markCheckedStatement, refColumns(refs)))
}

/** By `created_at`, the order of the index that holds no others. */
const uncheckedStatement = statement(
  'unchecked_waits',
  `select w.run_id, w.key from waits w
   where w.checked_at is null and w.status in ('pending', 'open') and w.kind = 'event' and w.created_at < now() - make_interval(secs => $1::float8 / 1000)
   order by w.created_at limit $2`,
)

/**
 * Open event waits that have not looked for their answer, though they were registered so long ago, or were opened since:
 * whoever was about to look has died.
 */
export async function uncheckedWaits(
  store: Store,
  { olderThanMs, limit }: { olderThanMs: number; limit: number },
): Promise<WaitRef[]> {
  const rows = await run<{ run_id: string; key: string }>(store.hot, uncheckedStatement, [olderThanMs, limit])
  return rows.map((row) => ({ runId: row.run_id, key: row.key }))
}
