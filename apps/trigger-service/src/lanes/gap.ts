import { type Broker, BrokerError } from '@headrace/broker'
import type { CursorRow } from '@headrace/store'
import { readRecord } from './lane-record.ts'

/** What a cursor and the log say of each other. */
export type Gap =
  | { readonly kind: 'none' }
  /** The cursor is beyond the log: the topic was made anew, or its end was cut off. */
  | { readonly kind: 'recreated_or_truncated'; readonly code: 'cursor_beyond_log' }
  /** The topic was made anew, and its log is as long again as the one that was read. */
  | { readonly kind: 'recreated'; readonly code: 'record_differs' }
  /** Retention took events that this trigger never saw. */
  | { readonly kind: 'gap'; readonly code: 'events_expired'; readonly lost: number }

export interface LogMarks {
  /** The oldest offset still kept. */
  readonly low: number
  /** The end of the log. */
  readonly high: number
}

/** The marks must have been taken after the cursor was read: the log only grows, so `next > high` then means what it says. */
export function gapOf(
  { nextOffset, lastOffset }: Pick<CursorRow, 'nextOffset' | 'lastOffset'>,
  { low, high }: LogMarks,
): Gap {
  // While a window is open the last record seen lies behind the cursor: it, too, must still be in the log.
  if (Math.max(nextOffset, (lastOffset ?? -1) + 1) > high)
    return { kind: 'recreated_or_truncated', code: 'cursor_beyond_log' }
  if (nextOffset < low) return { kind: 'gap', code: 'events_expired', lost: low - nextOffset }
  return { kind: 'none' }
}

export interface SeenAgainParts {
  readonly broker: Pick<Broker, 'readRange'>
  readonly topic: string
  readonly signal: AbortSignal
}

/**
 * Whether another record stands where the cursor saw its last one: only then was the topic made anew. One that is gone
 * (retention, compaction) says nothing, nor does one that cannot be read.
 */
export async function isOtherRecord(cursor: CursorRow, parts: SeenAgainParts): Promise<boolean> {
  const { stream, partition, lastOffset, lastTs, lastId } = cursor
  if (lastOffset === null || lastTs === null) return false
  const range = { topic: parts.topic, partition, from: lastOffset, to: lastOffset + 1, maxBytes: 1 }
  try {
    for await (const { records } of parts.broker.readRange({ ...range, signal: parts.signal })) {
      for (const record of records) {
        const { timestamp, id } = readRecord(stream, partition, record).seen
        if (timestamp !== lastTs || (id !== null && lastId !== null && id !== lastId)) return true
      }
    }
  } catch (error) {
    if (!(error instanceof BrokerError) || error.retryable) throw error
  }
  return false
}
