import {
  type ClosedWindow,
  compilePattern,
  cursorOf,
  type CursorPoint,
  emptyWindow,
  onEvent,
  onHead,
  onPassed,
  type WindowRule,
  type WindowState,
} from '@headrace/core'
import type { CursorRow, TriggerRow } from '@headrace/store'
import { type LaneEvent, type LaneRecord, type SeenRecord, toLaneEvent } from './lane-record.ts'

/** What a record or the head made of a follower's windows. */
export type Closed = readonly ClosedWindow<LaneEvent>[]

/**
 * One trigger on one partition: its open window, and what Postgres has of its cursor as far as we know.
 * It follows a lane, or a catch-up reader until that meets the lane.
 *
 * states: live → dropped
 *   live     scans; its closed windows are flushed
 *   dropped  for good: fenced, revoked, paused, retired, changed. What it held and did not flush is rebuilt from the
 *            cursor by whoever comes next, so nothing of it may be written any more
 *
 * F1  all below `scanned` was scanned, or lies below the cursor it was loaded with
 * F2  its closed windows are flushed in the order in which they closed, each at the revision the one before left
 * F3  what the cursor is moved to never passes an event that is in no flushed window
 */
export class Follower {
  /** The definition it works by. Replaced by another of the same version when only the build or the queue changed. */
  trigger: TriggerRow
  readonly lane: { readonly stream: string; readonly partition: number }
  readonly incarnation: number
  readonly #matches: (topic: string) => boolean
  readonly #rule: WindowRule
  #window: WindowState<LaneEvent> = emptyWindow
  #scanned: number
  #seen: SeenRecord | null
  #live = true
  /** The cursor as stored; moved by the flusher alone. */
  stored: { nextOffset: number; revision: number }
  /** Closed windows, and their bytes, that are not flushed yet; kept by the flusher. */
  pending = { windows: 0, bytes: 0 }
  /** Whoever feeds it is told that some of what was pending is settled, or that it was dropped. */
  onSettled: () => void = () => undefined

  constructor({ trigger, cursor, from }: NewFollower) {
    this.trigger = trigger
    this.lane = { stream: cursor.stream, partition: cursor.partition }
    this.incarnation = cursor.incarnation
    this.#matches = compilePattern(trigger.pattern)
    this.#rule = ruleOf(trigger)
    this.#scanned = from ?? cursor.nextOffset
    this.#seen =
      cursor.lastOffset === null || cursor.lastTs === null
        ? null
        : { offset: cursor.lastOffset, timestamp: cursor.lastTs, id: cursor.lastId }
    this.stored = { nextOffset: cursor.nextOffset, revision: cursor.revision }
  }

  get live(): boolean {
    return this.#live
  }

  get scanned(): number {
    return this.#scanned
  }

  /** The last record scanned. */
  get seen(): SeenRecord | null {
    return this.#seen
  }

  /** Events in the open window; 0 when there is none. */
  get openEvents(): number {
    return this.#window.kind === 'open' ? this.#window.events.length : 0
  }

  /** Where the cursor could be moved now, once every closed window is flushed. */
  get cursor(): CursorPoint {
    return cursorOf(this.#window, this.#scanned)
  }

  drop(): void {
    if (!this.#live) return
    this.#live = false
    this.#window = emptyWindow
    this.onSettled()
  }

  /** Scans the next record; one below its own cursor is passed over (F1). */
  scan(record: LaneRecord): Closed {
    const { seen } = record
    if (seen.offset < this.#scanned) return NOTHING
    const { state, closed } =
      record.kind === 'event' && this.#matches(record.event.topic)
        ? onEvent(this.#window, this.#rule, toLaneEvent(record))
        : onPassed(this.#window, seen)
    this.#window = state
    this.#scanned = seen.offset + 1
    this.#seen = seen
    return closed
  }

  /** There is no record between `scanned` and `position`. */
  passTo(position: number): void {
    if (position > this.#scanned) this.#scanned = position
  }

  /** A fetch at `position` showed nothing: the wall clock decides. */
  head(position: number, nowMs: number): Closed {
    if (this.#scanned !== position) return NOTHING
    const { state, closed } = onHead(this.#window, { position, nowMs })
    this.#window = state
    return closed
  }
}

export interface NewFollower {
  trigger: TriggerRow
  cursor: CursorRow
  /** Where to begin when not at the cursor: behind a gap that policy lets pass. */
  from?: number
}

const NOTHING: Closed = []

function ruleOf({ windowSize, windowTimeoutMs, windowMaxBytes }: TriggerRow): WindowRule {
  return { size: windowSize, timeoutMs: windowTimeoutMs, bytesMax: windowMaxBytes }
}
