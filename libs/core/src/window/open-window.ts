/**
 * One open window: events of one partition, and of one key, on their way to one run.
 *
 * It closes by size or bytes with the event that fills it; by bytes before one that would be too much; by time before the
 * first record whose log time says so. It grows in place, so that an event costs the same in a window of 2 and of 1,000.
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

/** `limit`: there were too many open windows, and it was the oldest. `end`: the stretch that is read is over. */
export type CloseReason = 'size' | 'bytes' | 'timeout' | 'limit' | 'end'

export interface OpenWindow<Event extends WindowEvent> {
  readonly key: string | null
  readonly firstOffset: number
  /** None once it is closed: whoever still holds the window holds no events. */
  events: Event[]
  /** Where the offsets that each event stands for begin: right behind the event that the trigger matched before it. */
  starts: number[]
  bytes: number
  /** Log time from which on the window is closed, ms since 1970; null = never by time. */
  readonly deadlineMs: number | null
  closed: boolean
}

export function openWindow<Event extends WindowEvent>(
  key: string | null,
  { timeoutMs }: WindowRule,
  { event, start }: { event: Event; start: number },
): OpenWindow<Event> {
  return {
    key,
    firstOffset: event.offset,
    events: [event],
    starts: [start],
    bytes: event.bytes,
    deadlineMs: timeoutMs === null ? null : event.timestamp + timeoutMs,
    closed: false,
  }
}

/** What closes the window now that its last event is in. */
export function fullBy({ events, bytes }: OpenWindow<WindowEvent>, rule: WindowRule): CloseReason | null {
  if (events.length >= rule.size) return 'size'
  return bytes >= rule.bytesMax ? 'bytes' : null
}

/** Whether the event would be too much for the window. */
export const overflows = (open: OpenWindow<WindowEvent>, rule: WindowRule, event: WindowEvent): boolean =>
  open.bytes + event.bytes > rule.bytesMax
