import type { IncomingRecord, RangeChunk, ReadRange } from '@headrace/broker'
import { decodeEvent } from '@headrace/core'
import { describe, expect, test } from 'vitest'
import { mergeRecords } from './merged-records.ts'
import { PAGE_BYTES_MAX, SCAN_MS_MAX, SCAN_RECORDS_MAX, scanHistory } from './scan-history.ts'

const record = (offset: number, timestamp: number): IncomingRecord => ({
  offset,
  timestamp,
  key: null,
  value: Buffer.from('1'),
  headers: { ce_id: Buffer.from(`e${offset}`), ce_subject: Buffer.from('a/b') },
  bytes: 1,
})
const marks = { lowWatermark: 0, highWatermark: 100 }

/** A log of records per partition, handed out in chunks of two. */
function logOf(partitions: Record<number, IncomingRecord[]>, low = 0) {
  return {
    async *readRange({ partition, from, to }: ReadRange): AsyncGenerator<RangeChunk, void, undefined> {
      if (Number(from) < low) {
        yield {
          records: [],
          nextOffset: Number(from),
          end: 'out_of_range',
          lowWatermark: low,
          highWatermark: 100,
        }
        return
      }
      const all = (partitions[partition] ?? []).filter(
        ({ offset }) => offset >= Number(from) && offset < Number(to),
      )
      for (let at = 0; at < all.length; at += 2) {
        const records = all.slice(at, at + 2)
        yield { records, nextOffset: records.at(-1)!.offset + 1, end: null, ...marks }
      }
      yield { records: [], nextOffset: Number(to), end: 'reached_to', ...marks }
    },
  }
}

const merge = (log: ReturnType<typeof logOf>, spans: [number, { next: number; end: number }][]) =>
  mergeRecords({ broker: log, topic: 't', spans: new Map(spans), signal: new AbortController().signal })

describe('records of several partitions', () => {
  test('come in the order of their time, each partition in its own order', async () => {
    const log = logOf({ 0: [record(0, 10), record(3, 30), record(4, 31)], 1: [record(0, 20), record(1, 25)] })
    const records = merge(log, [
      [0, { next: 0, end: 10 }],
      [1, { next: 0, end: 2 }],
      [2, { next: 5, end: 5 }],
    ])
    const seen: string[] = []
    for (let next = await records.next(); next !== null; next = await records.next())
      seen.push(`${next.partition}/${next.record.offset}`)
    expect(seen).toEqual(['0/0', '1/0', '1/1', '0/3', '0/4'])
    expect(records.rest()).toEqual(new Map())
  })

  test('go on where they stopped', async () => {
    const log = logOf({ 0: [record(0, 10), record(1, 30)], 1: [record(0, 20)] })
    const records = merge(log, [
      [0, { next: 0, end: 2 }],
      [1, { next: 0, end: 1 }],
    ])
    await records.next()
    expect(records.rest()).toEqual(
      new Map([
        [0, { next: 1, end: 2 }],
        [1, { next: 0, end: 1 }],
      ]),
    )
  })

  test('whose beginning was removed meanwhile begin at what is left', async () => {
    const records = merge(logOf({ 0: [record(5, 10)] }, 4), [[0, { next: 0, end: 6 }]])
    expect((await records.next())?.record.offset).toBe(5)
    expect(await records.next()).toBeNull()
  })
})

describe('a scan of history', () => {
  const everything = { matchesTopic: () => true, key: null, eventType: null, from: null, to: null }
  const endless = (made: { count: number }) => ({
    next: async () => await Promise.resolve({ partition: 0, record: record(made.count++, 0) }),
    rest: () => new Map([[0, { next: made.count, end: Number.MAX_SAFE_INTEGER }]]),
  })

  test('ends its page at the limit of records when nothing matches', async () => {
    const page = await scanHistory({
      read: (record) => decodeEvent('a', record),
      records: endless({ count: 0 }),
      filter: { ...everything, matchesTopic: () => false },
      limit: 10,
      monotonic: () => 0,
    })
    expect(page).toEqual({ events: [], scanned: SCAN_RECORDS_MAX, unreadable: 0, atEnd: false })
  })

  test('ends its page at the limit of time, but never without having read something', async () => {
    let now = 0
    const page = await scanHistory({
      read: (record) => decodeEvent('a', record),
      records: endless({ count: 0 }),
      filter: everything,
      limit: 10,
      monotonic: () => (now += SCAN_MS_MAX + 1),
    })
    expect(page).toMatchObject({ scanned: 1, atEnd: false })
  })

  test('ends its page at the limit of bytes, so that large events are not held by the hundred', async () => {
    const large = { ...record(0, 0), bytes: PAGE_BYTES_MAX / 4 }
    const records = {
      ...endless({ count: 0 }),
      next: async () => await Promise.resolve({ partition: 0, record: large }),
    }
    const page = await scanHistory({
      read: (record) => decodeEvent('a', record),
      records,
      filter: everything,
      limit: 200,
      monotonic: () => 0,
    })
    expect(page.events.length).toBe(4)
    expect(page.atEnd).toBe(false)
  })

  test('counts what the bytes of a frame stand for', async () => {
    const data = 'x'.repeat(PAGE_BYTES_MAX / 2)
    const framed = (offset: number) => ({ ...record(offset, offset), value: Buffer.from([0, 0, 0, 0, 1]) })
    const page = await scanHistory({
      read: (one) => decodeEvent('a', one, () => ({ kind: 'data', data })),
      records: merge(logOf({ 0: [0, 1, 2, 3].map(framed) }), [[0, { next: 0, end: 10 }]]),
      filter: everything,
      limit: 100,
      monotonic: () => 0,
    })
    expect(page.events).toHaveLength(2)
  })

  test('passes over what is no event and counts it', async () => {
    const bad = { ...record(1, 0), value: Buffer.from('{') }
    const records = merge(logOf({ 0: [record(0, 0), bad, record(2, 0)] }), [[0, { next: 0, end: 3 }]])
    const page = await scanHistory({
      read: (record) => decodeEvent('a', record),
      records,
      filter: everything,
      limit: 10,
      monotonic: () => 0,
    })
    expect(page.events.map(({ id }) => id)).toEqual(['e0', 'e2'])
    expect(page).toMatchObject({ scanned: 3, unreadable: 1, atEnd: true })
  })
})
