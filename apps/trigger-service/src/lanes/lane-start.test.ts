import { describe, expect, it } from 'vitest'
import { gapOf } from './gap.ts'
import { laneStart } from './lane-start.ts'

describe('a lane starts', () => {
  it('at the lowest cursor when all are near one another', () => {
    expect(laneStart([10_500, 500, 7_000])).toBe(500)
  })

  it('without waiting for a trigger more than 10,000 offsets behind the furthest', () => {
    expect(laneStart([20_000, 9_999, 12_000])).toBe(12_000)
    expect(laneStart([20_000, 10_000])).toBe(10_000)
  })

  it('nowhere when nobody follows', () => {
    expect(laneStart([])).toBeNull()
  })
})

describe('a cursor compared with its log', () => {
  it('fits anywhere from the low to the high mark', () => {
    expect(gapOf({ nextOffset: 3, lastOffset: null }, { low: 3, high: 9 }).kind).toBe('none')
    expect(gapOf({ nextOffset: 9, lastOffset: null }, { low: 3, high: 9 }).kind).toBe('none')
  })

  it('below the low mark has lost the events between', () => {
    expect(gapOf({ nextOffset: 1, lastOffset: null }, { low: 3, high: 9 })).toEqual({
      kind: 'gap',
      code: 'events_expired',
      lost: 2,
    })
  })

  it('beyond the high mark belongs to another log', () => {
    expect(gapOf({ nextOffset: 10, lastOffset: null }, { low: 3, high: 9 }).kind).toBe(
      'recreated_or_truncated',
    )
  })
})
