import { type CursorPoint, OffsetRanges } from '@headrace/core'
import type { CursorRow } from '@headrace/store'
import type { ResponsesEntry } from '../projection/responses-entry.ts'
import type { FlushEntry } from '../start-runs/flush-entry.ts'
import type { LaneTrigger } from '../triggers/lane-trigger.ts'
import type { LaneRecord, SeenRecord } from './lane-record.ts'

/** What a follower has made of records: something to be stored, and the cursor it leaves. */
export type LaneEntry = FlushEntry | ResponsesEntry

/**
 * A trigger, or the projection, on one partition: what it holds of the records scanned, and what Postgres has of its
 * cursor as far as we know. It follows a lane, or a catch-up reader until that meets the lane.
 *
 * states: live → dropped
 *   live     scans; what it closes is stored
 *   dropped  for good: fenced, revoked, paused, retired, changed. What it held and did not store is rebuilt from the
 *            cursor by whoever comes next, so nothing of it may be written any more
 *
 * F1  all below `scanned` was scanned, or lies below the cursor it was loaded with
 * F2  what it closed is stored in the order in which it closed, each at the revision the one before left
 * F3  what the cursor is moved to never passes an event that is not stored
 */
export abstract class Follower {
  /**
   * The definition it works by. Replaced by another of the same id and version when only the build or the queue changed:
   * a trigger's by a trigger's, the projection's by the projection's.
   */
  trigger: LaneTrigger
  readonly lane: { readonly stream: string; readonly partition: number }
  readonly incarnation: number
  /** Whether the lane waits when too much of what it closed is not stored; else it is left behind, and catches up. */
  abstract readonly holdsLane: boolean
  /** The cursor as stored; moved by the flusher alone. */
  stored: { nextOffset: number; revision: number }
  /** What beyond it is settled, as stored; moved with it. */
  storedDone: OffsetRanges
  /** What it closed, and the bytes of it, that is not stored yet; kept by whoever stores it. */
  pending = { windows: 0, bytes: 0 }
  /** Whoever feeds it is told that some of what was pending is settled, or that it was dropped. */
  onSettled: () => void = () => undefined
  #scanned: number
  #seen: SeenRecord | null
  #live = true

  constructor({ trigger, cursor }: NewFollower) {
    this.trigger = trigger
    this.lane = { stream: cursor.stream, partition: cursor.partition }
    this.incarnation = cursor.incarnation
    this.#scanned = cursor.nextOffset
    this.#seen =
      cursor.lastOffset === null || cursor.lastTs === null
        ? null
        : { offset: cursor.lastOffset, timestamp: cursor.lastTs, id: cursor.lastId }
    this.stored = { nextOffset: cursor.nextOffset, revision: cursor.revision }
    this.storedDone = OffsetRanges.parse(cursor.done)
  }

  get live(): boolean {
    return this.#live
  }

  /** The name and the version of its cursor in Postgres. */
  get cursorOf(): { id: string; version: number } {
    return this.trigger
  }

  get scanned(): number {
    return this.#scanned
  }

  /** The last record scanned. */
  get seen(): SeenRecord | null {
    return this.#seen
  }

  /** Windows that hold events and wait for more. */
  get openWindows(): number {
    return 0
  }

  /** Where the cursor could be moved now, once everything closed is stored. */
  abstract get cursor(): CursorPoint

  drop(): void {
    if (!this.#live) return
    this.#live = false
    this.letGo()
    this.onSettled()
  }

  /** Scans the next record; one below its own cursor is passed over (F1). */
  scan(record: LaneRecord): readonly LaneEntry[] {
    const { seen } = record
    if (seen.offset < this.#scanned) return NOTHING
    this.#scanned = seen.offset + 1
    // What is scanned again for its open windows was seen before: the last record seen is still the last.
    if (this.#seen === null || seen.offset > this.#seen.offset) this.#seen = seen
    return this.take(record)
  }

  /** There is no record between `scanned` and `position`. */
  passTo(position: number): readonly LaneEntry[] {
    if (position > this.#scanned) this.#scanned = position
    return this.passed()
  }

  /** A fetch at `position` showed nothing. */
  head(position: number, nowMs: number): readonly LaneEntry[] {
    return this.#scanned === position ? this.headAt(position, nowMs) : NOTHING
  }

  /** Its cursor was moved to `stored`, with what is settled beyond it. */
  moved(stored: Follower['stored'], done: OffsetRanges): void {
    this.stored = stored
    this.storedDone = done
  }

  /** Forgets what it holds: it was dropped. */
  protected abstract letGo(): void
  protected abstract take(record: LaneRecord): readonly LaneEntry[]
  /** A stretch of records ended. */
  protected abstract passed(): readonly LaneEntry[]
  protected abstract headAt(position: number, nowMs: number): readonly LaneEntry[]
}

export interface NewFollower {
  trigger: LaneTrigger
  cursor: CursorRow
}

export const NOTHING: readonly LaneEntry[] = []
