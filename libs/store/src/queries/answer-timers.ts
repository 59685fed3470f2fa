import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import { type Answered, answerWaits } from './answer-waits.ts'
import { ofLiveRun } from './wait-ref.ts'

export const dueTimersStatement = statement(
  'due_timers',
  `select w.run_id, w.key from waits w
   where w.kind = 'time' and w.status in ('pending', 'open') and w.expires_at <= now() and ${ofLiveRun}
   order by w.expires_at limit $1`,
)

export const nextTimerStatement = statement(
  'next_timer',
  `select w.expires_at as next from waits w
   where w.kind = 'time' and w.status in ('pending', 'open') and w.expires_at > now()
   order by w.expires_at limit 1`,
)

/**
 * Answers waits for a time that is over, the earliest first, at most `limit`: as many answers as that mean that there may
 * be more. Any number of instances may do it at once. `nextDueMs`: when the next is due (ms since 1970, by Postgres's
 * clock), null when there is none.
 */
export async function answerTimers(
  store: Store,
  { limit }: { limit: number },
): Promise<Answered & { nextDueMs: number | null }> {
  const due = await run<{ run_id: string; key: string }>(store.hot, dueTimersStatement, [limit])
  const answered = await answerWaits(
    store,
    due.map((row) => ({ runId: row.run_id, key: row.key, outcome: { kind: 'time' } })),
  )
  const [next] = await run<{ next: number }>(store.hot, nextTimerStatement, [])
  return { ...answered, nextDueMs: next?.next ?? null }
}
