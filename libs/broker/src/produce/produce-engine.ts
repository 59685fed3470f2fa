import type { BrokerLogger } from '../broker-config.ts'
import { codeOf, faultMessage, kafkaFault, messageOf, topicAcl } from '../broker-error.ts'
import { partitionKey } from '../records.ts'
import type { TopicCache } from '../wire/topic-cache.ts'
import { isSettled, PartitionQueue, type PendingRecord, type SentBatch } from './partition-queue.ts'
import {
  type ProduceOutcome,
  REQUEST_BYTES_MAX,
  PARTITION_RECORDS_MAX,
  verdictOf,
} from './produce-outcome.ts'
import type {
  PartitionAnswer,
  PartitionBatch,
  ProducerIdentity,
  ProduceSender,
  SendReport,
} from './produce-sender.ts'

/** Pause before a failed batch is tried again (ms): a leader's election takes some 100 ms. */
const RETRY_MS = 100
/** Sequence numbers are 32 bits; an identity is replaced before they run out. */
const SEQUENCE_MAX = 2 ** 31 - 1 - PARTITION_RECORDS_MAX

interface Cause {
  readonly code: string
  readonly message: string
}

export interface EngineParts {
  readonly sender: ProduceSender
  readonly topics: TopicCache
  readonly logger: BrokerLogger
  readonly settle: (pending: PendingRecord, outcome: ProduceOutcome) => void
  readonly onProducerRecreated: (reason: string) => void
}

/**
 * Sends what waits in the partitions' queues: to each leader one request at a time, with whatever gathered meanwhile.
 *
 * Why not kafkajs's producer. (1) With concurrent sends it takes sequence numbers when a send starts and gives them back
 * when it fails, out of order: after one lost response a later record carries a number the broker has seen, is taken for
 * a repeat, and is reported written. (2) It resends by itself with new content under such numbers. (3) A send over two
 * leaders can resolve without a record whose leader moved. (4) It groups records in quadratic time. So requests are
 * encoded by kafkajs and numbered here:
 *
 * - A batch keeps its identity, sequence number and content until its fate is known, and it is alone on its partition
 *   meanwhile. A resend of it is recognised by the broker, which answers with the offsets of the first: a lost answer or a
 *   moved leader becomes `written`, neither a loss nor a second copy.
 * - A partition missing in the answer counts as no answer.
 * - Where the fate stays open at the deadline the answer is `unknown` and the identity is thrown away: its numbers can no
 *   longer be known.
 */
export class ProduceEngine {
  readonly #parts: EngineParts
  readonly #queues = new Map<string, PartitionQueue>()
  readonly #busy = new Set<number>()
  #identity: ProducerIdentity | null = null
  #identifying = false
  #wanted = false
  #pumping = false
  #closed = false
  #retry: NodeJS.Timeout | null = null

  constructor(parts: EngineParts) {
    this.#parts = parts
  }

