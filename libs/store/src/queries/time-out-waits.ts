import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import { type Answered, answerWaits } from './answer-waits.ts'
import { ofLiveRun, type WaitRef } from './wait-ref.ts'

export const dueEventWaitsStatement = statement(
  'due_event_waits',
  `select w.run_id, w.key, w.topic, w.stream, w.status, w.filter is not null as filtered, w.checked_at is not null as checked,
     w.expires_at, w.expires_at::text as place,
     extract(epoch from now() - w.expires_at)::float8 * 1000 as overdue_ms
   from waits w
   where w.kind = 'event' and w.status in ('pending', 'open') and w.expires_at <= now()
     and ($1::timestamptz is null or w.expires_at >= $1)
     and ($1::timestamptz is null or (w.expires_at, w.run_id, w.key) > ($1, $2::uuid, $3::text)) and ${ofLiveRun}
   order by w.expires_at, w.run_id, w.key limit $4`,
)

/** An event wait whose time is over. It times out once no answer can be on its way any more. */
export interface DueWait extends WaitRef {
  topic: string
  stream: string
  status: 'pending' | 'open'
  /** It has a filter, which its look for an answer may have to try on a day of events. */
  filtered: boolean
  /** It has looked for itself since it was opened; what came after that brought itself. */
  checked: boolean
  /** Ms since 1970. */
  expiresAtMs: number
  /** How long it has been over, by Postgres's clock. */
  overdueMs: number
  /** `expiresAtMs` to the microsecond: where the next page begins. */
  place: string
}

/** Event waits whose time is over, of live runs, the longest first. `after`: the last one of the page before. */
export async function dueEventWaits(
  store: Store,
  { limit, after = null }: { limit: number; after?: DueWait | null },
): Promise<DueWait[]> {
  const rows = await run<{
    run_id: string
    key: string
    topic: string
    stream: string
    status: DueWait['status']
    filtered: boolean
    checked: boolean
    expires_at: number
    place: string
    overdue_ms: number
  }>(store.hot, dueEventWaitsStatement, [after?.place, after?.runId, after?.key, limit])
  return rows.map(({ run_id: runId, expires_at: expiresAtMs, overdue_ms: overdueMs, ...row }) => ({
    runId,
    expiresAtMs,
    overdueMs,
    ...row,
  }))
}

/**
 * Times out waits whose time is over and that nothing has answered. `unverified`: without the proof that no answer was on
 * its way, which the error then says; only so is a wait timed out that was never opened.
 */
export async function timeOutWaits(
  store: Store,
  refs: readonly (WaitRef & { unverified: boolean })[],
): Promise<Answered> {
  return await answerWaits(
    store,
    refs.map(({ runId, key, unverified }) => ({ runId, key, outcome: { kind: 'timed_out', unverified } })),
  )
}
