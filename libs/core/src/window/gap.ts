/** What a cursor and its log say of each other, by the marks alone. */
export type MarkedGap =
  | { readonly kind: 'none' }
  /** Retention took events that this trigger never saw. */
  | { readonly kind: 'gap'; readonly lost: number }
  /** The log ends before what the cursor has seen: the topic was made anew, or its end was cut off. */
  | { readonly kind: 'beyond_log' }

/** Why a cursor cannot go on where it is; as the API says it. */
export type CursorGap =
  /** Retention took so many offsets that this trigger never saw. */
  | { readonly kind: 'gap'; readonly lost: number }
  /** The topic was made anew. */
  | { readonly kind: 'recreated' }
  /** The end of the log was cut off, and with it what the cursor has seen last. */
  | { readonly kind: 'truncated' }

export interface LogMarks {
  /** The oldest offset still kept. */
  readonly low: number
  /** The end of the log. */
  readonly high: number
}

/** As much of a cursor as a log can be compared with. */
export interface ComparedCursor {
  readonly nextOffset: number
  readonly incarnation: number
  readonly lastOffset: number | null
  readonly lastTs: number | null
  readonly lastId: string | null
}

export interface ComparedLog {
  readonly marks: LogMarks
  /** The highest incarnation of the cursors that are followed on this partition. */
  readonly incarnation: number
  /** The first record from `from` on, before `to`; null: none is left, or it cannot be read. `id` null: not compared. */
  readonly first: (from: number, to: number) => Promise<{ timestamp: number; id: string | null } | null>
}

/** The marks must have been taken after the cursor was read: the log only grows, so `next > high` then means what it says. */
export function gapOf(
  { nextOffset, lastOffset }: Pick<ComparedCursor, 'nextOffset' | 'lastOffset'>,
  { low, high }: LogMarks,
): MarkedGap {
  // While a window is open the last record seen lies behind the cursor: it, too, must still be in the log.
  if (Math.max(nextOffset, (lastOffset ?? -1) + 1) > high) return { kind: 'beyond_log' }
  if (nextOffset < low) return { kind: 'gap', lost: low - nextOffset }
  return { kind: 'none' }
}

/**
 * Compares a cursor with its log; null: it goes on. Who has a higher incarnation went on in a topic that was made anew, so
 * what this cursor saw is gone, whatever stands there now. The marks before any record: of a cursor that is beyond them,
 * or was overtaken, none needs to be read at its place.
 */
export async function findGap(cursor: ComparedCursor, log: ComparedLog): Promise<CursorGap | null> {
  if (cursor.incarnation < log.incarnation) return { kind: 'recreated' }
  const gap = gapOf(cursor, log.marks)
  if (gap.kind === 'gap') return gap
  if (gap.kind === 'beyond_log') return { kind: (await isSameLog(cursor, log)) ? 'truncated' : 'recreated' }
  return (await isOtherRecord(cursor, log)) ? { kind: 'recreated' } : null
}

/** Whether another record stands where the cursor saw its last one. One that is gone, or cannot be read, says nothing. */
async function isOtherRecord(
  { lastOffset, lastTs, lastId }: ComparedCursor,
  log: ComparedLog,
): Promise<boolean> {
  if (lastOffset === null || lastTs === null) return false
  const there = await log.first(lastOffset, lastOffset + 1)
  if (there === null) return false
  return there.timestamp !== lastTs || (there.id !== null && lastId !== null && there.id !== lastId)
}

/** Whether the log still begins with what is no younger than the last record that the cursor saw. */
async function isSameLog({ lastTs }: ComparedCursor, { marks, first }: ComparedLog): Promise<boolean> {
  const { low, high } = marks
  // Nothing to compare: at least its offsets did not begin again.
  if (lastTs === null || low === high) return low > 0
  const oldest = await first(low, high)
  return oldest !== null && oldest.timestamp <= lastTs
}
