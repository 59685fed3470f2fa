/**
 * Windows (DESIGN §7): how the events of one partition that one trigger matches are cut into runs.
 *
 * states: empty → open → empty …
 *   empty  no event is held; everything scanned so far is settled
 *   open   events are held; the window closes by size, bytes or timeout, whichever is first
 *
 * W1  every event that enters is in exactly one window, in the order of its offset
 * W2  a window has 1 to `rule.size` events, and more than `rule.bytesMax` bytes only when it is a single event
 * W3  a closed window carries the cursor it leaves: all below `nextOffset` is in this window, in one before it,
 *     or was passed over; while a window is open the cursor is its first event
 * W4  while behind the head only the log decides (offsets, timestamps, sizes): read again from a cursor, the same
 *     records give the same windows, whatever the batches were. At the head the wall clock may close a window too
 *
 * The functions take a state and return the next; the state that was passed in is used up (an open window grows in
 * place, so that an event costs the same in a window of 2 and of 1,000).
 */

export interface WindowRule {
  /** Events that close the window; 1 = every event is a window of its own. */
  readonly size: number
  /** Ms after the first event's log time that close it; null = never by time. */
  readonly timeoutMs: number | null
  /** Bytes of `data` that close it. */
  readonly bytesMax: number
}

/** What a window needs to know of an event; the caller's own fields ride along. */
export interface WindowEvent {
  readonly offset: number
  /** Log time, ms since 1970. */
  readonly timestamp: number
  /** Bytes of `data`. */
  readonly bytes: number
}

export type CloseReason = 'size' | 'bytes' | 'timeout'

/** How far a trigger is on a partition. */
export interface CursorPoint {
  readonly nextOffset: number
  /**
   * Offsets from `nextOffset` on that are settled, as an int8multirange. Windows without a key close in order, so
   * there are none; windows with one close out of order and fill it.
   */
  readonly done: string
}

export interface ClosedWindow<Event extends WindowEvent> {
  readonly events: readonly Event[]
  readonly bytes: number
  readonly closedBy: CloseReason
  readonly cursor: CursorPoint
}

export type WindowState<Event extends WindowEvent> =
  | { readonly kind: 'empty' }
  | {
      readonly kind: 'open'
      readonly firstOffset: number
      readonly events: Event[]
      bytes: number
      /** Log time from which on the window is closed, ms since 1970; null = never by time. */
      readonly deadlineMs: number | null
    }

export interface WindowStep<Event extends WindowEvent> {
  readonly state: WindowState<Event>
  readonly closed: readonly ClosedWindow<Event>[]
}

/** Nothing is settled beyond the cursor. */
export const NOTHING_DONE = '{}'
const NONE: readonly never[] = []

export const emptyWindow: WindowState<never> = { kind: 'empty' }

/** A matching event was scanned. Offsets must rise from call to call. */
export function onEvent<Event extends WindowEvent>(
  state: WindowState<Event>,
  rule: WindowRule,
  event: Event,
): WindowStep<Event> {
  const { state: before, closed } = closeBefore(state, rule, event)
  if (rule.size === 1) return { state: before, closed: [...closed, single(event, 'size')] }
  if (before.kind === 'empty') {
    if (event.bytes >= rule.bytesMax) return { state: before, closed: [...closed, single(event, 'bytes')] }
    const deadlineMs = rule.timeoutMs === null ? null : event.timestamp + rule.timeoutMs
    const { offset: firstOffset, bytes } = event
    return { state: { kind: 'open', firstOffset, events: [event], bytes, deadlineMs }, closed }
  }
  before.events.push(event)
  before.bytes += event.bytes
  const full = before.events.length >= rule.size ? 'size' : before.bytes >= rule.bytesMax ? 'bytes' : null
  if (full === null) return { state: before, closed }
  return close(before, full, event.offset + 1)
}

/** A record was scanned that is none of the trigger's events: only its time counts. */
export function onPassed<Event extends WindowEvent>(
  state: WindowState<Event>,
  record: { readonly offset: number; readonly timestamp: number },
): WindowStep<Event> {
  if (state.kind === 'open' && state.deadlineMs !== null && record.timestamp >= state.deadlineMs)
    return close(state, 'timeout', record.offset)
  return { state, closed: NONE }
}

/** A fetch at `position` showed nothing: what is open has no next record to wait for, and the wall clock decides. */
export function onHead<Event extends WindowEvent>(
  state: WindowState<Event>,
  head: { readonly position: number; readonly nowMs: number },
): WindowStep<Event> {
  if (state.kind === 'open' && state.deadlineMs !== null && head.nowMs >= state.deadlineMs)
    return close(state, 'timeout', head.position)
  return { state, closed: NONE }
}

/** The cursor of a trigger that scanned all below `position` (W3). */
export function cursorOf(state: WindowState<WindowEvent>, position: number): CursorPoint {
  return { nextOffset: state.kind === 'open' ? state.firstOffset : position, done: NOTHING_DONE }
}

/** Closes what the event may not enter: its time is past the deadline, or its bytes are too many (W2). */
function closeBefore<Event extends WindowEvent>(
  state: WindowState<Event>,
  rule: WindowRule,
  event: Event,
): WindowStep<Event> {
  if (state.kind === 'empty') return { state, closed: NONE }
  if (state.deadlineMs !== null && event.timestamp >= state.deadlineMs)
    return close(state, 'timeout', event.offset)
  if (state.bytes + event.bytes > rule.bytesMax) return close(state, 'bytes', event.offset)
  return { state, closed: NONE }
}

function close<Event extends WindowEvent>(
  open: Extract<WindowState<Event>, { kind: 'open' }>,
  closedBy: CloseReason,
  nextOffset: number,
): WindowStep<Event> {
  const { events, bytes } = open
  const cursor = { nextOffset, done: NOTHING_DONE }
  return { state: emptyWindow, closed: [{ events, bytes, closedBy, cursor }] }
}

function single<Event extends WindowEvent>(event: Event, closedBy: CloseReason): ClosedWindow<Event> {
  const cursor = { nextOffset: event.offset + 1, done: NOTHING_DONE }
  return { events: [event], bytes: event.bytes, closedBy, cursor }
}
