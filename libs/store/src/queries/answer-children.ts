import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import { type Answered, answerWaits } from './answer-waits.ts'
import type { WaitRef } from './wait-ref.ts'

/**
 * Answers the waits for child runs among `refs` whose child has ended. Called with `EndedRun.parent` by whoever ended
 * one, once that is committed; and by a wait that is registered again. Who started a run without waiting has no wait.
 */
export async function answerChildren(store: Store, refs: readonly WaitRef[]): Promise<Answered> {
  return await answerWaits(
    store,
    refs.map(({ runId, key }) => ({ runId, key, outcome: { kind: 'run' } })),
  )
}

/** In the order of an index that holds open waits for runs alone, each of which has a child of its own. */
export const childWaitsStatement = statement(
  'child_waits',
  `select w.run_id, w.key, w.child_run_id, c.ended
   from (select w.run_id, w.key, w.child_run_id from waits w
         where w.kind = 'run' and w.status in ('pending', 'open') and ($1::uuid is null or w.child_run_id > $1)
         order by w.child_run_id limit $2) w
   left join lateral (
     select r.finished_at is not null as ended from runs r where r.id = w.child_run_id offset 0) c on true
   order by w.child_run_id`,
)

/**
 * The open waits for child runs that have ended, among the next `limit` open ones: whoever ended the child died before it
 * answered. `next`: where the following page begins, null at the end.
 */
export async function endedChildWaits(
  store: Store,
  { after, limit }: { after: string | null; limit: number },
): Promise<{ refs: WaitRef[]; next: string | null }> {
  const rows = await withRetries(
    async () =>
      await run<{ run_id: string; key: string; child_run_id: string; ended: boolean | null }>(
        store.hot,
        childWaitsStatement,
        [after, limit],
      ),
  )
  return {
    refs: rows.filter(({ ended }) => ended === true).map(({ run_id: runId, key }) => ({ runId, key })),
    next: rows.length < limit ? null : (rows.at(-1)?.child_run_id ?? null),
  }
}
