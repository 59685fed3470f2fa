import type { DispatchTarget } from '@headrace/store'
import { describe, expect, test } from 'vitest'
import { TargetMap } from './target-map.ts'

const worker = (
  workerId: string,
  partitions: number[],
  workflows: string[],
  queue = 'default',
): DispatchTarget => ({
  workerId,
  queue,
  partitions,
  workflows,
})
const turns = (map: TargetMap, workflow: string, count: number): (number | null)[] =>
  Array.from({ length: count }, () => map.next('default', workflow))

describe('a run is sent only where its workflow can run', () => {
  test('the partitions of the workers that list it, in turn', () => {
    const map = new TargetMap([worker('a', [2, 0], ['x', 'y']), worker('b', [1, 3], ['x'])])
    expect(turns(map, 'x', 5)).toEqual([0, 1, 2, 3, 0])
    expect(turns(map, 'y', 3)).toEqual([0, 2, 0])
  })

  test('nobody lists it: there is no target', () => {
    const map = new TargetMap([worker('a', [0], ['x']), worker('b', [], ['z'])])
    expect(map.next('default', 'y')).toBeNull()
    expect(map.next('default', 'z')).toBeNull()
    expect(map.next('other', 'x')).toBeNull()
    expect(map.has('default', 'x')).toBe(true)
    expect(map.has('default', 'y')).toBe(false)
  })

  test('a partition that two workers claim takes only what both can run', () => {
    const map = new TargetMap([worker('a', [0, 1], ['x', 'y']), worker('b', [1], ['x'])])
    expect(turns(map, 'x', 3)).toEqual([0, 1, 0])
    expect(turns(map, 'y', 2)).toEqual([0, 0])
  })

  test('a partition that is out of use is passed over', () => {
    const map = new TargetMap([worker('a', [0, 1, 2], ['x'])])
    const usable = (partition: number): boolean => partition !== 1
    expect([
      map.next('default', 'x', usable),
      map.next('default', 'x', usable),
      map.next('default', 'x', usable),
    ]).toEqual([0, 2, 0])
    expect(map.next('default', 'x', () => false)).toBeNull()
  })
})

test('a fresh reading goes on with the turn', () => {
  const shared = new Map<string, number>()
  const targets = [worker('a', [0, 1, 2], ['x'])]
  expect(turns(new TargetMap(targets, shared), 'x', 2)).toEqual([0, 1])
  expect(turns(new TargetMap(targets, shared), 'x', 2)).toEqual([2, 0])
})
