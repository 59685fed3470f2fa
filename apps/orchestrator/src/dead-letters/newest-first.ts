import type { Broker, IncomingRecord } from '@headrace/broker'

/**
 * Records of several partitions from their ends backwards. Each partition's own order is kept, backwards; between partitions
 * the latest timestamp goes first, and of equal ones the highest partition.
 */
export interface NewestFirst<Item> {
  /** The next one, or null when all partitions are read to their beginning. Rejects with what kept it from reading. */
  next(): Promise<Item | null>
  /** Per partition the offset below which it goes on; partitions at their beginning are left out. */
  rest(): Map<number, number>
}

export interface NewestFirstOptions<Item> {
  broker: Pick<Broker, 'readRange'>
  topic: string
  /** Per partition the first offset that is kept, and the one to begin below. */
  spans: ReadonlyMap<number, { low: number; below: number }>
  /** What is kept of a record while it waits for its turn; the record, with all its bytes, is let go. */
  keep: (partition: number, record: IncomingRecord) => Item
  signal: AbortSignal
}

/** Kafka reads forwards only: offsets of one step back. */
const STEP_OFFSETS = 50

interface Span<Item> {
  readonly partition: number
  readonly low: number
  /** All from here on was handed out or is in hand, or is not there. */
  readTo: number
  /** The newest last. */
  waiting: { item: Item; offset: number; timestamp: number }[]
}

export function readNewestFirst<Item>(options: NewestFirstOptions<Item>): NewestFirst<Item> {
  const { broker, topic, keep, signal } = options
  const spans = [...options.spans].map(([partition, { low, below }]): Span<Item> => ({
    partition,
    low,
    readTo: Math.max(low, below),
    waiting: [],
  }))

  async function fill(span: Span<Item>): Promise<void> {
    while (span.waiting.length === 0 && span.readTo > span.low) {
      const { partition, readTo: to } = span
      const from = Math.max(span.low, to - STEP_OFFSETS)
      for await (const { records } of broker.readRange({ topic, partition, from, to, signal })) {
        for (const record of records) {
          const { offset, timestamp } = record
          span.waiting.push({ item: keep(partition, record), offset, timestamp })
        }
      }
      span.readTo = from
    }
  }

  return {
    async next() {
      const empty = spans.filter(({ waiting, readTo, low }) => waiting.length === 0 && readTo > low)
      if (empty.length > 0) await Promise.all(empty.map(fill))
      let latest: { span: Span<Item>; timestamp: number } | null = null
      for (const span of spans) {
        const last = span.waiting.at(-1)
        if (last !== undefined && (latest === null || last.timestamp >= latest.timestamp))
          latest = { span, timestamp: last.timestamp }
      }
      return latest?.span.waiting.pop()?.item ?? null
    },
    rest: () =>
      new Map(
        spans.flatMap(({ partition, low, readTo, waiting }) => {
          const last = waiting.at(-1)
          const below = last === undefined ? readTo : last.offset + 1
          return below > low ? [[partition, below] as const] : []
        }),
      ),
  }
}
