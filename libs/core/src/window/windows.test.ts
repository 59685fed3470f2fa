import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { WindowEvent, WindowRule } from './open-window.ts'
import { OffsetRanges } from './offset-ranges.ts'
import { type ClosedWindow, type CursorPoint, type WindowLimits, windowLimits, Windows } from './windows.ts'

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
  windows.map((window) => window.events.map((one) => one.offset))

const begin = (by: WindowRule, nextOffset = 0): Windows<LogRecord> =>
  new Windows(by, { nextOffset, done: '{}', lastOffset: null })

/** Scans records as the lane does. */
function scan(
  records: readonly LogRecord[],
  by: WindowRule,
  state = begin(by, records[0]?.offset),
): { state: Windows<LogRecord>; windows: ClosedWindow<LogRecord>[] } {
  const windows = records.flatMap((record) =>
    record.matches ? state.onEvent(record, null) : state.onPassed(record),
  )
  return { state, windows }
}

describe('a window', () => {
  it('of size 1 closes with each event, and its cursor is behind it', () => {
    const { state, windows } = scan([event(4), event(7)], rule({ size: 1 }))
    expect(offsets(windows)).toEqual([[4], [7]])
    expect(windows.map(({ cursor }) => cursor.nextOffset)).toEqual([5, 8])
    expect(windows.map(({ closedBy }) => closedBy)).toEqual(['size', 'size'])
    expect(state.openWindows).toBe(0)
  })

  it('of 25 events and size 10 is three: 10, 10, and 5 once the head has waited long enough', () => {
    const by = rule({ timeoutMs: 2_000 })
    const { state, windows } = scan(
      Array.from({ length: 25 }, (_, index) => event(index, 100)),
      by,
    )
    expect(windows.map(({ events }) => events.length)).toEqual([10, 10])
    expect(state.cursor(25).nextOffset).toBe(20)
    expect(state.onHead({ position: 25, nowMs: 2_099 })).toEqual([])
    const [last] = state.onHead({ position: 25, nowMs: 2_100 })
    expect(last).toMatchObject({ closedBy: 'timeout', cursor: { nextOffset: 25, settled: [] } })
    expect(last?.events.length).toBe(5)
  })

  it('closes before an event that would take it over its bytes', () => {
    const by = rule({ bytesMax: 100 })
    const { state, windows } = scan([event(0, 0, 60), event(1, 0, 60)], by)
    expect(offsets(windows)).toEqual([[0]])
    expect(windows[0]).toMatchObject({ closedBy: 'bytes', cursor: { nextOffset: 1 } })
    expect(state.cursor(2).nextOffset).toBe(1)
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
    expect(state.cursor(2).nextOffset).toBe(1)
    expect(state.onHead({ position: 2, nowMs: 1_999 })).toEqual([])
    expect(offsets(state.onHead({ position: 2, nowMs: 2_000 }))).toEqual([[1]])
  })

  it('without a timeout never closes by time', () => {
    const { state } = scan([event(0, 0)], rule())
    expect(state.onHead({ position: 1, nowMs: Number.MAX_SAFE_INTEGER })).toEqual([])
  })

  it('that is empty stays so at the head, and the cursor is the position', () => {
    const state = begin(rule({ timeoutMs: 1 }), 9)
    expect(state.onHead({ position: 9, nowMs: 1 })).toEqual([])
    expect(state.cursor(9)).toEqual({ nextOffset: 9, settled: [] })
  })

  it('may close twice for one event: the old by time, the new by bytes', () => {
    const by = rule({ timeoutMs: 10, bytesMax: 100 })
    const { windows } = scan([event(0, 0, 10), event(1, 50, 100)], by)
    expect(windows.map(({ closedBy }) => closedBy)).toEqual(['timeout', 'bytes'])
  })
})

