import { type IncomingRecord, partitionKey } from '../records.ts'
import type { Link } from './link.ts'
import { type AbortedTransaction, decodeStretch } from './record-batches.ts'

/** The version of Kafka's fetch answer that is decoded here: offered by every broker since 2.3, 4.x included. */
const FETCH_VERSION = 11
const READ_COMMITTED = 1

export interface FetchPosition {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

export interface FetchLimits {
  /** How long the broker waits for the first byte (ms). */
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly maxBytesPerPartition: number
}

/** What a fetch showed of one partition. */
export interface FetchedPartition {
  readonly topic: string
  readonly partition: number
  /** The position asked for. */
  readonly fetchedOffset: number
  /** Kafka's error for this partition; 0 = none. The others of the same answer are not touched by it. */
  readonly errorCode: number
  readonly highWatermark: number
  /** Below it nothing is undecided; -1 when the broker does not say. */
  readonly lastStableOffset: number
  readonly lowWatermark: number
  readonly records: readonly IncomingRecord[]
  readonly nextOffset: number
  /** Bytes that came for this partition, visible or not. */
  readonly bytes: number
  readonly fault: { readonly offset: number; readonly nextOffset: number; readonly message: string } | null
}

interface RawPartition {
  readonly topic: string
  readonly partition: number
  readonly errorCode: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly lowWatermark: number
  readonly aborted: readonly AbortedTransaction[]
  readonly bytes: Buffer
}

/**
 * Fetches several partitions of one broker, each with its own result, in the order asked for.
 *
 * kafkajs's fetch belongs to its consumer: it cannot read without a group, throws the first partition's error for all,
 * and gives no batch when nothing in it can be seen. This one uses its encoding and sends it on a link.
 */
export async function fetchPartitions(
  link: Link,
  positions: readonly FetchPosition[],
  limits: FetchLimits,
): Promise<FetchedPartition[]> {
  const raw = await link.request<RawPartition[]>(
    'Fetch',
    {
      maxWaitTime: limits.maxWaitMs,
      minBytes: 1,
      maxBytes: limits.maxBytes,
      isolationLevel: READ_COMMITTED,
      topics: positions.map(({ topic, partition, offset }) => ({
        topic,
        partitions: [{ partition, fetchOffset: offset, maxBytes: limits.maxBytesPerPartition }],
      })),
    },
    { version: FETCH_VERSION, raw: true, decode: (payload) => Promise.resolve(decodeFetch(payload)) },
  )
  const askedFor = new Map(
    positions.map((position) => [partitionKey(position.topic, position.partition), position]),
  )
  const fetched: FetchedPartition[] = []
  for (const answer of raw) {
    const asked = askedFor.get(partitionKey(answer.topic, answer.partition))
    if (asked === undefined) continue
    const stretch = await decodeStretch(answer.bytes, asked.offset, answer.aborted)
    const { topic, partition, errorCode, highWatermark, lastStableOffset, lowWatermark, bytes } = answer
    fetched.push({
      topic,
      partition,
      fetchedOffset: asked.offset,
      errorCode,
      highWatermark,
      lastStableOffset,
      lowWatermark,
      bytes: bytes.length,
      ...stretch,
    })
  }
  return fetched
}

/** Reads Kafka's big-endian primitives one after the other. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  int16(): number {
    this.#at += 2
    return this.#bytes.readInt16BE(this.#at - 2)
  }

  int32(): number {
    this.#at += 4
    return this.#bytes.readInt32BE(this.#at - 4)
  }

  int64(): bigint {
    this.#at += 8
    return this.#bytes.readBigInt64BE(this.#at - 8)
  }

  bytes(length: number): Buffer {
    if (length <= 0) return Buffer.alloc(0)
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, read)
  }
}

/** Fetch answer, version 11: throttle_time error_code session_id [topic [partition …]]. */
function decodeFetch(payload: Buffer): RawPartition[] {
  const reader = new Reader(payload)
  reader.int32()
  reader.int16()
  reader.int32()
  const topics = reader.list(() => {
    const topic = reader.bytes(reader.int16()).toString()
    return reader.list(() => readPartition(reader, topic))
  })
  return topics.flat()
}

function readPartition(reader: Reader, topic: string): RawPartition {
  const partition = reader.int32()
  const errorCode = reader.int16()
  const highWatermark = Number(reader.int64())
  const lastStableOffset = Number(reader.int64())
  const lowWatermark = Number(reader.int64())
  const aborted = reader.list(() => ({ producerId: reader.int64(), firstOffset: Number(reader.int64()) }))
  reader.int32() // preferred read replica: followers are not read from
  const bytes = reader.bytes(reader.int32())
  return { topic, partition, errorCode, highWatermark, lastStableOffset, lowWatermark, aborted, bytes }
}
