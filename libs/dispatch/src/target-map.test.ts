import type { DispatchTarget } from '@headrace/store'
import { describe, expect, test } from 'vitest'
import { TargetMap } from './target-map.ts'

const worker = (
  workerId: string,
  partitions: number[],
  workflows: string[],
  more: Partial<DispatchTarget> = {},
): DispatchTarget => ({
  workerId,
  queue: 'default',
  partitions,
  workflows,
  build: 'b1',
  pinned: [],
  paused: [],
  ...more,
})
const runOf = (workflow: string, build: string | null = null, queue = 'default') => ({
  queue,
  workflow,
  build,
})
const turns = (map: TargetMap, workflow: string, count: number): (number | null)[] =>
  Array.from({ length: count }, () => map.next(runOf(workflow)))

describe('a run is sent only where its workflow can run', () => {
  test('the partitions of the workers that list it, in turn', () => {
    const map = new TargetMap([worker('a', [2, 0], ['x', 'y']), worker('b', [1, 3], ['x'])])
    expect(turns(map, 'x', 5)).toEqual([0, 1, 2, 3, 0])
    expect(turns(map, 'y', 3)).toEqual([0, 2, 0])
  })

  test('nobody lists it: there is no target', () => {
    const map = new TargetMap([worker('a', [0], ['x']), worker('b', [], ['z'])])
    expect(map.next(runOf('y'))).toBeNull()
    expect(map.next(runOf('z'))).toBeNull()
    expect(map.next(runOf('x', null, 'other'))).toBeNull()
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
      map.next(runOf('x'), usable),
      map.next(runOf('x'), usable),
      map.next(runOf('x'), usable),
    ]).toEqual([0, 2, 0])
    expect(map.next(runOf('x'), () => false)).toBeNull()
  })
})

describe('a run of a pinned workflow', () => {
  const pinned = ['x']
  const old = worker('a', [0], ['x'], { build: 'b1', pinned })
  const fresh = worker('b', [1], ['x'], { build: 'b2', pinned })

  test('that has begun is sent only to workers of its build', () => {
    const map = new TargetMap([old, fresh])
    for (let turn = 0; turn < 3; turn += 1) {
      expect(map.next(runOf('x', 'b1'))).toBe(0)
      expect(map.next(runOf('x', 'b2'))).toBe(1)
    }
    expect(map.next(runOf('x', 'b0'))).toBeNull()
  })

  test('that has not begun is sent to any of them', () => {
    expect(turns(new TargetMap([old, fresh]), 'x', 3)).toEqual([0, 1, 0])
  })

  test('is not sent to a partition that a worker of another build claims too', () => {
    const map = new TargetMap([{ ...old, partitions: [0, 1] }, fresh])
    expect([map.next(runOf('x', 'b1')), map.next(runOf('x', 'b1'))]).toEqual([0, 0])
    expect(map.next(runOf('x', 'b2'))).toBeNull()
  })
})

test('a run goes on with any build where its workflow is not pinned', () => {
  const map = new TargetMap([worker('a', [0], ['x']), worker('b', [1], ['x'], { build: 'b2' })])
  expect([map.next(runOf('x', 'b1')), map.next(runOf('x', 'b1'))]).toEqual([0, 1])
})

test('of a paused workflow no run begins, and those that have begun go on', () => {
  const map = new TargetMap([worker('a', [0], ['x'], { paused: ['x'] })])
  expect(map.next(runOf('x'))).toBeNull()
  expect(map.next(runOf('x', 'b1'))).toBe(0)
})

test('a fresh reading goes on with the turn', () => {
  const shared = new Map<string, number>()
  const targets = [worker('a', [0, 1, 2], ['x'])]
  expect(turns(new TargetMap(targets, shared), 'x', 2)).toEqual([0, 1])
  expect(turns(new TargetMap(targets, shared), 'x', 2)).toEqual([2, 0])
})