describe('windows with a key', () => {
  const keyed = (by: WindowRule, limits: Partial<WindowLimits> = {}) =>
    new Windows<LogRecord>(
      by,
      { nextOffset: 0, done: '{}', lastOffset: null },
      { ...windowLimits, ...limits },
    )

  it('close one for each key, and the cursor stays at the first event of those that are open', () => {
    const windows = keyed(rule({ size: 2 }))
    expect(windows.onEvent(event(0), 'a')).toEqual([])
    expect(windows.onEvent(event(1), 'b')).toEqual([])
    const [closed] = windows.onEvent(event(2), 'b')
    expect(closed).toMatchObject({
      events: [{ offset: 1 }, { offset: 2 }],
      cursor: { nextOffset: 0, settled: [{ from: 1, to: 3 }] },
    })
    expect(windows.onEvent(event(3), 'a')[0]?.cursor).toEqual({ nextOffset: 4, settled: [] })
  })

  it('count what lies between two matching events to the later, so that it splits no range', () => {
    const windows = keyed(rule({ size: 2 }))
    windows.onEvent(event(0), 'a')
    windows.onEvent(event(3), 'b')
    windows.onPassed(event(5))
    expect(windows.onEvent(event(7), 'b')[0]?.cursor.settled).toEqual([{ from: 1, to: 8 }])
  })

  it('close by time, the oldest first, at the first record that is so late', () => {
    const windows = keyed(rule({ timeoutMs: 10 }))
    windows.onEvent(event(0, 5), 'a')
    windows.onEvent(event(1, 3), 'b')
    windows.onEvent(event(2, 9), 'c')
    const closed = windows.onPassed(event(3, 15))
    expect(offsets(closed)).toEqual([[0], [1]])
    expect(closed.map(({ cursor }) => cursor.nextOffset)).toEqual([1, 2])
  })

  it('close the oldest early when too many are open', () => {
    const windows = keyed(rule(), { openMax: 2 })
    windows.onEvent(event(0), 'a')
    windows.onEvent(event(1), 'b')
    windows.onEvent(event(2), 'a')
    const [oldest, ...more] = windows.onEvent(event(3), 'c')
    expect(oldest).toMatchObject({ events: [{ offset: 0 }, { offset: 2 }], closedBy: 'limit' })
    expect(more).toEqual([])
    expect(windows.openWindows).toBe(2)
  })

  it('close the oldest early when they hold too many bytes', () => {
    const windows = keyed(rule(), { openBytesMax: 100 })
    windows.onEvent(event(0, 0, 60), 'a')
    expect(windows.onEvent(event(1, 0, 60), 'b')).toMatchObject([
      { events: [{ offset: 0 }], closedBy: 'limit' },
    ])
  })

  it('close the oldest early when what is settled falls into too many ranges', () => {
    const windows = keyed(rule({ size: 2 }), { rangesMax: 1 })
    for (const offset of [0, 2, 4]) windows.onEvent(event(offset), `open ${offset}`)
    windows.onEvent(event(5), 'b')
    expect(windows.onEvent(event(6), 'b').map(({ closedBy }) => closedBy)).toEqual(['size'])
    windows.onEvent(event(7), 'open 7')
    windows.onEvent(event(8), 'c')
    expect(windows.onEvent(event(9), 'c').map(({ closedBy }) => closedBy)).toEqual([
      'size',
      'limit',
      'limit',
      'limit',
    ])
    expect(windows.cursor(10).nextOffset).toBe(7)
  })

  it('take no event again that was settled before, also when there is no key any more', () => {
    const again = new Windows<LogRecord>(rule({ size: 2 }), {
      nextOffset: 4,
      done: '{[5,7),[9,10)}',
      lastOffset: 11,
    })
    const closed = [4, 5, 6, 7, 8, 9, 10].flatMap((offset) => again.onEvent(event(offset), null))
    expect(offsets(closed)).toEqual([
      [4, 7],
      [8, 10],
    ])
  })
})

interface Keyed extends LogRecord {
  key: string | null
  refused: boolean
}

