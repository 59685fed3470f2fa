/**
 * A record as read. Offsets are plain numbers, here and everywhere in this library: exact up to 2^53, which a partition
 * written to a million times a second reaches after 285 years; they are converted once, where bytes are read or written.
 */
export interface IncomingRecord {
  readonly offset: number
  /** Milliseconds since 1970: the broker's clock on our topics (LogAppendTime), the sender's on some others. */
  readonly timestamp: number
  readonly key: Buffer | null
  /** Null is a tombstone. */
  readonly value: Buffer | null
  /** Of a header that was given twice, the last value, as Java's `lastHeader`. */
  readonly headers: Readonly<Record<string, Buffer>>
  /** Bytes of key, value and headers: what to count when memory is bounded. */
  readonly bytes: number
}

/**
 * What one fetch showed of one partition: every record that exists in `[fetchedOffset, nextOffset)` and can be seen by a
 * reader of committed data is in `records`. Offsets that are missing were compacted, aborted or control records: there is
 * nothing to prove and nothing to ask again.
 */
export interface IncomingBatch {
  readonly topic: string
  readonly partition: number
  /** The position that was asked for. */
  readonly fetchedOffset: number
  /** Where the next fetch begins. Greater than `fetchedOffset`, also when `records` is empty. */
  readonly nextOffset: number
  readonly records: readonly IncomingRecord[]
  /** The log's end for writers. A reader of committed data may not get there (an open transaction), so never compare a position with it. */
  readonly highWatermark: number
  /** The oldest offset still kept. */
  readonly lowWatermark: number
  /** Milliseconds since 1970, this process's clock, when the answer came. */
  readonly fetchedAt: number
}

/** A record to write. */
export interface OutgoingRecord {
  topic: string
  /** Null: by key, as Java's default partitioner; with no key either, partitions in turn. */
  partition: number | null
  key: Buffer | string | null
  value: Buffer | string | null
  headers: Readonly<Record<string, string | Buffer>>
}

export interface TopicPartitions {
  readonly topic: string
  readonly partitions: readonly number[]
}

/** The name of one partition in maps: `topic/partition`. Kafka topic names hold no slash. */
export function partitionKey(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
