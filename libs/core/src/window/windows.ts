import { Deadlines } from './deadlines.ts'
import { OldestFirst } from './oldest-first.ts'
import { OffsetRanges, type OffsetRange } from './offset-ranges.ts'
import {
  type CloseReason,
  fullBy,
  type OpenWindow,
  openWindow,
  overflows,
  type WindowEvent,
  type WindowRule,
} from './open-window.ts'

/**
 * Windows: how the events of one partition that one trigger matches are cut into runs; with a key, one window
 * is open for each, else one in all.
 *
 * states of a window: open → closed
 *   open    holds events; it closes by size, bytes or timeout, whichever is first, or as the oldest of too many
 *   closed  a run; its events are settled
 *
 * W1  every event that enters is in exactly one window, and the events of a key in the order of their offsets
 * W2  a window has 1 to `rule.size` events, and more than `rule.bytesMax` bytes only when it is a single event
 * W3  what closes carries the cursor it leaves: an event is settled if and only if it lies below `nextOffset` or in `done`,
 *     which is what all steps before have `settled`; `nextOffset` is the first event of any open window
 * W4  while behind the head only the log decides (offsets, timestamps, sizes): read again from any cursor, the same
 *     records give the same windows, whatever the batches were. At the head the wall clock may close a window too
 * W5  open windows, their bytes and the ranges of `done` are bounded, by closing the oldest early
 *
 * For W4 a limit, too, is kept by what the cursor says: that a state is over `rangesMax` is acted upon at the end of the
 * step that made it so. Who begins with such a state, between two windows of that step, begins below the record at which
 * it was (`lastOffset`): until there what is open is put together again, and nothing closes for a limit of ranges.
 */
export interface WindowsStart {
  readonly nextOffset: number
  /** int8multirange as text. */
  readonly done: string
  /** The last record that was seen; null: none. */
  readonly lastOffset: number | null
}

export interface WindowLimits {
  readonly openMax: number
  readonly openBytesMax: number
  readonly rangesMax: number
}

/** Of one trigger on one partition. */
export const windowLimits: WindowLimits = {
  /** Open windows: their first events hold back the cursor, and with it what is read again after a death. */
  openMax: 10_000,
  /** Bytes of `data` in open windows: they are held in memory. */
  openBytesMax: 32 * 1024 * 1024,
  /** Ranges of `done`, which each flush writes whole: some 10 ms at 1,000 of them. */
  rangesMax: 2_000,
}

/** How far a trigger is on a partition. */
export interface CursorPoint {
  readonly nextOffset: number
  /** Settled by the step that leaves it, beyond `nextOffset`: windows with a key close out of order. */
  readonly settled: readonly OffsetRange[]
}

export interface ClosedWindow<Event extends WindowEvent> {
  readonly events: readonly Event[]
  readonly bytes: number
  readonly closedBy: CloseReason
  readonly cursor: CursorPoint
}

/** What came of an event that no window takes: what closed before it, how it was settled, what closed behind it. */
export interface Refused<Event extends WindowEvent> {
  readonly before: readonly ClosedWindow<Event>[]
  /** Null: it was settled already. */
  readonly cursor: CursorPoint | null
  readonly after: readonly ClosedWindow<Event>[]
}

export const NOTHING_SETTLED: readonly OffsetRange[] = []
const NONE: readonly never[] = []

export class Windows<Event extends WindowEvent> {
  readonly #rule: WindowRule
  readonly #limits: WindowLimits
  /** By key. */
  readonly #open = new Map<string | null, OpenWindow<Event>>()
  readonly #byAge = new OldestFirst<OpenWindow<Event>>()
  readonly #deadlines = new Deadlines<OpenWindow<Event>>()
  readonly #settled: OffsetRanges
  /** No event from here on was settled before this began. */
  readonly #newFrom: number
  readonly #lastOffset: number
  /** Behind the last event that was matched: what the next one stands for begins here. */
  #end: number
  #openBytes = 0