const ruleArbitrary = fc.record({
  size: fc.integer({ min: 1, max: 7 }),
  timeoutMs: fc.option(fc.integer({ min: 1, max: 50 }), { nil: null }),
  bytesMax: fc.integer({ min: 1, max: 60 }),
})
const limitsArbitrary = fc.oneof(
  fc.constant(windowLimits),
  fc.record({
    openMax: fc.integer({ min: 1, max: 4 }),
    openBytesMax: fc.integer({ min: 1, max: 90 }),
    rangesMax: fc.integer({ min: 1, max: 4 }),
  }),
)
/** Logs with holes between offsets, records of other triggers, and times that stand still or step back a little. */
const logArbitrary = fc
  .array(
    fc.record({
      hole: fc.integer({ min: 0, max: 3 }),
      stepMs: fc.integer({ min: -3, max: 20 }),
      bytes: fc.integer({ min: 0, max: 30 }),
      kind: fc.constantFrom('matches', 'matches', 'matches', 'matches', 'refused', 'passed'),
      key: fc.constantFrom(null, 'a', 'b', 'c', 'd', 'e'),
    }),
    { maxLength: 100 },
  )
  .map((parts) => {
    let offset = 0
    let timestamp = 1_000
    return parts.map(({ hole, stepMs, bytes, kind, key }): Keyed => {
      offset += 1 + hole
      timestamp += stepMs
      return { offset, timestamp, bytes, key, matches: kind !== 'passed', refused: kind === 'refused' }
    })
  })
const cases = [ruleArbitrary, limitsArbitrary, logArbitrary, fc.boolean()] as const

/** What one trigger stores, one after the other. */
interface Stored {
  /** Of a window, or of the one that was refused. */
  offsets: number[]
  bytes: number
  by: string
  nextOffset: number
  done: string
  lastOffset: number
}

/** Reads on from a cursor, as whoever loads it does. */
function readOn(
  log: readonly Keyed[],
  windows: Windows<Keyed>,
  from: { nextOffset: number; done: string },
  onStep: (windows: Windows<Keyed>, done: OffsetRanges, position: number) => void = () => undefined,
): Stored[] {
  const done = OffsetRanges.parse(from.done)
  const stored: Stored[] = []
  const store = (events: readonly Keyed[], by: string, cursor: CursorPoint, lastOffset: number) => {
    for (const range of cursor.settled) done.add(range)
    done.dropBelow(cursor.nextOffset)
    stored.push({
      offsets: events.map(({ offset }) => offset),
      bytes: events.reduce((sum, { bytes }) => sum + bytes, 0),
      by,
      nextOffset: cursor.nextOffset,
      done: done.toString(),
      lastOffset,
    })
  }
  for (const record of log.filter(({ offset }) => offset >= from.nextOffset)) {
    const closed = (some: readonly ClosedWindow<Keyed>[]) => {
      for (const { events, closedBy, cursor } of some) store(events, closedBy, cursor, record.offset)
    }
    if (record.refused) {
      const { before, cursor, after } = windows.onRefused(record)
      closed(before)
      if (cursor !== null) store([record], 'refused', cursor, record.offset)
      closed(after)
    } else closed(record.matches ? windows.onEvent(record, record.key) : windows.onPassed(record))
    onStep(windows, done, record.offset + 1)
  }
  return stored
}

const matched = (log: readonly Keyed[]): Keyed[] => log.filter(({ matches }) => matches)
const keysOf = (log: readonly Keyed[], isKeyed: boolean): Keyed[] =>
  isKeyed ? [...log] : log.map((record) => ({ ...record, key: null }))

