import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import { answerChildren } from './answer-children.ts'
import { type Answered, answerWaits, type WaitOutcome } from './answer-waits.ts'
import { ofLiveRun } from './wait-ref.ts'

/** Waits whose time alone decides: no answer of theirs is on its way anywhere else than in Postgres. */
const kinds = `unnest(array['time', 'run', 'resume']) k(kind)`

/** Kind by kind, each in the order of its index. */
export const dueTimersStatement = statement(
  'due_timers',
  `select w.run_id, w.key, w.kind from ${kinds}
   cross join lateral (
     select w.run_id, w.key, w.kind from waits w
     where w.kind = k.kind and w.status in ('pending', 'open') and w.expires_at <= now() and ${ofLiveRun}
     order by w.expires_at limit $1) w`,
)

export const nextTimerStatement = statement(
  'next_timer',
  `select min(w.next) as next from ${kinds}
   cross join lateral (
     select w.expires_at as next from waits w
     where w.kind = k.kind and w.status in ('pending', 'open') and w.expires_at > now()
     order by w.expires_at limit 1) w`,
)

interface DueRow {
  run_id: string
  key: string
  kind: 'time' | 'run' | 'resume'
}

/**
 * Answers waits for a time that is over, and times out those for a child run or for somebody who resumes them; of each
 * kind the earliest first, at most `limit`: as many answers as that mean that there may be more. Any number of instances may
 * do it at once. `nextDueMs`: when the next is due (ms since 1970, by Postgres's clock), null when there is none.
 */
export async function answerTimers(
  store: Store,
  { limit }: { limit: number },
): Promise<Answered & { nextDueMs: number | null }> {
  const due = await run<DueRow>(store.hot, dueTimersStatement, [limit])
  // A child that ended in time answers, though whoever ended it has not come to that: read after the wait was due.
  const ended = await answerChildren(
    store,
    due.filter(({ kind }) => kind === 'run').map((row) => ({ runId: row.run_id, key: row.key })),
  )
  const over = await answerWaits(
    store,
    due.map((row) => ({ runId: row.run_id, key: row.key, outcome: outcomeOf(row) })),
  )
  const [next] = await run<{ next: number | null }>(store.hot, nextTimerStatement, [])
  return {
    answers: [...ended.answers, ...over.answers],
    queued: [...ended.queued, ...over.queued],
    nextDueMs: next?.next ?? null,
  }
}

const outcomeOf = ({ kind }: DueRow): WaitOutcome =>
  kind === 'time' ? { kind } : { kind: 'timed_out', unverified: false }
