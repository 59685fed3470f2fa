import { BrokerError, KAFKA, topicAcl } from './broker-error.ts'
import { offsetsOf } from './offsets.ts'
import type { IncomingRecord } from './records.ts'
import type { Cluster } from './wire/cluster.ts'
import { type FetchedPartition, fetchPartitions } from './wire/fetch.ts'
import { failOn, topicView, withLeaders } from './wire/partition-leader.ts'

/** Most bytes of one fetch of a range by default: 1 MiB, as a consumer's partition. */
const CHUNK_BYTES_MAX = 1024 * 1024

export interface ReadRange {
  topic: string
  partition: number
  /** First offset of interest. */
  from: number | bigint
  /** The offset to stop before; null: the log's end as it is when reached. */
  to: number | bigint | null
  /** Most bytes of one fetch, so of one chunk. Default 1 MiB. A larger single batch still comes whole. */
  maxBytes?: number
  signal?: AbortSignal
}

/** The records of `[…, nextOffset)` since the chunk before. Only the last chunk has an `end`. */
export interface RangeChunk {
  readonly records: readonly IncomingRecord[]
  readonly nextOffset: number
  /**
   * `reached_to`: all below `to` was read. `log_end`: a fetch at `nextOffset` showed nothing. `out_of_range`: `nextOffset`
   * is below the log (retention) or beyond it (recreated, cut); compare with the marks.
   */
  readonly end: null | 'reached_to' | 'log_end' | 'out_of_range'
  readonly lowWatermark: number
  readonly highWatermark: number
}

/**
 * Reads committed records of one partition without a consumer group. Offsets missing from the chunks were compacted,
 * aborted or control records. Waits for no new records. Moving leaders and restarting brokers are waited for (5 s).
 * @throws {BrokerError} `unknown_topic`, `unknown_partition`, `unreadable_batch`, or what kept it from reading.
 */
export async function* readRange(
  cluster: Cluster,
  range: ReadRange,
): AsyncGenerator<RangeChunk, void, undefined> {
  const { topic, partition, signal } = range
  const to = range.to === null ? Number.POSITIVE_INFINITY : Number(range.to)
  let position = Number(range.from)
  let known = { lowWatermark: -1, highWatermark: -1 }
  const reader = new PartitionReader(cluster, range)
  while (position < to) {
    signal?.throwIfAborted()
    const fetched = await withLeaders(
      async () => await reader.fetch(position, range.maxBytes ?? CHUNK_BYTES_MAX),
      signal,
    )
    known = { lowWatermark: fetched.lowWatermark, highWatermark: fetched.highWatermark }
    if (fetched.errorCode === KAFKA.offsetOutOfRange) {
      const marks = (await offsetsOf(cluster, topic, signal)).get(partition)
      known = { lowWatermark: marks?.low ?? -1, highWatermark: marks?.high ?? -1 }
      yield { records: [], nextOffset: position, end: 'out_of_range', ...known }
      return
    }
    const nextOffset = Math.min(fetched.nextOffset, to)
    if (fetched.nextOffset === position) {
      if (fetched.fault !== null) throw unreadable(topic, partition, fetched.fault)
      yield { records: [], nextOffset, end: 'log_end', ...known }
      return
    }
    const records = fetched.records.filter(({ offset }) => offset < to)
    position = nextOffset
    yield { records, nextOffset, end: position >= to ? 'reached_to' : null, ...known }
    if (position >= to) return
  }
  yield { records: [], nextOffset: position, end: 'reached_to', ...known }
}

/** Fetches from the partition's leader, which it asks for once and again after a failure. */
class PartitionReader {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #partition: number
  #leader: number | null = null

  constructor(cluster: Cluster, { topic, partition }: { topic: string; partition: number }) {
    this.#cluster = cluster
    this.#topic = topic
    this.#partition = partition
  }

  async fetch(offset: number, maxBytes: number): Promise<FetchedPartition> {
    const topic = this.#topic
    const partition = this.#partition
    const leader = this.#leader ?? (await this.#findLeader())
    // Until it has answered well the leader counts as unknown.
    this.#leader = null
    const [fetched] = await fetchPartitions(this.#cluster.linkTo(leader), [{ topic, partition, offset }], {
      maxWaitMs: 0,
      maxBytes,
      maxBytesPerPartition: maxBytes,
    })
    if (fetched === undefined) {
      throw new BrokerError('kafka_no_answer', `the answer left out ${topic}/${partition}`, {
        retryable: true,
      })
    }
    if (fetched.errorCode !== KAFKA.offsetOutOfRange)
      failOn(fetched.errorCode, `reading ${topic}/${partition}`, topicAcl('Read', topic))
    this.#leader = leader
    return fetched
  }

  async #findLeader(): Promise<number> {
    const topic = this.#topic
    const partition = this.#partition
    const leader = (await topicView(this.#cluster, topic)).leaders[partition]
    if (leader === undefined) {
      throw new BrokerError('unknown_partition', `topic ${topic} has no partition ${partition}`, {
        retryable: false,
      })
    }
    if (leader === null) {
      throw new BrokerError('leader_not_available', `${topic}/${partition} has no leader now`, {
        retryable: true,
      })
    }
    return leader
  }
}

function unreadable(
  topic: string,
  partition: number,
  fault: { offset: number; message: string },
): BrokerError {
  return new BrokerError(
    'unreadable_batch',
    `${topic}/${partition} at ${fault.offset} cannot be decoded: ${fault.message}`,
    { retryable: false },
  )
}
