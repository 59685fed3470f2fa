import type { IncomingBatch } from '@headrace/broker'
import { silentLogger } from '@headrace/service'
import { eventually, movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import type { ResponseChunk } from './correlate.ts'
import { ResponseLane } from './response-lane.ts'

/** A partition whose steps the test decides upon. */
function scene() {
  const clock = movableClock()
  const revoked = new AbortController()
  const steps: { chunk: ResponseChunk; done: () => void; fail: (error: Error) => void }[] = []
  const did: string[] = []
  const lane = new ResponseLane({
    topic: 'responses',
    partition: 3,
    signal: revoked.signal,
    consumer: {
      seek: (_topic, _partition, offset) => did.push(`seek ${offset}`),
      resume: () => did.push('resume'),
      commit: (_topic, _partition, offset) => did.push(`commit ${offset}`),
    },
    correlate: async (chunk) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      steps.push({ chunk, done: resolve, fail: reject })
      await promise
    },
    atEnd: async (_partition, offset) => {
      did.push(`at end ${offset}`)
      await Promise.resolve()
    },
    begunAnew: async (_partition, offset) => {
      did.push(`begun anew ${offset}`)
      await Promise.resolve()
    },
    lost: (code) => did.push(code),
    log: silentLogger,
    clock,
  })
  const step = async (index: number) => await eventually(`step ${index}`, () => steps[index])
  const settled = async (): Promise<void> => {
    for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate)
  }
  return { lane, clock, revoked, steps, did, step, settled }
}

/** Records at these offsets, fetched from `from` on; what is missing of them was compacted. */
function batch(from: number, offsets: number[], nextOffset: number, bytes = 100): IncomingBatch {
  return {
    topic: 'responses',
    partition: 3,
    fetchedOffset: from,
    nextOffset,
    records: offsets.map((offset) => ({
      offset,
      timestamp: 1_000,
      key: null,
      value: null,
      headers: {},
      bytes,
    })),
    highWatermark: nextOffset + 5,
    lowWatermark: 0,
    fetchedAt: 0,
  }
}
const offsetsOf = ({ chunk }: { chunk: ResponseChunk }): number[] => chunk.records.map(({ offset }) => offset)

test('steps follow one another in order, each with what came meanwhile', async () => {
  const { lane, step, steps, did, settled } = scene()
  lane.push(batch(0, [0, 1], 2))
  const first = await step(0)
  lane.push(batch(2, [2], 3))
  lane.push(batch(3, [4, 6], 9))
  expect(offsetsOf(first)).toEqual([0, 1])
  expect(first.chunk.nextOffset).toBe(2)
  expect(steps).toHaveLength(1)
  first.done()
  const second = await step(1)
  expect(offsetsOf(second)).toEqual([2, 4, 6])
  // Behind the last record nothing was there up to 9.
  expect(second.chunk.nextOffset).toBe(9)
  second.done()
  await settled()
  expect(did).toEqual(['commit 2', 'commit 9'])
})

test('a step takes so much and no more', async () => {
  const { lane, step } = scene()
  lane.push(
    batch(
      0,
      Array.from({ length: 1_200 }, (_, index) => index),
      1_300,
    ),
  )
  const sizes: [number, number][] = []
  for (const index of [0, 1, 2]) {
    const { chunk, done } = await step(index)
    sizes.push([chunk.records.length, chunk.nextOffset])
    done()
  }
  expect(sizes).toEqual([
    [500, 500],
    [500, 1_000],
    [200, 1_300],
  ])
})

test('a step that fails is done again, and nothing is passed over', async () => {
  const { lane, clock, step, did, settled } = scene()
  lane.push(batch(0, [0, 1], 2))
  ;(await step(0)).fail(new Error('Postgres is away'))
  lane.push(batch(2, [2], 3))
  await settled()
  await clock.advance(100)
  const again = await step(1)
  expect(offsetsOf(again)[0]).toBe(0)
  again.fail(new Error('still'))
  await settled()
  expect(did).toEqual([])
  await clock.advance(200)
  const third = await step(2)
  expect(offsetsOf(third)).toEqual([0, 1, 2])
  third.done()
  await settled()
  expect(did).toEqual(['commit 3'])
})

test('what is fetched and not done yet is bounded; then it is fetched again', async () => {
  const { lane, step, did, settled } = scene()
  lane.push(batch(0, [0, 1], 2, 4 * 1024 * 1024))
  expect(lane.isFull()).toBe(true)
  expect(lane.push(batch(2, [2], 3))).toBe('full')
  ;(await step(0)).done()
  await settled()
  expect(lane.isFull()).toBe(false)
  expect(did).toEqual(['commit 1', 'resume'])
})

test('at its end it says so once a minute, and never while a step is under way', async () => {
  const { lane, clock, step, did, settled } = scene()
  lane.push(batch(0, [0], 1))
  const first = await step(0)
  lane.atHead({ position: 1 })
  first.done()
  await settled()
  for (let turn = 0; turn < 3; turn += 1) {
    lane.atHead({ position: 1 })
    await settled()
  }
  expect(did).toEqual(['commit 1', 'at end 1'])
  expect(lane.lag(clock.now())).toEqual({ records: 0, seconds: 0 })
  await clock.advance(60_000)
  lane.atHead({ position: 1 })
  // Control records were passed.
  await settled()
  lane.atHead({ position: 3 })
  await settled()
  expect(did).toEqual(['commit 1', 'at end 1', 'at end 1', 'at end 3'])
})

test('a topic that was made anew is read from its beginning, after what is in hand', async () => {
  const { lane, step, did, settled } = scene()
  lane.push(batch(90, [90], 91))
  const first = await step(0)
  expect(lane.outOfRange({ position: 91, low: 0, high: 4 })).toBeNull()
  await settled()
  expect(did).toEqual(['responses_recreated'])
  first.done()
  await settled()
  expect(did).toEqual(['responses_recreated', 'commit 91', 'begun anew 0', 'seek 0'])
})

test('where retention was faster it goes on at what is left, and says so; a first start is no loss', () => {
  const { lane, did } = scene()
  expect(lane.outOfRange({ position: 0, low: 9, high: 20 })).toBe(9)
  expect(did).toEqual([])
  expect(lane.outOfRange({ position: 5, low: 9, high: 20 })).toBe(9)
  expect(did).toEqual(['responses_gap'])
})

test('a partition that is somebody else’s takes nothing more, and its step under way is its last', async () => {
  const { lane, revoked, step, steps, did, settled } = scene()
  lane.push(batch(0, [0], 1))
  const first = await step(0)
  lane.push(batch(1, [1], 2))
  revoked.abort()
  expect(lane.push(batch(2, [2], 3))).toBe('full')
  first.fail(new Error('whatever'))
  await lane.idle()
  await settled()
  expect(steps).toHaveLength(1)
  expect(did).toEqual([])
})

test('its lag counts what is fetched and what lies on the topic', async () => {
  const { lane, step, settled } = scene()
  lane.push(batch(0, [0, 1], 2))
  const first = await step(0)
  expect(lane.lag(4_000)).toEqual({ records: 7, seconds: 3 })
  first.done()
  await settled()
  expect(lane.lag(4_000)).toEqual({ records: 5, seconds: 0 })
})