  /** Queues a record of a known topic; `wake` sends. */
  add(topic: string, partition: number, pending: PendingRecord): void {
    const key = partitionKey(topic, partition)
    let queue = this.#queues.get(key)
    if (queue === undefined) {
      queue = new PartitionQueue(topic, partition)
      this.#queues.set(key, queue)
    }
    queue.add(pending)
    // Behind a request under way it is found when that one ends: no scan for each call.
    const leader = this.#leaderOf(queue)
    if (leader === null || !this.#busy.has(leader)) this.#wanted = true
  }

  /** Sends at the end of this tick, so that calls made in one tick share a request. */
  wake(): void {
    if (!this.#wanted || this.#pumping) return
    this.#pumping = true
    queueMicrotask(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  /** Answers whoever is still open among these: `unknown` where an attempt may have reached the log, else `refused`. */
  outOfTime(pending: readonly PendingRecord[]): void {
    const touched = new Set<PartitionQueue>()
    for (const item of pending) {
      if (isSettled(item)) continue
      const { queue, batch } = item
      const { code, message } = queue?.cause ?? {
        code: 'deadline_exceeded',
        message: 'Kafka did not take it within the deadline',
      }
      if (queue !== null && batch !== null && (queue.sendingTo !== null || batch.maybeWritten)) {
        touched.add(queue)
        this.#parts.settle(item, { status: 'unknown', code, message })
      } else {
        this.#parts.settle(item, { status: 'refused', code, message, retryable: true })
      }
    }
    for (const queue of touched) this.#abandonIfForgotten(queue)
    this.#pumpSoon()
  }

  close(): void {
    this.#closed = true
    if (this.#retry !== null) clearTimeout(this.#retry)
  }

  #leaderOf({ topic, partition }: PartitionQueue): number | null {
    return this.#parts.topics.get(topic)?.leaders[partition] ?? null
  }

  #pumpSoon(): void {
    this.#wanted = true
    this.wake()
  }

  #pump(): void {
    this.#wanted = false
    if (this.#closed) return
    const now = performance.now()
    const byLeader = new Map<number, PartitionQueue[]>()
    const leaderless = new Set<string>()
    for (const queue of this.#queues.values()) {
      if (queue.idle) {
        this.#queues.delete(queue.key)
        continue
      }
      if (queue.sendingTo !== null || queue.notBefore > now) continue
      const leader = this.#leaderOf(queue)
      if (leader === null) {
        if (!this.#isGone(queue)) {
          this.#wait(queue, { code: 'leader_not_available', message: `${queue.key} has no leader now` })
          leaderless.add(queue.topic)
        }
      } else if (!this.#busy.has(leader)) {
        const together = byLeader.get(leader)
        if (together === undefined) byLeader.set(leader, [queue])
        else together.push(queue)
      }
    }
    if (leaderless.size > 0) this.#refresh(leaderless)
    for (const [leader, queues] of byLeader) this.#startSend(leader, queues)
  }

  /** A topic that was deleted under way: nothing more can be written to it. */
  #isGone(queue: PartitionQueue): boolean {
    const view = this.#parts.topics.last(queue.topic)
    if (view?.status !== 'failed' || view.code !== 'unknown_topic_or_partition') return false
    const message = `there is no Kafka topic ${queue.topic}`
    const { batch } = queue
    if (batch !== null) {
      for (const item of batch.members) {
        this.#parts.settle(item, { status: 'unknown', code: 'unknown_topic', message })
      }
      this.#abandonIfForgotten(queue)
    }
    for (const item of queue.drain()) {
      this.#parts.settle(item, { status: 'refused', code: 'unknown_topic', message, retryable: false })
    }
    this.#queues.delete(queue.key)
    return true
  }

  #startSend(leader: number, queues: readonly PartitionQueue[]): void {
    const chosen = this.#choose(queues)
    const [first] = chosen
    const identity = first?.batch?.identity
    if (identity === undefined) return
    const batches: PartitionBatch[] = []
    for (const queue of chosen) {
      const { topic, partition, batch } = queue
      if (batch === null) continue
      queue.sendingTo = leader
      // To the end of the line, so that a partition with a backlog leaves room for the others.
      this.#queues.delete(queue.key)
      this.#queues.set(queue.key, queue)
      const records = batch.members.map(({ record }) => record)
      batches.push({ topic, partition, firstSequence: batch.firstSequence, records })
    }
    this.#busy.add(leader)
    this.#parts.sender.send(leader, identity, batches).then(
      (report) => this.#ended(leader, chosen, report),
      (error: unknown) =>
        this.#ended(leader, chosen, { status: 'lost', code: codeOf(error), message: messageOf(error) }),
    )
  }

