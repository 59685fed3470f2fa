import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { WaitRef } from './wait-ref.ts'

/**
 * Ends and cancels do not touch waits: they hold the run, and answers lock waits first. So the waits of runs that have
 * ended, or are gone, are found here, page by page; an ended run stays ended, so looking at it takes no lock.
 */
const sweepEndedStatement = statement(
  'sweep_ended_waits',
  `with page as materialized (
     select w.run_id, w.key from waits w
     where w.status in ('pending', 'open') and ($1::uuid is null or (w.run_id, w.key) > ($1, $2::text))
     order by w.run_id, w.key limit $3),
   ended as materialized (
     select w.run_id, w.key from (
       select p.run_id, p.key from page p
       where not exists (
         select 1 from (select r.status from runs r where r.id = p.run_id offset 0) r
         where r.status in ('queued', 'running', 'waiting', 'paused'))
       order by p.run_id, p.key) p
     cross join lateral (
       select w.run_id, w.key from waits w
       where w.run_id = p.run_id and w.key = p.key and w.status || '' in ('pending', 'open')
       for no key update skip locked) w),
   cancelled as (
     update waits w set status = 'cancelled'
     from ended e where w.run_id = any (array[e.run_id]) and w.key = any (array[e.key])
     returning 1)
   select p.run_id, p.key, (select count(*) from page)::int as seen, (select count(*) from cancelled)::int as cancelled
   from page p order by p.run_id desc, p.key desc limit 1`,
)

/**
 * Cancels the open waits of ended runs among the next `limit` open ones. `next`: where the following page begins, null at
 * the end.
 */
export async function sweepEndedWaits(
  store: Store,
  { after, limit }: { after: WaitRef | null; limit: number },
): Promise<{ cancelled: number; next: WaitRef | null }> {
  const [last] = await withRetries(
    async () =>
      await run<{ run_id: string; key: string; seen: number; cancelled: number }>(
        store.hot,
        sweepEndedStatement,
        [after?.runId ?? null, after?.key ?? null, limit],
      ),
  )
  if (!last) return { cancelled: 0, next: null }
  const next = last.seen < limit ? null : { runId: last.run_id, key: last.key }
  return { cancelled: last.cancelled, next }
}
