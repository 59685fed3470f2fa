import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type ClosedWindow,
  cursorOf,
  emptyWindow,
  onEvent,
  onHead,
  onPassed,
  type WindowEvent,
  type WindowRule,
  type WindowState,
} from './window.ts'

interface LogRecord extends WindowEvent {
  matches: boolean
}

const rule = (over: Partial<WindowRule> = {}): WindowRule => ({
  size: 10,
  timeoutMs: null,
  bytesMax: 1_000_000,
  ...over,
})
const event = (offset: number, timestamp = 0, bytes = 10): LogRecord => ({
  offset,
  timestamp,
  bytes,
  matches: true,
})
const offsets = (windows: readonly ClosedWindow<WindowEvent>[]): number[][] =>
  windows.map((window) => window.events.map(({ offset }) => offset))

/** Scans records from a state as the lane does. */
function scan(
  records: readonly LogRecord[],
  by: WindowRule,
  from: WindowState<LogRecord> = emptyWindow,
): { state: WindowState<LogRecord>; windows: ClosedWindow<LogRecord>[] } {
  let state = from
  const windows: ClosedWindow<LogRecord>[] = []
  for (const record of records) {
    const step = record.matches ? onEvent(state, by, record) : onPassed(state, record)
    state = step.state
    windows.push(...step.closed)
  }
  return { state, windows }
}

describe('a window', () => {
  it('of size 1 closes with each event, and its cursor is behind it', () => {
    const { state, windows } = scan([event(4), event(7)], rule({ size: 1 }))
    expect(offsets(windows)).toEqual([[4], [7]])
    expect(windows.map(({ cursor }) => cursor.nextOffset)).toEqual([5, 8])
    expect(windows.map(({ closedBy }) => closedBy)).toEqual(['size', 'size'])
    expect(state.kind).toBe('empty')
  })

  it('of 25 events and size 10 is three: 10, 10, and 5 once the head has waited long enough', () => {
    const by = rule({ timeoutMs: 2_000 })
    const { state, windows } = scan(
      Array.from({ length: 25 }, (_, index) => event(index, 100)),
      by,
    )
    expect(windows.map(({ events }) => events.length)).toEqual([10, 10])
    expect(cursorOf(state, 25).nextOffset).toBe(20)
    expect(onHead(state, { position: 25, nowMs: 2_099 }).closed).toEqual([])
    const [last] = onHead(state, { position: 25, nowMs: 2_100 }).closed
    expect(last).toMatchObject({ closedBy: 'timeout', cursor: { nextOffset: 25, done: '{}' } })
    expect(last?.events.length).toBe(5)
  })

  it('closes before an event that would take it over its bytes', () => {
    const by = rule({ bytesMax: 100 })
    const { state, windows } = scan([event(0, 0, 60), event(1, 0, 60)], by)
    expect(offsets(windows)).toEqual([[0]])
    expect(windows[0]).toMatchObject({ closedBy: 'bytes', cursor: { nextOffset: 1 } })
    expect(cursorOf(state, 2).nextOffset).toBe(1)
  })

  it('closes with the event that fills its bytes exactly', () => {
    const { windows } = scan([event(0, 0, 60), event(1, 0, 40)], rule({ bytesMax: 100 }))
    expect(offsets(windows)).toEqual([[0, 1]])
    expect(windows[0]?.closedBy).toBe('bytes')
  })

  it('holds a single event that alone is over its bytes, and nothing else', () => {
    const { windows } = scan([event(0, 0, 10), event(1, 0, 500), event(2, 0, 10)], rule({ bytesMax: 100 }))
    expect(offsets(windows)).toEqual([[0], [1]])
  })

  it('closes by the next record’s log time while behind the head, also when that record is not its own', () => {
    const by = rule({ timeoutMs: 1_000 })
    const { windows } = scan([event(0, 5_000), { ...event(1, 6_000), matches: false }], by)
    expect(offsets(windows)).toEqual([[0]])
    expect(windows[0]).toMatchObject({ closedBy: 'timeout', cursor: { nextOffset: 1 } })
  })

  it('stays whole behind the head, however late it is by the wall clock', () => {
    const by = rule({ size: 3, timeoutMs: 1_000 })
    const { windows } = scan([event(0, 0), event(1, 10), event(2, 20)], by)
    expect(offsets(windows)).toEqual([[0, 1, 2]])
  })

  it('begins anew with the event whose log time closed the one before', () => {
    const { state, windows } = scan([event(0, 0), event(1, 1_000)], rule({ timeoutMs: 1_000 }))
    expect(offsets(windows)).toEqual([[0]])
    expect(state).toMatchObject({ kind: 'open', firstOffset: 1, deadlineMs: 2_000 })
  })

  it('without a timeout never closes by time', () => {
    const { state } = scan([event(0, 0)], rule())
    expect(onHead(state, { position: 1, nowMs: Number.MAX_SAFE_INTEGER }).closed).toEqual([])
  })

  it('that is empty stays so at the head, and the cursor is the position', () => {
    expect(onHead(emptyWindow, { position: 9, nowMs: 1 })).toEqual({ state: emptyWindow, closed: [] })
    expect(cursorOf(emptyWindow, 9)).toEqual({ nextOffset: 9, done: '{}' })
  })

  it('may close twice for one event: the old by time, the new by bytes', () => {
    const by = rule({ timeoutMs: 10, bytesMax: 100 })
    const { windows } = scan([event(0, 0, 10), event(1, 50, 100)], by)
    expect(windows.map(({ closedBy }) => closedBy)).toEqual(['timeout', 'bytes'])
  })
})

