import type { BrokerLogger } from '../broker-config.ts'
import { codeMessage, codeOf, messageOf, topicAcl } from '../broker-error.ts'
import type { OutgoingRecord } from '../records.ts'
import { partitionFor } from '../topics/partition-for.ts'
import { TopicCache } from '../wire/topic-cache.ts'
import { ProduceEngine } from './produce-engine.ts'
import {
  type CoalescingProducer,
  DEADLINE_MS,
  type ProduceOutcome,
  type ProducerOptions,
  RECORD_BYTES_MAX,
  recordBytes,
} from './produce-outcome.ts'
import { isSettled, type PendingRecord, type ProduceCall } from './partition-queue.ts'
import type { ProduceSender } from './produce-sender.ts'

/** Pause between questions about a topic while Kafka cannot be reached (ms). */
const ASK_AGAIN_MS = 100

export interface ProducerParts extends ProducerOptions {
  readonly sender: ProduceSender
  readonly logger: BrokerLogger
}

export function createCoalescingProducer(parts: ProducerParts): CoalescingProducer {
  return new Producer(parts)
}

class Producer implements CoalescingProducer {
  readonly #topics: TopicCache
  readonly #engine: ProduceEngine
  readonly #sender: ProduceSender
  #turn = 0
  #records = 0
  #bytes = 0
  #closed = false
  #idle: (() => void)[] = []

  constructor({ sender, logger, onProducerRecreated }: ProducerParts) {
    this.#sender = sender
    this.#topics = new TopicCache(async (topics) => await sender.leaders(topics))
    this.#engine = new ProduceEngine({
      sender,
      topics: this.#topics,
      logger,
      onProducerRecreated: onProducerRecreated ?? (() => undefined),
      settle: (pending, outcome) => this.#settle(pending, outcome),
    })
  }

  get inFlight(): { records: number; bytes: number } {
    return { records: this.#records, bytes: this.#bytes }
  }

  async produce(
    records: readonly OutgoingRecord[],
    { deadlineMs = DEADLINE_MS }: { deadlineMs?: number } = {},
  ): Promise<ProduceOutcome[]> {
    if (records.length === 0) return []
    const { promise, resolve } = Promise.withResolvers<void>()
    const outcomes = records.map((): ProduceOutcome | null => null)
    const call: ProduceCall = { outcomes, remaining: records.length, done: resolve }
    const pending = records.map((record, index): PendingRecord => ({
      call,
      index,
      record,
      bytes: recordBytes(record),
      queue: null,
      batch: null,
    }))
    this.#records += pending.length
    for (const { bytes } of pending) this.#bytes += bytes
    if (this.#closed) this.#refuseAll(pending, 'producer_closed', 'this producer was closed')
    else this.#begin(pending, performance.now() + deadlineMs)
    const timer = setTimeout(() => this.#engine.outOfTime(pending), deadlineMs)
    await promise
    clearTimeout(timer)
    return outcomes.map(
      (outcome) => outcome ?? { status: 'unknown', code: 'no_outcome', message: 'no outcome' },
    )
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#records > 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#idle.push(resolve)
      await promise
    }
    this.#engine.close()
    this.#sender.close()
  }

  /** Known topics go straight to their partitions, in the same tick; unknown ones are asked about first. */
  #begin(pending: readonly PendingRecord[], deadline: number): void {
    const unknown = new Set<string>()
    const old = new Set<string>()
    const now = performance.now()
    for (const { record } of pending) {
      const { topic } = record
      if (this.#topics.get(topic) === null) unknown.add(topic)
      else if (this.#topics.isOld(topic, now)) old.add(topic)
    }
    // Also when it fails: the view that is there is used, and an error of a send asks again.
    if (old.size > 0) this.#topics.refresh(old).catch(() => undefined)
    if (unknown.size === 0) {
      this.#enqueue(pending)
      return
    }
    // Records of known topics go on; those of one topic all wait or all go, so the order in a partition holds.
    this.#enqueue(pending.filter(({ record }) => !unknown.has(record.topic)))
    for (const topic of unknown) {
      const waiting = pending.filter(({ record }) => record.topic === topic)
      this.#learn(topic, deadline).then(
        () => this.#enqueue(waiting),
        (error: unknown) => this.#refuseAll(waiting, codeOf(error), messageOf(error)),
      )
    }
  }

  /** Resolves when the topic is known, or known not to be there, or time is up. */
  async #learn(topic: string, deadline: number): Promise<void> {
    for (;;) {
      try {
        await this.#topics.refresh([topic])
        return
      } catch (error) {
        if (performance.now() + ASK_AGAIN_MS >= deadline) throw error
        const { promise, resolve } = Promise.withResolvers<void>()
        setTimeout(resolve, ASK_AGAIN_MS)
        await promise
      }
    }
  }

  #enqueue(pending: readonly PendingRecord[]): void {
    const failed = new Set<string>()
    for (const item of pending) {
      if (isSettled(item)) continue
      const { record, bytes } = item
      const { topic } = record
      const view = this.#topics.get(topic)
      if (view === null) {
        this.#refuseUnknown(item)
        continue
      }
      const partition = this.#partitionOf(record, view.leaders.length)
      const place = `${topic}/${partition}`
      if (partition < 0 || partition >= view.leaders.length) {
        const message = `topic ${topic} has no partition ${partition}`
        this.#refuseAll([item], 'unknown_partition', message, false)
      } else if (bytes > RECORD_BYTES_MAX) {
        failed.add(place)
        const message = `a record of ${bytes} bytes; Kafka takes at most ${RECORD_BYTES_MAX}`
        this.#refuseAll([item], 'record_too_large', message, false)
      } else if (failed.has(place)) {
        this.#refuseAll(
          [item],
          'not_attempted',
          'an earlier record of this call for the same partition failed',
        )
      } else {
        this.#engine.add(topic, partition, item)
      }
    }
    this.#engine.wake()
  }

  #partitionOf(record: OutgoingRecord, partitions: number): number {
    if (record.partition !== null) return record.partition
    if (record.key !== null) return partitionFor(record.key, partitions)
    this.#turn += 1
    return this.#turn % partitions
  }

  #refuseUnknown(item: PendingRecord): void {
    const { topic } = item.record
    const view = this.#topics.last(topic)
    const code = view?.status === 'failed' ? view.code : 'unknown_topic_or_partition'
    if (code === 'unknown_topic_or_partition') {
      this.#refuseAll([item], 'unknown_topic', `there is no Kafka topic ${topic}`, false)
    } else {
      this.#refuseAll(
        [item],
        code,
        `topic ${topic} cannot be written: ${codeMessage(code, topicAcl('Write', topic))}`,
        view?.status === 'failed' && view.retryable,
      )
    }
  }

  #refuseAll(pending: readonly PendingRecord[], code: string, message: string, retryable = true): void {
    for (const item of pending) this.#settle(item, { status: 'refused', code, message, retryable })
  }

  #settle({ call, index, bytes }: PendingRecord, outcome: ProduceOutcome): void {
    if (call.outcomes[index] !== null) return
    call.outcomes[index] = outcome
    call.remaining -= 1
    this.#records -= 1
    this.#bytes -= bytes
    if (call.remaining === 0) call.done()
    if (this.#records === 0) for (const done of this.#idle.splice(0)) done()
  }
}
