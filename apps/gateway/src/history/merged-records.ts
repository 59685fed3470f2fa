import type { Broker, IncomingRecord, RangeChunk } from '@headrace/broker'

/** A stretch of one partition that is being read. */
interface Span {
  readonly partition: number
  readonly end: number
  /** Everything below was handed out, or is not there. */
  next: number
  records: readonly IncomingRecord[]
  index: number
  /** Null once the end is reached. */
  chunks: AsyncGenerator<RangeChunk, void, undefined> | null
}

interface MergedRecord {
  partition: number
  record: IncomingRecord
}

/**
 * Records of several partitions in the order of their time. Each partition's own order is kept; between partitions the
 * earliest timestamp goes first, and of equal ones the lowest partition.
 */
export interface MergedRecords {
  /** The next record, or null at the end of all. Rejects with what kept it from reading. */
  next(): Promise<MergedRecord | null>
  /** What is left to read, per partition; partitions at their end are left out. */
  rest(): Map<number, { next: number; end: number }>
}

export interface MergeOptions {
  broker: Pick<Broker, 'readRange'>
  topic: string
  spans: ReadonlyMap<number, { next: number; end: number }>
  signal: AbortSignal
  /** Told of events that retention removed before they were read; what comes next lies behind them. */
  onGap?: (gap: { partition: number; from: number; to: number }) => void
}

/** Bytes fetched ahead over all partitions; each gets its share, and at least 64 KiB. */
const AHEAD_BYTES = 4 * 1024 * 1024
const CHUNK_BYTES_LEAST = 64 * 1024

export function mergeRecords({ broker, topic, spans, signal, onGap }: MergeOptions): MergedRecords {
  const maxBytes = Math.max(CHUNK_BYTES_LEAST, Math.floor(AHEAD_BYTES / Math.max(1, spans.size)))
  const read = (partition: number, from: number, to: number): Span['chunks'] =>
    from < to ? broker.readRange({ topic, partition, from, to, maxBytes, signal }) : null
  const all = [...spans].map(([partition, { next, end }]): Span => ({
    partition,
    next,
    end,
    records: [],
    index: 0,
    chunks: read(partition, next, end),
  }))

  /** Reads on until a record is in hand or the span is at its end. */
  async function fill(span: Span): Promise<void> {
    while (isEmpty(span) && span.chunks !== null) {
      const { value: chunk, done } = await span.chunks.next()
      if (done === true) {
        finish(span)
        return
      }
      span.records = chunk.records
      span.index = 0
      if (chunk.end === 'out_of_range') resume(span, chunk)
      else if (chunk.records.length === 0) {
        if (chunk.end === null) span.next = chunk.nextOffset
        else if (chunk.end === 'reached_to') finish(span)
        // Nothing can be seen here now; that is no proof that nothing ever will.
        else span.chunks = null
      } else if (chunk.end !== null) span.chunks = null
    }
  }

  /** Retention has passed the position: what is left begins at the low mark. Beyond the log there is nothing. */
  function resume(span: Span, { lowWatermark }: RangeChunk): void {
    const { partition, next: from, end } = span
    if (lowWatermark > from) onGap?.({ partition, from, to: Math.min(lowWatermark, end) })
    if (lowWatermark <= span.next || lowWatermark >= span.end) {
      finish(span)
      return
    }
    span.next = lowWatermark
    span.chunks = read(span.partition, lowWatermark, span.end)
  }

  return {
    async next() {
      // Almost always every span has a record in hand, and nothing is awaited.
      if (all.some(isEmpty)) await Promise.all(all.map(fill))
      let first: { span: Span; record: IncomingRecord } | null = null
      for (const candidate of all) {
        const record = candidate.records[candidate.index]
        if (record !== undefined && (first === null || record.timestamp < first.record.timestamp))
          first = { span: candidate, record }
      }
      if (first === null) return null
      const { span, record } = first
      span.index += 1
      span.next = record.offset + 1
      // The last record of the last chunk: what lies behind it up to the end is not there.
      if (span.index >= span.records.length && span.chunks === null) finish(span)
      return { partition: span.partition, record }
    },
    rest: () =>
      new Map(
        all
          .filter(({ next, end }) => next < end)
          .map(({ partition, next, end }) => [partition, { next, end }]),
      ),
  }
}

const isEmpty = ({ index, records, chunks }: Span): boolean => index >= records.length && chunks !== null

function finish(span: Span): void {
  span.next = span.end
  span.chunks = null
}
