import * as fc from 'fast-check'
import { parseRunId } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { partitionName, partitionStart } from './partitions.ts'
import { dayMs, newRunIds, runIdFloor, runIdTime } from './run-id.ts'

const times = fc.integer({ min: Date.UTC(2020), max: Date.UTC(2200) })

test('ids are uuids of version 7 that carry their time and sort in the order they were given out', () => {
  fc.assert(
    fc.property(times, fc.integer({ min: 1, max: 300 }), (now, count) => {
      const ids = newRunIds(count, now)
      expect(ids).toHaveLength(count)
      expect(ids.toSorted()).toEqual(ids)
      expect(new Set(ids).size).toBe(count)
      for (const id of ids) {
        expect(parseRunId(id)).toBe(id)
        expect(id).toMatch(/^.{14}7.{4}[89ab]/)
        expect(runIdTime(id)).toBe(now)
      }
    }),
  )
})

test('a batch of more ids than one millisecond has places keeps its order', () => {
  const ids = newRunIds(10_000, Date.UTC(2026, 10, 23) + 0.5)
  expect(ids.toSorted()).toEqual(ids)
})

test('every id of a day lies between the floors of that day and the next, which bound its partition', () => {
  fc.assert(
    fc.property(times, (now) => {
      const [id] = newRunIds(1, now)
      const day = Math.floor(now / dayMs) * dayMs
      expect(runIdFloor(day) <= id! && id! < runIdFloor(day + dayMs)).toBe(true)
      expect(partitionStart('steps', partitionName('steps', now))).toBe(day)
    }),
  )
  expect(partitionName('runs', Date.UTC(2026, 10, 23, 23, 59))).toBe('runs_20261123')
  expect(partitionStart('runs', 'runs_old')).toBeNull()
  expect(partitionStart('runs', 'steps_20261123')).toBeNull()
  expect(partitionStart('responses', 'responses_20261123')).toBeNull()
  expect(partitionName('responses', Date.UTC(2026, 10, 23, 23, 59))).toBe('responses_2026112323')
  expect(partitionStart('responses', 'responses_2026112323')).toBe(Date.UTC(2026, 10, 23, 23))
})
