import { describe, expect, it } from 'vitest'
import { type ComparedCursor, findGap, gapOf } from './gap.ts'

const log = { low: 3, high: 9 }

describe('a cursor compared with its log', () => {
  it('fits anywhere from the low to the high mark', () => {
    for (const nextOffset of [3, 9])
      expect(gapOf({ nextOffset, lastOffset: null }, log)).toEqual({ kind: 'none' })
  })

  it('below the low mark has lost the events between', () => {
    expect(gapOf({ nextOffset: 1, lastOffset: null }, log)).toEqual({ kind: 'gap', lost: 2 })
  })

  it('beyond the high mark belongs to another log, or one that was cut', () => {
    expect(gapOf({ nextOffset: 10, lastOffset: null }, log)).toEqual({ kind: 'beyond_log' })
  })

  it('that saw a record beyond the high mark does, too, though an open window begins before it', () => {
    expect(gapOf({ nextOffset: 4, lastOffset: 9 }, log)).toEqual({ kind: 'beyond_log' })
    expect(gapOf({ nextOffset: 4, lastOffset: 8 }, log)).toEqual({ kind: 'none' })
  })
})

describe('what stopped a cursor', () => {
  const cursor: ComparedCursor = { nextOffset: 9, incarnation: 1, lastOffset: 8, lastTs: 100, lastId: 'a' }
  const found = async (
    over: Partial<ComparedCursor>,
    there: {
      marks?: { low: number; high: number }
      incarnation?: number
      at?: Record<number, [number, string | null]>
    } = {},
  ) =>
    await findGap(
      { ...cursor, ...over },
      {
        marks: there.marks ?? log,
        incarnation: there.incarnation ?? 1,
        first: (from) => {
          const [timestamp, id] = there.at?.[from] ?? []
          return Promise.resolve(timestamp === undefined ? null : { timestamp, id: id ?? null })
        },
      },
    )

  it('is nothing where its last record stands, or is gone, or cannot be read', async () => {
    expect(await found({}, { at: { 8: [100, 'a'] } })).toBeNull()
    expect(await found({}, { at: { 8: [100, null] } })).toBeNull()
    expect(await found({})).toBeNull()
    expect(await found({ lastOffset: null, lastTs: null })).toBeNull()
  })

  it('is another record in the place of its last one: the topic was made anew', async () => {
    expect(await found({}, { at: { 8: [200, 'a'] } })).toEqual({ kind: 'recreated' })
    expect(await found({}, { at: { 8: [100, 'b'] } })).toEqual({ kind: 'recreated' })
  })

  it('is a higher incarnation of the partition, whatever the log shows', async () => {
    expect(await found({}, { incarnation: 2, at: { 8: [100, 'a'] } })).toEqual({ kind: 'recreated' })
  })

  it('beyond the log, is a cut where the log begins with what is older than its last record', async () => {
    const short = { low: 3, high: 5 }
    expect(await found({}, { marks: short, at: { 3: [50, 'x'] } })).toEqual({ kind: 'truncated' })
    expect(await found({}, { marks: short, at: { 3: [500, 'x'] } })).toEqual({ kind: 'recreated' })
    expect(await found({}, { marks: { low: 5, high: 5 } })).toEqual({ kind: 'truncated' })
    expect(await found({}, { marks: { low: 0, high: 0 } })).toEqual({ kind: 'recreated' })
  })
})
