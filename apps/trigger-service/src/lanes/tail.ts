import type { LaneRecord } from './lane-record.ts'

/** Bytes of records kept; past it the tail is let go, and a reader that needed it reads the log a little longer. */
const TAIL_BYTES_MAX = 4 * 1024 * 1024
const RECORD_BYTES = 500

/**
 * What a lane scanned lately, kept only while a catch-up reader is near. A busy lane moves on while the reader's fetch
 * is under way; without the tail the reader would run after it for as long as it is busy.
 */
export class Tail {
  #kept: { from: number; records: LaneRecord[]; bytes: number } | null = null

  /** Keeps what is scanned from `position` on, unless it keeps already. */
  begin(position: number): void {
    this.#kept ??= { from: position, records: [], bytes: 0 }
  }

  end(): void {
    this.#kept = null
  }

  add(records: readonly LaneRecord[]): void {
    if (this.#kept === null) return
    for (const record of records) {
      this.#kept.records.push(record)
      this.#kept.bytes += RECORD_BYTES + bytesOf(record)
    }
    if (this.#kept.bytes > TAIL_BYTES_MAX) this.#kept = null
  }

  /** All records from `position` up to where the lane is, or null when it does not reach back so far. */
  from(position: number): readonly LaneRecord[] | null {
    if (this.#kept === null || this.#kept.from > position) return null
    return this.#kept.records.filter(({ seen }) => seen.offset >= position)
  }
}

function bytesOf(record: LaneRecord): number {
  if (record.kind === 'event') return record.bytes
  return record.kind === 'unreadable' ? record.raw.bytes : 0
}
