import type { OutgoingRecord } from '../records.ts'

/** The fate of one record. */
export type ProduceOutcome =
  | {
      readonly status: 'written'
      readonly partition: number
      readonly offset: number
      /** Milliseconds since 1970, the broker's clock (LogAppendTime). On a topic with CreateTime: when it was sent. */
      readonly timestamp: number
    }
  /** Certainly not in the log. */
  | {
      readonly status: 'refused'
      readonly code: string
      readonly message: string
      readonly retryable: boolean
    }
  /** May be in the log, now or a little later. */
  | { readonly status: 'unknown'; readonly code: string; readonly message: string }

export interface CoalescingProducer {
  /**
   * Writes records with acks=all and tells the fate of each, in their order. Never rejects for Kafka's sake; every answer
   * comes within the deadline. Records of one call for one partition are written in their order: once one of them is not
   * written, the later ones are not attempted (`refused`, `not_attempted`).
   *
   * Codes of `refused`: `unknown_topic`, `unknown_partition`, `record_too_large`, `not_attempted`, `kafka_unreachable`,
   * `leader_not_available`, `deadline_exceeded`, `producer_closed`, or Kafka's own error in lower case.
   */
  produce(records: readonly OutgoingRecord[], options?: { deadlineMs?: number }): Promise<ProduceOutcome[]>
  /** Records and bytes accepted and not answered yet. Memory is bounded by whoever calls: admit by these. */
  readonly inFlight: { readonly records: number; readonly bytes: number }
  /** Waits until all is answered (each has its deadline), then closes. May be called twice. */
  close(): Promise<void>
}

export interface ProducerOptions {
  /** Said whenever the producer's identity (its sequence numbers) was thrown away because a send's fate stayed unknown. */
  onProducerRecreated?: (reason: string) => void
}

/** Most records of one partition in one request: kafkajs's encoding and Kafka's sequence numbers are both per batch. */
export const PARTITION_RECORDS_MAX = 1_000
/** Most bytes in one request, so that it passes brokers with Kafka's default limit (1 MiB). A larger record goes alone. */
export const REQUEST_BYTES_MAX = 900_000
/** Largest record: `max.message.bytes` of our topics (2 MiB) less what a batch adds. */
export const RECORD_BYTES_MAX = 2 * 1024 * 1024 - 1_024
/** The longest that a caller waits by default (ms). */
export const DEADLINE_MS = 5_000

/** What Kafka's numeric answer for one partition means for the records sent to it. */
export type Verdict =
  | 'written'
  /** Refused for good, before anything was appended. */
  | 'refused'
  /** Refused before anything was appended; the same batch may pass later. */
  | 'again'
  /** May have been appended: the same batch, with the same sequence numbers, finds out. */
  | 'uncertain'
  /** The broker's memory of our sequence numbers is not ours: refused, and a new identity is needed. */
  | 'identity'

const refused = new Set([
  2, // corrupt_message
  10, // message_too_large
  17, // invalid_topic_exception
  18, // record_list_too_large
  21, // invalid_required_acks
  29, // topic_authorization_failed
  31, // cluster_authorization_failed
  32, // invalid_timestamp
  33, // unsupported_sasl_mechanism
  35, // unsupported_version
  43, // unsupported_for_message_format
  44, // policy_violation
  53, // transactional_id_authorization_failed
  87, // invalid_record
])
const again = new Set([
  3, // unknown_topic_or_partition: the broker knows of no such partition, so there is no log it could be in
  5, // leader_not_available
  19, // not_enough_replicas: checked before the append
])
const identity = new Set([
  45, // out_of_order_sequence_number
  47, // invalid_producer_epoch
  59, // unknown_producer_id
  90, // producer_fenced
])

/**
 * `not_leader_or_follower` is *not* a certain refusal under acks=all: a leader that appended, and lost its leadership
 * while it waited for the replicas, answers with it too (DelayedProduce, case A). Whatever is not listed is uncertain.
 */
export function verdictOf(errorCode: number): Verdict {
  if (errorCode === 0) return 'written'
  if (refused.has(errorCode)) return 'refused'
  if (again.has(errorCode)) return 'again'
  if (identity.has(errorCode)) return 'identity'
  return 'uncertain'
}

/** An upper bound of a record's bytes in a batch: its parts, 10 bytes of lengths a header, 32 for the rest. */
export function recordBytes(record: Pick<OutgoingRecord, 'key' | 'value' | 'headers'>): number {
  let bytes = 32 + lengthOf(record.key) + lengthOf(record.value)
  for (const name in record.headers) {
    bytes += 10 + Buffer.byteLength(name) + lengthOf(record.headers[name] ?? null)
  }
  return bytes
}

function lengthOf(part: Buffer | string | null): number {
  return part === null ? 0 : Buffer.byteLength(part)
}
