import { BrokerError, type IncomingRecord, type RangeChunk, type ReadRange } from '@headrace/broker'
import { decodeEvent } from '@headrace/core'
import { systemClock } from '@headrace/service'
import { expect, test } from 'vitest'
import { type FollowItem, followStream } from './follow-stream.ts'

const record = (offset: number): IncomingRecord => ({
  offset,
  timestamp: offset,
  key: null,
  value: Buffer.from('1'),
  headers: { ce_id: Buffer.from(`e${offset}`), ce_subject: Buffer.from('a/b') },
  bytes: 1,
})

interface Log {
  low: number
  high: number
  /** What a fetch beyond shows, for now, is nothing. */
  visibleTo?: number
}

/** Partitions of a log as they are at each look; the last look stands. */
function brokerOf(...looks: (Record<number, Log> | Error)[]) {
  let current: Record<number, Log> = {}
  return {
    ends: {
      of: () => {
        const next = looks.length > 1 ? looks.shift() : looks[0]
        if (next instanceof Error) return Promise.reject(next)
        current = next ?? {}
        return Promise.resolve(new Map(Object.entries(current).map(([p, { high }]) => [Number(p), high])))
      },
    },
    offsets: () => Promise.resolve(new Map(Object.entries(current).map(([p, log]) => [Number(p), log]))),
    async *readRange({ partition, from, to }: ReadRange): AsyncGenerator<RangeChunk, void, undefined> {
      const { low, high, visibleTo = high } = current[partition] ?? { low: 0, high: 0 }
      const [first, end] = [Number(from), Math.min(Number(to), visibleTo)]
      const marks = { lowWatermark: low, highWatermark: high }
      if (first < low) yield { records: [], nextOffset: first, end: 'out_of_range', ...marks }
      else if (first >= end) yield { records: [], nextOffset: first, end: 'log_end', ...marks }
      else {
        const records = Array.from({ length: end - first }, (_, n) => record(first + n))
        yield { records, nextOffset: end, end: null, ...marks }
        yield { records: [], nextOffset: end, end: end === Number(to) ? 'reached_to' : 'log_end', ...marks }
      }
      await Promise.resolve()
    },
  }
}

const told = (item: FollowItem): string =>
  item.kind === 'event'
    ? `${item.event.partition}/${item.event.sequence_id}`
    : item.kind === 'gap'
      ? `gap ${item.partition}/${item.from}-${item.to}`
      : `read ${[...item.position].map(([partition, next]) => `${partition}/${next}`).join(' ')}`

async function follow(broker: ReturnType<typeof brokerOf>, from: [number, number][], count: number) {
  const stop = new AbortController()
  const items = followStream({
    broker,
    ends: broker.ends,
    read: (record) => decodeEvent('a', record),
    topic: 't',
    filter: { matchesTopic: () => true, key: null, eventType: null, from: null, to: null },
    from: new Map(from),
    clock: { ...systemClock, sleep: async () => await Promise.resolve() },
    signal: stop.signal,
  })
  const seen: string[] = []
  for await (const item of items) {
    seen.push(told(item))
    if (seen.length === count) break
  }
  return seen
}

test('what comes is told once, also of a partition that was not there before', async () => {
  const broker = brokerOf(
    { 0: { low: 0, high: 2 } },
    { 0: { low: 0, high: 2 } },
    { 0: { low: 0, high: 3 }, 1: { low: 0, high: 1 } },
  )
  expect(await follow(broker, [[0, 1]], 5)).toEqual(['0/1', 'read 0/2', '1/0', '0/2', 'read 0/3 1/1'])
})

test('what retention removed before it was read is a gap', async () => {
  const broker = brokerOf({ 0: { low: 5, high: 7 } })
  expect(await follow(broker, [[0, 2]], 4)).toEqual(['gap 0/2-5', '0/5', '0/6', 'read 0/7'])
})

test('a log that was cut or made anew is a gap, and read from its beginning', async () => {
  const broker = brokerOf({ 0: { low: 0, high: 1 } })
  expect(await follow(broker, [[0, 9]], 3)).toEqual(['gap 0/9-0', '0/0', 'read 0/1'])
})

test('what a fetch does not show yet is not passed over', async () => {
  const broker = brokerOf({ 0: { low: 0, high: 3, visibleTo: 1 } }, { 0: { low: 0, high: 3 } })
  expect(await follow(broker, [[0, 0]], 5)).toEqual(['0/0', 'read 0/1', '0/1', '0/2', 'read 0/3'])
})

test('an outage is waited out; a stream that was removed is not', async () => {
  const away = new BrokerError('kafka_no_answer', 'away', { retryable: true })
  expect(await follow(brokerOf(away, { 0: { low: 0, high: 1 } }), [[0, 0]], 1)).toEqual(['0/0'])
  const removed = new BrokerError('unknown_topic', 'removed', { retryable: false })
  await expect(follow(brokerOf(removed), [[0, 0]], 1)).rejects.toBe(removed)
})
