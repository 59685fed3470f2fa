import { describe, expect, it } from 'vitest'
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