const ruleArbitrary = fc.record({
  size: fc.integer({ min: 1, max: 7 }),
  timeoutMs: fc.option(fc.integer({ min: 1, max: 50 }), { nil: null }),
  bytesMax: fc.integer({ min: 1, max: 60 }),
})
/** Logs with holes between offsets, records of other triggers, and times that stand still or step back a little. */
const logArbitrary = fc
  .array(
    fc.record({
      hole: fc.integer({ min: 0, max: 3 }),
      stepMs: fc.integer({ min: -3, max: 40 }),
      bytes: fc.integer({ min: 0, max: 30 }),
      matches: fc.boolean(),
    }),
    { maxLength: 80 },
  )
  .map((parts) => {
    let offset = 0
    let timestamp = 1_000
    return parts.map((part): LogRecord => {
      offset += 1 + part.hole
      timestamp += part.stepMs
      return { offset, timestamp, bytes: part.bytes, matches: part.matches }
    })
  })

describe('for any log and rule', () => {
  it('the windows and what stays open are the matching events, each once, in order (W1)', () => {
    fc.assert(
      fc.property(ruleArbitrary, logArbitrary, (by, log) => {
        const { state, windows } = scan(log, by)
        const open = state.kind === 'open' ? state.events.map(({ offset }) => offset) : []
        expect([...offsets(windows).flat(), ...open]).toEqual(
          log.filter(({ matches }) => matches).map(({ offset }) => offset),
        )
      }),
    )
  })

  it('a window is never empty, never too long, and too heavy only when single (W2)', () => {
    fc.assert(
      fc.property(ruleArbitrary, logArbitrary, (by, log) => {
        for (const { events, bytes } of scan(log, by).windows) {
          expect(events.length).toBeGreaterThan(0)
          expect(events.length).toBeLessThanOrEqual(by.size)
          expect(bytes).toBe(events.reduce((sum, one) => sum + one.bytes, 0))
          expect(events.length === 1 || bytes <= by.bytesMax).toBe(true)
        }
      }),
    )
  })

  it('cursors only rise, and lie behind their own window and not behind the next one’s first event (W3)', () => {
    fc.assert(
      fc.property(ruleArbitrary, logArbitrary, (by, log) => {
        const { windows } = scan(log, by)
        for (const [index, { events, cursor }] of windows.entries()) {
          expect(cursor.nextOffset).toBeGreaterThan(events.at(-1)?.offset ?? Infinity)
          expect(cursor.nextOffset).toBeLessThanOrEqual(windows[index + 1]?.events[0]?.offset ?? Infinity)
        }
      }),
    )
  })

  it('reading again from any cursor gives the same windows from there on (W4)', () => {
    fc.assert(
      fc.property(ruleArbitrary, logArbitrary, fc.nat(), (by, log, pick) => {
        const whole = scan(log, by)
        if (whole.windows.length === 0) return
        const kept = pick % whole.windows.length
        const from = whole.windows[kept]?.cursor.nextOffset ?? 0
        const again = scan(
          log.filter(({ offset }) => offset >= from),
          by,
        )
        expect(again.windows).toEqual(whole.windows.slice(kept + 1))
        expect(again.state).toEqual(whole.state)
      }),
    )
  })

  it('the wall clock at the head closes only what is due, and leaves nothing behind it', () => {
    fc.assert(
      fc.property(ruleArbitrary, logArbitrary, fc.integer({ min: 0, max: 5_000 }), (by, log, nowMs) => {
        const position = (log.at(-1)?.offset ?? 0) + 1
        const { state } = scan(log, by)
        const deadlineMs = state.kind === 'open' ? state.deadlineMs : null
        const { state: after, closed } = onHead(state, { position, nowMs })
        const due = deadlineMs !== null && nowMs >= deadlineMs
        expect(closed.length).toBe(due ? 1 : 0)
        const left = due ? position : cursorOf(state, position).nextOffset
        expect(cursorOf(after, position).nextOffset).toBe(left)
      }),
    )
  })
})
