import type { IncomingBatch, IncomingRecord, RangeChunk, ReadRange } from '@headrace/broker'
import { encodeEvent } from '@headrace/core'
import type { Json } from '@headrace/schemas'

interface LoggedEvent {
  topic?: string
  timestamp?: number
  data?: Json
  key?: string | null
  /** An id that came from outside; else one of its own, unmarked. */
  id?: string
  /** Offsets left out before it. */
  hole?: number
}

/** One partition of the stream `orders` in memory. Offsets may have holes, as after compaction. */
export class PartitionLog {
  readonly topic = 'test.events.orders'
  readonly partition: number
  readonly records: IncomingRecord[] = []
  low = 0
  high = 0
  /** Its marks are not told. */
  leaderless = false
  /** Records of one fetch of a range. */
  chunkRecords = Number.POSITIVE_INFINITY
  /** Told when the marks are asked for, before they are taken. */
  onOffsets: () => void = () => undefined

  constructor(partition = 0) {
    this.partition = partition
  }

  /** Appends an event; `data` is what it carries. Returns its offset. */
  append({
    topic = 'orders/created',
    timestamp = 0,
    data = null,
    key = null,
    hole = 0,
    id,
  }: LoggedEvent = {}): number {
    const event = encodeEvent({
      id: id ?? `e${this.high}`,
      source: 'test',
      topic,
      eventType: null,
      data,
      key,
      time: timestamp,
      traceparent: null,
      dedup: id !== undefined,
    })
    const headers = Object.fromEntries(
      Object.entries(event.headers).map(([name, value]) => [name, Buffer.from(value)]),
    )
    return this.#add({
      timestamp,
      hole,
      value: Buffer.from(event.value),
      key: Buffer.from(event.key),
      headers,
    })
  }

  /** Appends a record that is no event. */
  appendGarbage({ timestamp = 0 } = {}): number {
    return this.#add({ timestamp, hole: 0, value: Buffer.from([0xff, 0x00]), key: null, headers: {} })
  }

  #add(record: Pick<IncomingRecord, 'timestamp' | 'value' | 'key' | 'headers'> & { hole: number }): number {
    const offset = this.high + record.hole
    const { timestamp, value, key, headers } = record
    this.records.push({ offset, timestamp, value, key, headers, bytes: (value?.length ?? 0) + 100 })
    this.high = offset + 1
    return offset
  }

  /** What a fetch at `position` of at most `count` records shows; null at the head. */
  fetch(position: number, count: number): IncomingBatch | null {
    if (position >= this.high) return null
    const records = this.records.filter(({ offset }) => offset >= position).slice(0, count)
    return {
      topic: this.topic,
      partition: this.partition,
      fetchedOffset: position,
      nextOffset: (records.at(-1)?.offset ?? this.high - 1) + 1,
      records,
      highWatermark: this.high,
      lowWatermark: this.low,
      fetchedAt: 0,
    }
  }

  async *readRange({ from, to }: ReadRange): AsyncGenerator<RangeChunk, void, undefined> {
    await Promise.resolve()
    const marks = { lowWatermark: this.low, highWatermark: this.high }
    const start = Number(from)
    const end = Math.min(Number(to ?? this.high), this.high)
    if (start < this.low || start > this.high) {
      yield { records: [], nextOffset: start, end: 'out_of_range', ...marks }
      return
    }
    const records = this.records.filter(({ offset }) => offset >= start && offset < end)
    const chunk = records.slice(0, this.chunkRecords)
    if (chunk.length < records.length) {
      yield { records: chunk, nextOffset: (chunk.at(-1)?.offset ?? 0) + 1, end: null, ...marks }
      return
    }
    yield { records, nextOffset: end, end: end < Number(to) ? 'log_end' : 'reached_to', ...marks }
  }

  offsetsForTime(_topic: string, timestampMs: number): Promise<Map<number, number | null>> {
    const first = this.records.find(({ timestamp }) => timestamp >= timestampMs)
    return Promise.resolve(new Map([[this.partition, first?.offset ?? null]]))
  }

  offsets(): Promise<Map<number, { low: number; high: number }>> {
    this.onOffsets()
    if (this.leaderless) return Promise.resolve(new Map())
    return Promise.resolve(new Map([[this.partition, { low: this.low, high: this.high }]]))
  }
}
