import type { IncomingRecord, RangeChunk, ReadRange } from '@headrace/broker'
import { expect, test } from 'vitest'
import { readNewestFirst } from './newest-first.ts'

const record = (offset: number, timestamp: number): IncomingRecord => ({
  offset,
  timestamp,
  key: null,
  value: null,
  headers: {},
  bytes: 0,
})

/** A log of records per partition, handed out in chunks of two. */
function logOf(partitions: Record<number, IncomingRecord[]>) {
  const read: string[] = []
  const marks = { lowWatermark: 0, highWatermark: 1_000 }
  return {
    read,
    async *readRange({ partition, from, to }: ReadRange): AsyncGenerator<RangeChunk, void, undefined> {
      read.push(`${partition}/${from}-${to}`)
      const all = (partitions[partition] ?? []).filter(({ offset }) => offset >= from && offset < Number(to))
      for (let at = 0; at < all.length; at += 2) {
        const records = all.slice(at, at + 2)
        yield { records, nextOffset: records.at(-1)!.offset + 1, end: null, ...marks }
      }
      yield { records: [], nextOffset: Number(to), end: 'reached_to', ...marks }
    },
  }
}

type Spans = [number, { low: number; below: number }][]
const newestFirst = (log: ReturnType<typeof logOf>, spans: Spans) =>
  readNewestFirst({
    broker: log,
    topic: 't',
    spans: new Map(spans),
    keep: (partition, { offset }) => `${partition}/${offset}`,
    signal: new AbortController().signal,
  })

async function all(records: ReturnType<typeof newestFirst>): Promise<string[]> {
  const seen: string[] = []
  for (let next = await records.next(); next !== null; next = await records.next()) seen.push(next)
  return seen
}

const log = () =>
  logOf({
    0: [record(0, 10), record(3, 30), record(120, 31)],
    1: [record(0, 20), record(1, 25), record(2, 31)],
  })
const spans: Spans = [
  [0, { low: 0, below: 121 }],
  [1, { low: 0, below: 2 }],
  [2, { low: 5, below: 5 }],
]

test('the latest comes first, each partition backwards, over stretches that hold nothing', async () => {
  const records = newestFirst(log(), spans)
  expect(await all(records)).toEqual(['0/120', '0/3', '1/1', '1/0', '0/0'])
  expect(records.rest()).toEqual(new Map())
})

test('it goes on where it stopped, and leaves out what is read', async () => {
  const first = newestFirst(log(), spans)
  expect([await first.next(), await first.next()]).toEqual(['0/120', '0/3'])
  const rest = first.rest()
  expect(rest).toEqual(
    new Map([
      [0, 1],
      [1, 2],
    ]),
  )
  const second = newestFirst(
    log(),
    [...rest].map(([partition, below]) => [partition, { low: 0, below }]),
  )
  expect(await all(second)).toEqual(['1/1', '1/0', '0/0'])
})

test('nothing is read twice, and nothing below what is kept', async () => {
  const one = log()
  await all(newestFirst(one, [[0, { low: 3, below: 121 }]]))
  expect(one.read).toEqual(['0/71-121', '0/21-71', '0/3-21'])
})