  constructor(
    rule: WindowRule,
    { nextOffset, done, lastOffset }: WindowsStart,
    limits: WindowLimits = windowLimits,
  ) {
    this.#rule = rule
    this.#limits = limits
    this.#settled = OffsetRanges.parse(done)
    this.#settled.dropBelow(nextOffset)
    this.#newFrom = this.#settled.end
    this.#lastOffset = lastOffset ?? -1
    this.#end = nextOffset
  }

  get openWindows(): number {
    return this.#open.size
  }

  /** The events in all open windows, and the log time of the first; a walk over the windows. */
  get held(): { events: number; sinceMs: number | null } {
    let events = 0
    for (const window of this.#open.values()) events += window.events.length
    return { events, sinceMs: this.#oldest()?.events[0]?.timestamp ?? null }
  }

  /** Whether an event was settled before this began: what would become of it need not be asked. */
  isSettled(offset: number): boolean {
    return offset < this.#newFrom && this.#settled.at(offset) !== null
  }

  /** A matching event was scanned. Offsets must rise from call to call. Without a key, `key` is always null. */
  onEvent(event: Event, key: string | null): readonly ClosedWindow<Event>[] {
    if (this.isSettled(event.offset)) return this.onPassed(event)
    const closed = this.#due(event.timestamp, event.offset)
    const start = this.#take(event.offset)
    const before = this.#open.get(key)
    if (before !== undefined && overflows(before, this.#rule, event))
      closed.push(this.#close(before, 'bytes', event.offset))
    const window = this.#open.get(key) ?? openWindow(key, this.#rule, { event, start })
    if (window.events[0] === event) {
      const alone = fullBy(window, this.#rule)
      if (alone !== null) closed.push(this.#single(window, alone))
      else {
        if (this.#open.size >= this.#limits.openMax) closed.push(...this.#closeOldest(event.offset))
        this.#enter(window)
      }
    } else {
      window.events.push(event)
      window.starts.push(start)
      window.bytes += event.bytes
      this.#openBytes += event.bytes
    }
    const full = window.closed ? null : fullBy(window, this.#rule)
    if (full !== null) closed.push(this.#close(window, full, event.offset + 1))
    while (this.#openBytes > this.#limits.openBytesMax) closed.push(...this.#closeOldest(event.offset + 1))
    this.#keepRanges(closed, event.offset + 1)
    return closed
  }

  /** A record was scanned that is none of the trigger's events: only its time counts. */
  onPassed({ offset, timestamp }: Pick<WindowEvent, 'offset' | 'timestamp'>): readonly ClosedWindow<Event>[] {
    if (offset < this.#newFrom) this.#end = this.#settled.at(offset)?.to ?? this.#end
    const closed = this.#due(timestamp, offset)
    this.#keepRanges(closed, offset + 1)
    return closed
  }

  /** An event was scanned that matches and cannot become part of a window: it is settled by itself. */
  onRefused(event: Pick<WindowEvent, 'offset' | 'timestamp'>): Refused<Event> {
    const { offset, timestamp } = event
    if (this.isSettled(offset)) return { before: this.onPassed(event), cursor: null, after: NONE }
    const before = this.#due(timestamp, offset)
    const stood = { from: this.#take(offset), to: offset + 1 }
    const cursor = this.#settle(() => [stood], offset + 1)
    const after: ClosedWindow<Event>[] = []
    this.#keepRanges(after, offset + 1)
    return { before, cursor, after }
  }

  /** A fetch at `position` showed nothing: what is open has no next record to wait for, and the wall clock decides. */
  onHead({ position, nowMs }: { position: number; nowMs: number }): readonly ClosedWindow<Event>[] {
    const closed = this.#due(nowMs, position)
    this.#keepRanges(closed, position)
    return closed
  }

  /** Nothing comes behind `position`: what is open closes, the oldest first. */
  closeAll(position: number): readonly ClosedWindow<Event>[] {
    const closed: ClosedWindow<Event>[] = []
    for (let oldest = this.#oldest(); oldest !== undefined; oldest = this.#oldest())
      closed.push(this.#close(oldest, 'end', position))
    return closed
  }

  /** The cursor of a trigger that scanned all below `position` (W3). */
  cursor(position: number): CursorPoint {
    return { nextOffset: this.#oldest()?.firstOffset ?? position, settled: NOTHING_SETTLED }
  }

  /** Forgets what is open. */
  clear(): void {
    this.#open.clear()
    this.#byAge.clear()
    this.#deadlines.clear()
    this.#openBytes = 0
  }

  /** Where the offsets that this event stands for begin. */
  #take(offset: number): number {
    const start = this.#end
    this.#end = offset + 1
    return start
  }

  #enter(window: OpenWindow<Event>): void {
    this.#open.set(window.key, window)
    this.#byAge.add(window, this.#open.size)
    this.#deadlines.add(window, this.#open.size)
    this.#openBytes += window.bytes
  }

  #oldest(): OpenWindow<Event> | undefined {
    return this.#open.size === 0 ? undefined : this.#byAge.first()
  }

  /** Closes what is due, the oldest first, so that `done` is as short as may be. */
  #due(timeMs: number, position: number): ClosedWindow<Event>[] {
    if (this.#rule.timeoutMs === null) return []
    const due = this.#deadlines.takeDue(timeMs)
    if (due.length > 1) due.sort((a, b) => a.firstOffset - b.firstOffset)
    return due.map((window) => this.#close(window, 'timeout', position))
  }

  #closeOldest(position: number): ClosedWindow<Event>[] {
    const oldest = this.#oldest()
    return oldest === undefined ? [] : [this.#close(oldest, 'limit', position)]
  }

  /** The end of a step. */
  #keepRanges(closed: ClosedWindow<Event>[], position: number): void {
    if (position <= this.#lastOffset) return
    while (this.#settled.size > this.#limits.rangesMax && this.#open.size > 0)
      closed.push(...this.#closeOldest(position))
  }

  #close(window: OpenWindow<Event>, closedBy: CloseReason, position: number): ClosedWindow<Event> {
    this.#open.delete(window.key)
    this.#openBytes -= window.bytes
    return this.#closed(window, closedBy, position)
  }

  /** A window that its first event fills was never open. */
  #single(window: OpenWindow<Event>, closedBy: CloseReason): ClosedWindow<Event> {
    return this.#closed(window, closedBy, window.firstOffset + 1)
  }

  #closed(window: OpenWindow<Event>, closedBy: CloseReason, position: number): ClosedWindow<Event> {
    const { events, starts, bytes } = window
    window.closed = true
    window.events = []
    window.starts = []
    return { events, bytes, closedBy, cursor: this.#settle(() => rangesOf(events, starts), position) }
  }

  /** Where nothing is open all is settled, and there is nothing to note. */
  #settle(ranges: () => readonly OffsetRange[], position: number): CursorPoint {
    const oldest = this.#oldest()
    const nextOffset = oldest?.firstOffset ?? position
    if (oldest === undefined) {
      if (this.#settled.size > 0) this.#settled.dropBelow(nextOffset)
      return { nextOffset, settled: NOTHING_SETTLED }
    }
    const settled: OffsetRange[] = []
    for (const range of ranges()) {
      if (range.to <= nextOffset) continue
      settled.push(range)
      this.#settled.add(range)
    }
    this.#settled.dropBelow(nextOffset)
    return { nextOffset, settled }
  }
}

/** The offsets that a window's events stand for; neighbours as one. */
function rangesOf(events: readonly WindowEvent[], starts: readonly number[]): OffsetRange[] {
  const ranges: { from: number; to: number }[] = []
  for (const [index, { offset }] of events.entries()) {
    const from = starts[index] ?? offset
    const last = ranges.at(-1)
    if (last?.to === from) last.to = offset + 1
    else ranges.push({ from, to: offset + 1 })
  }
  return ranges
}
