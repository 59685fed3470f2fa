import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { WaitTerms } from '../wait-candidate.ts'
import { refColumns, type WaitRef } from './wait-ref.ts'

/**
 * What the open event waits among some refs look for. A statement of its own and the first of a look: what is
 * committed after it finds these waits by itself.
 *
 * - `d`: per partition the last event that answers of this topic and filter brought, of those that the run had received.
 *   By the key's first column: a run has at most some hundred waits. Fixed once the wait is there: only answers that the
 *   worker had seen count.
 */
export const openWaitTermsStatement = statement(
  'open_wait_terms',
  `select w.run_id, w.key, w.topic, w.filter, w.since, w.asked_since, w.lookback_truncated,
     w.after_incarnation, w.after_partition, w.after_from, w.after_offset, w.checked_at is not null as checked,
     d.incarnations as received_incarnations, d.partitions as received_partitions, d.offsets::float8[] as received_offsets
   from unnest($1::uuid[], $2::text[]) u(run_id, key)
   cross join lateral (
     select w.* from waits w
     where w.run_id = u.run_id and w.key = u.key and w.status || '' = 'open' and w.kind || '' = 'event' offset 0) w
   left join lateral (
     select array_agg(m.incarnation) as incarnations, array_agg(m.partition) as partitions, array_agg(m.last) as offsets
     from (select p.answered_incarnation as incarnation, p.answered_partition as partition, max(p.answered_offset) as last
           from waits p
           where w.seen > 0 and p.run_id = w.run_id and p.status || '' = 'answered' and p.wake <= w.seen
             and p.topic || '' = w.topic and p.filter is not distinct from w.filter
           group by 1, 2) m) d on true`,
)

interface TermsRow {
  run_id: string
  key: string
  topic: string
  filter: string | null
  since: number
  asked_since: number
  lookback_truncated: boolean
  after_incarnation: number | null
  after_partition: number | null
  after_from: number | null
  after_offset: number | null
  checked: boolean
  received_incarnations: number[] | null
  received_partitions: number[] | null
  received_offsets: number[] | null
}

/** An open wait for an event. */
export interface OpenEventWait {
  ref: WaitRef
  terms: WaitTerms
  filter: string | null
  /** Before `terms.sinceMs`, from here on, only the latest event of the topic is known; null: nothing is missing. */
  latestSinceMs: number | null
  /** It has looked for itself since it was opened: whatever came after that brings itself. */
  checked: boolean
}

/** Those of the refs that are open and wait for an event. */
export async function readOpenWaits(store: Store, refs: readonly WaitRef[]): Promise<OpenEventWait[]> {
  if (refs.length === 0) return []
  const rows = await withRetries(
    async () => await run<TermsRow>(store.hot, openWaitTermsStatement, refColumns(refs)),
  )
  return rows.map(toOpenWait)
}

function toOpenWait(row: TermsRow): OpenEventWait {
  return {
    ref: { runId: row.run_id, key: row.key },
    filter: row.filter,
    checked: row.checked,
    latestSinceMs: row.lookback_truncated ? row.asked_since : null,
    terms: {
      topic: row.topic,
      sinceMs: row.since,
      // All four or none: a CHECK of the table.
      never:
        row.after_incarnation === null
          ? null
          : {
              incarnation: row.after_incarnation,
              partition: row.after_partition ?? 0,
              from: row.after_from ?? 0,
              to: row.after_offset ?? 0,
            },
      received: (row.received_offsets ?? []).map((offset, at) => ({
        incarnation: row.received_incarnations?.[at] ?? 0,
        partition: row.received_partitions?.[at] ?? 0,
        offset,
      })),
    },
  }
}