  /** The batches of one request: of one identity, at most 900 KB. Freezes what was not sent before. */
  #choose(queues: readonly PartitionQueue[]): PartitionQueue[] {
    const chosen: PartitionQueue[] = []
    let identity: ProducerIdentity | null = null
    let bytes = 0
    for (const queue of queues) {
      const owner = queue.batch?.identity ?? this.#identity
      if (owner === null) {
        this.#identify()
        continue
      }
      const size: number | null = queue.batch?.bytes ?? queue.nextBytes
      if (size === null || (identity !== null && owner !== identity)) continue
      if (chosen.length > 0 && bytes + size > REQUEST_BYTES_MAX) continue
      queue.batch ??= this.#freeze(queue, owner, REQUEST_BYTES_MAX - bytes)
      identity = owner
      bytes += queue.batch.bytes
      chosen.push(queue)
    }
    return chosen
  }

  #freeze(queue: PartitionQueue, identity: ProducerIdentity, bytesMax: number): SentBatch {
    const members = queue.take(bytesMax)
    const firstSequence = identity.sequences.get(queue.key) ?? 0
    const bytes = members.reduce((sum, item) => sum + item.bytes, 0)
    const batch = { identity, firstSequence, members, bytes, sentAt: Date.now(), maybeWritten: false }
    for (const item of members) item.batch = batch
    return batch
  }

  #ended(leader: number, queues: readonly PartitionQueue[], report: SendReport): void {
    this.#busy.delete(leader)
    const stale = new Set<string>()
    for (const queue of queues) {
      queue.sendingTo = null
      const { batch } = queue
      if (batch === null) continue
      if (report.status === 'answered') {
        const answer = report.partitions.find(
          (one) => one.topic === queue.topic && one.partition === queue.partition,
        )
        if (this.#answered(queue, batch, answer) === 'stale') stale.add(queue.topic)
      } else {
        batch.maybeWritten ||= report.status === 'lost'
        this.#wait(queue, report)
        stale.add(queue.topic)
      }
      this.#abandonIfForgotten(queue)
    }
    if (stale.size > 0) this.#refresh(stale)
    this.#pump()
  }

  #answered(queue: PartitionQueue, batch: SentBatch, answer: PartitionAnswer | undefined): 'fine' | 'stale' {
    if (answer === undefined) {
      batch.maybeWritten = true
      this.#wait(queue, { code: 'kafka_no_answer', message: `the answer left out ${queue.key}` })
      return 'stale'
    }
    const verdict = verdictOf(answer.errorCode)
    if (verdict === 'written') {
      this.#written(queue, batch, answer)
      return 'fine'
    }
    const { code } = kafkaFault(answer.errorCode)
    const why = faultMessage(answer.errorCode, topicAcl('Write', queue.topic))
    const cause = { code, message: `${queue.key}: ${why}` }
    if (verdict === 'refused') {
      this.#fail(queue, batch, cause, batch.maybeWritten)
    } else if (verdict === 'identity' && batch.maybeWritten) {
      this.#fail(queue, batch, cause, true)
    } else {
      if (verdict === 'identity') this.#dropIdentity(batch.identity, cause.message)
      if (verdict === 'uncertain') batch.maybeWritten = true
      this.#wait(queue, cause)
      return verdict === 'identity' ? 'fine' : 'stale'
    }
    return 'fine'
  }

  #written(queue: PartitionQueue, batch: SentBatch, { baseOffset, logAppendTime }: PartitionAnswer): void {
    const { identity, firstSequence, members, sentAt } = batch
    const next = firstSequence + members.length
    identity.sequences.set(queue.key, next)
    if (next > SEQUENCE_MAX) this.#dropIdentity(identity, 'its sequence numbers are used up')
    queue.batch = null
    queue.cause = null
    const { partition } = queue
    const timestamp = logAppendTime >= 0 ? logAppendTime : sentAt
    for (const [index, item] of members.entries()) {
      this.#parts.settle(item, { status: 'written', partition, offset: baseOffset + index, timestamp })
    }
  }

  /** Settles a batch for good, and with it what its calls still have waiting for this partition: their order is broken. */
  #fail(queue: PartitionQueue, batch: SentBatch, { code, message }: Cause, uncertain: boolean): void {
    queue.batch = null
    for (const item of batch.members) {
      this.#parts.settle(
        item,
        uncertain
          ? { status: 'unknown', code, message }
          : { status: 'refused', code, message, retryable: kafkaRetryable(code) },
      )
    }
    if (uncertain) this.#dropIdentity(batch.identity, message)
    for (const item of queue.waitingOf(new Set(batch.members.map(({ call }) => call)))) {
      this.#parts.settle(item, {
        status: 'refused',
        code: 'not_attempted',
        message: 'an earlier record of this call for the same partition failed',
        retryable: true,
      })
    }
  }

  /** Tries again a little later; what certainly is not in the log goes back into the queue. */
  #wait(queue: PartitionQueue, cause: Cause): void {
    const { batch } = queue
    if (batch !== null && !batch.maybeWritten) {
      queue.batch = null
      queue.putBack(batch.members)
    }
    queue.cause = { code: cause.code, message: cause.message }
    queue.notBefore = performance.now() + RETRY_MS
    this.#retry ??= setTimeout(() => {
      this.#retry = null
      this.#pump()
    }, RETRY_MS + 1)
  }

  /** Nobody waits for this batch any more: the partition is free for others, under another identity. */
  #abandonIfForgotten(queue: PartitionQueue): void {
    const { batch } = queue
    if (batch === null || !batch.members.every(isSettled)) return
    if (queue.sendingTo !== null) {
      // A leader that does not answer in time: everything on this connection is asked again on another.
      this.#parts.sender.drop(queue.sendingTo)
      return
    }
    queue.batch = null
    if (batch.maybeWritten)
      this.#dropIdentity(batch.identity, queue.cause?.message ?? 'no answer within the deadline')
  }

  #dropIdentity(identity: ProducerIdentity, reason: string): void {
    if (this.#identity !== identity) return
    this.#identity = null
    this.#parts.logger.warn(
      { event: 'kafka.producer_recreated', reason },
      'the producer takes a new identity',
    )
    this.#parts.onProducerRecreated(reason)
  }

  #identify(): void {
    if (this.#identifying) return
    this.#identifying = true
    this.#takeIdentity().catch((error: unknown) => {
      const cause = { code: codeOf(error), message: messageOf(error) }
      for (const queue of this.#queues.values()) if (queue.batch === null) this.#wait(queue, cause)
    })
  }

  async #takeIdentity(): Promise<void> {
    try {
      this.#identity = await this.#parts.sender.identity()
    } finally {
      this.#identifying = false
    }
    this.#pump()
  }

  #refresh(topics: ReadonlySet<string>): void {
    this.#parts.topics.refresh(topics).then(
      () => this.#pumpSoon(),
      // The next attempt, or the deadline, comes by itself.
      () => undefined,
    )
  }
}

function kafkaRetryable(code: string): boolean {
  return code === 'not_enough_replicas' || code === 'leader_not_available'
}
