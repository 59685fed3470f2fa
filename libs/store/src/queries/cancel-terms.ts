import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { WaitTerms } from '../wait-candidate.ts'
import { refColumns, type WaitRef } from './wait-ref.ts'

/** An open wait whose answer cancels its run. */
export interface OpenCancel {
  ref: WaitRef
  terms: WaitTerms
  filter: string | null
  /** What the filter asks of the run's first event, JSON text. */
  firstEvent: string | null
  /** It has looked for itself since it was opened. */
  checked: boolean
}

interface CancelRow {
  run_id: string
  key: string
  topic: string
  filter: string | null
  first_event: string | null
  since: number
  after_incarnation: number | null
  after_partition: number | null
  after_offset: number | null
  checked: boolean
}

/** As for other waits (open-wait-terms): the first statement of a look, behind which what is committed finds them itself. */
export const cancelTermsStatement = statement(
  'cancel_terms',
  `select w.run_id, w.key, w.topic, w.filter, w.first_event, w.since, w.after_incarnation, w.after_partition, w.after_offset,
     w.checked_at is not null as checked
   from unnest($1::uuid[], $2::text[]) u(run_id, key)
   cross join lateral (
     select w.* from waits w
     where w.run_id = u.run_id and w.key = u.key and w.status || '' = 'open' and w.kind || '' = 'cancel' offset 0) w`,
)

/** Those of the refs that are open and cancel. */
export async function readCancels(store: Store, refs: readonly WaitRef[]): Promise<OpenCancel[]> {
  if (refs.length === 0) return []
  const rows = await withRetries(
    async () =>
      await run<CancelRow & { [column: string]: unknown }>(store.hot, cancelTermsStatement, refColumns(refs)),
  )
  return rows.map((row) => ({
    ref: { runId: row.run_id, key: row.key },
    filter: row.filter,
    firstEvent: row.first_event,
    checked: row.checked,
    terms: {
      topic: row.topic,
      sinceMs: row.since,
      never:
        row.after_incarnation === null
          ? null
          : {
              incarnation: row.after_incarnation,
              partition: row.after_partition ?? 0,
              from: 0,
              to: row.after_offset ?? 0,
            },
      received: [],
    },
  }))
}

const uncheckedStatement = statement(
  'unchecked_cancels',
  `select w.run_id, w.key from waits w
   where w.checked_at is null and w.status in ('pending', 'open') and w.kind = 'cancel'
   order by w.created_at limit $1`,
)

/** Open ones that have not looked at what was there before them: those of runs that were started just now. */
export async function uncheckedCancels(store: Store, { limit }: { limit: number }): Promise<WaitRef[]> {
  const rows = await run<{ run_id: string; key: string }>(store.hot, uncheckedStatement, [limit])
  return rows.map((row) => ({ runId: row.run_id, key: row.key }))
}
