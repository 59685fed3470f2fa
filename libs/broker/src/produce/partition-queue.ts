import { type OutgoingRecord, partitionKey } from '../records.ts'
import { PARTITION_RECORDS_MAX, type ProduceOutcome } from './produce-outcome.ts'
import type { ProducerIdentity } from './produce-sender.ts'

/** One call of `produce`: gathers the outcomes of its records. */
export interface ProduceCall {
  readonly outcomes: (ProduceOutcome | null)[]
  remaining: number
  readonly done: () => void
}

/** One record of a call, until its outcome is known. */
export interface PendingRecord {
  readonly call: ProduceCall
  readonly index: number
  readonly record: OutgoingRecord
  readonly bytes: number
  /** Where it waits; null before its topic is known. */
  queue: PartitionQueue | null
  /** The batch it was sent in; null while it certainly is not in the log. */
  batch: SentBatch | null
}

export function isSettled(pending: PendingRecord): boolean {
  return pending.call.outcomes[pending.index] !== null
}

/**
 * Records of one partition that were sent as one. While its fate is open it stays exactly as it was sent, since the broker
 * recognises a resend by producer id, first sequence number and count.
 */
export interface SentBatch {
  readonly identity: ProducerIdentity
  readonly firstSequence: number
  readonly members: readonly PendingRecord[]
  readonly bytes: number
  /** Milliseconds since 1970: the time of its records on topics with CreateTime. */
  readonly sentAt: number
  /** Some attempt may have reached the log: only an answer for this very batch settles it. */
  maybeWritten: boolean
}

/**
 * What waits to be written to one partition. Invariants:
 * 1. Records leave in the order they came; only a batch known not to be in the log goes back, to the front.
 * 2. At most one batch is out or of open fate; nothing else is sent to the partition until it is settled.
 */
export class PartitionQueue {
  readonly topic: string
  readonly partition: number
  readonly key: string
  batch: SentBatch | null = null
  /** The broker to which a request with `batch` is under way. */
  sendingTo: number | null = null
  /** Not tried again before (ms, monotonic). */
  notBefore = 0
  /** Why the last attempt failed, told to whoever runs out of time. */
  cause: { code: string; message: string } | null = null
  #waiting: PendingRecord[] = []
  #head = 0

  constructor(topic: string, partition: number) {
    this.topic = topic
    this.partition = partition
    this.key = partitionKey(topic, partition)
  }

  /** Nothing to send and nothing open. */
  get idle(): boolean {
    this.#trim()
    return this.batch === null && this.#head === this.#waiting.length
  }

  add(pending: PendingRecord): void {
    pending.queue = this
    this.#waiting.push(pending)
  }

  /** Bytes of the next record that would be taken; null when nothing waits. */
  get nextBytes(): number | null {
    this.#trim()
    return this.#waiting[this.#head]?.bytes ?? null
  }

  /** Takes records from the front: at most 1,000, and not more than `bytesMax` unless the first alone is larger. */
  take(bytesMax: number): PendingRecord[] {
    const taken: PendingRecord[] = []
    let bytes = 0
    for (;;) {
      this.#trim()
      const next = this.#waiting[this.#head]
      if (next === undefined || taken.length >= PARTITION_RECORDS_MAX) break
      if (taken.length > 0 && bytes + next.bytes > bytesMax) break
      this.#head += 1
      bytes += next.bytes
      taken.push(next)
    }
    return taken
  }

  /** Puts back what certainly was not written. */
  putBack(records: readonly PendingRecord[]): void {
    for (const record of records) record.batch = null
    this.#waiting = [...records, ...this.#waiting.slice(this.#head)]
    this.#head = 0
  }

  /** Takes everything that waits. */
  drain(): PendingRecord[] {
    const taken = this.#waiting.slice(this.#head)
    this.#waiting = []
    this.#head = 0
    return taken
  }

  /** What waits from these calls. */
  waitingOf(calls: ReadonlySet<ProduceCall>): PendingRecord[] {
    return this.#waiting.slice(this.#head).filter((pending) => calls.has(pending.call) && !isSettled(pending))
  }

  /** Drops settled records at the front (their callers ran out of time), and the memory they hold. */
  #trim(): void {
    for (
      let next = this.#waiting[this.#head];
      next !== undefined && isSettled(next);
      next = this.#waiting[this.#head]
    ) {
      this.#head += 1
    }
    if (this.#head === this.#waiting.length) {
      this.#waiting = []
      this.#head = 0
    } else if (this.#head > PARTITION_RECORDS_MAX && this.#head * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
  }
}