describe('for any log, rule, keys and limits', () => {
  const start = { nextOffset: 0, done: '{}', lastOffset: null }

  it('the windows, what stays open and what was refused are the matching events, each once, in order per key (W1)', () => {
    fc.assert(
      fc.property(...cases, (by, limits, given, isKeyed) => {
        const log = keysOf(given, isKeyed)
        // So late that only the head closes by it: what is open then shows.
        const windows = new Windows<Keyed>({ ...by, timeoutMs: by.timeoutMs ?? 1_000_000 }, start, limits)
        const stored = readOn(log, windows, start)
        const open = windows.onHead({ position: Number.MAX_SAFE_INTEGER - 1, nowMs: Number.MAX_SAFE_INTEGER })
        const all = [...stored.map((one) => one.offsets), ...offsets(open)]
        expect(all.flat().sort((a, b) => a - b)).toEqual(matched(log).map(({ offset }) => offset))
        const keyOf = new Map(log.map(({ offset, key }) => [offset, key]))
        const windowed = stored.filter((one) => one.by !== 'refused').flatMap((one) => one.offsets)
        for (const key of new Set(keyOf.values())) {
          const own = windowed.filter((offset) => keyOf.get(offset) === key)
          expect(own).toEqual([...own].sort((a, b) => a - b))
        }
      }),
    )
  })

  it('a window has events of one key, is never empty, never too long, and too heavy only when single (W2)', () => {
    fc.assert(
      fc.property(...cases, (by, limits, given, isKeyed) => {
        const log = keysOf(given, isKeyed)
        const keyOf = new Map(log.map(({ offset, key }) => [offset, key]))
        for (const one of readOn(log, new Windows(by, start, limits), start)) {
          expect(new Set(one.offsets.map((offset) => keyOf.get(offset))).size).toBe(1)
          expect(one.offsets.length).toBeLessThanOrEqual(by.size)
          expect(one.by === 'refused' || one.offsets.length === 1 || one.bytes <= by.bytesMax).toBe(true)
        }
      }),
    )
  })

  it('each cursor tells of every event scanned whether it is settled (W3)', () => {
    fc.assert(
      fc.property(...cases, (by, limits, given, isKeyed) => {
        const log = keysOf(given, isKeyed)
        const settled = new Set<number>()
        let last = 0
        for (const one of readOn(log, new Windows(by, start, limits), start)) {
          expect(one.nextOffset).toBeGreaterThanOrEqual(last)
          last = one.nextOffset
          for (const offset of one.offsets) settled.add(offset)
          const done = OffsetRanges.parse(one.done)
          const told = matched(log)
            .map(({ offset }) => offset)
            .filter((offset) => offset < one.nextOffset || done.at(offset) !== null)
          expect(told).toEqual([...settled].sort((a, b) => a - b))
        }
      }),
    )
  })

  it('reading again from any cursor gives the same windows from there on (W4)', () => {
    fc.assert(
      fc.property(...cases, fc.nat(), (by, limits, given, isKeyed, pick) => {
        const log = keysOf(given, isKeyed)
        const whole = readOn(log, new Windows(by, start, limits), start)
        const kept = whole.length === 0 ? null : whole[pick % whole.length]
        if (kept === undefined || kept === null) return
        const again = readOn(log, new Windows(by, kept, limits), kept)
        expect(again).toEqual(whole.slice(whole.indexOf(kept) + 1))
      }),
      { numRuns: 2_000 },
    )
  })

  it('no more is open, and what is settled falls into no more ranges, than is allowed (W5)', () => {
    fc.assert(
      fc.property(...cases, (by, limits, given, isKeyed) => {
        readOn(keysOf(given, isKeyed), new Windows(by, start, limits), start, (windows, done) => {
          expect(windows.openWindows).toBeLessThanOrEqual(limits.openMax)
          expect(done.size).toBeLessThanOrEqual(limits.rangesMax)
        })
      }),
    )
  })

  it('the wall clock at the head closes what is due, and leaves nothing behind it', () => {
    fc.assert(
      fc.property(...cases, (by, limits, given, isKeyed) => {
        const log = keysOf(given, isKeyed)
        const windows = new Windows<Keyed>(by, start, limits)
        readOn(log, windows, start)
        const position = (log.at(-1)?.offset ?? 0) + 1
        const { openWindows } = windows
        const closed = windows.onHead({ position, nowMs: Number.MAX_SAFE_INTEGER })
        const due = by.timeoutMs !== null
        expect(closed.length).toBe(due ? openWindows : 0)
        expect(windows.openWindows).toBe(due ? 0 : openWindows)
        expect(windows.cursor(position).nextOffset === position).toBe(windows.openWindows === 0)
      }),
    )
  })
})
