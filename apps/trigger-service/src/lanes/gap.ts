import type { CursorRow } from '@headrace/store'

/** What a cursor and the log's marks say of each other. */
export type Gap =
  | { readonly kind: 'none' }
  /** The cursor is beyond the log: the topic was made anew, or its end was cut off. */
  | { readonly kind: 'recreated_or_truncated'; readonly code: 'cursor_beyond_log' }
  /** Retention took events that this trigger never saw. */
  | { readonly kind: 'gap'; readonly code: 'events_expired'; readonly lost: number }

export interface LogMarks {
  /** The oldest offset still kept. */
  readonly low: number
  /** The end of the log. */
  readonly high: number
}

/** The marks must have been taken after the cursor was read: the log only grows, so `next > high` then means what it says. */
export function gapOf(cursor: Pick<CursorRow, 'nextOffset'>, { low, high }: LogMarks): Gap {
  const next = cursor.nextOffset
  if (next > high) return { kind: 'recreated_or_truncated', code: 'cursor_beyond_log' }
  if (next < low) return { kind: 'gap', code: 'events_expired', lost: low - next }
  return { kind: 'none' }
}
