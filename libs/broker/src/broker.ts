import { type BrokerConfig, linkSettings } from './broker-config.ts'
import type { LanedConsumer, LanedConsumerOptions } from './consume/lane.ts'
import { createLanedConsumer } from './consume/laned-consumer.ts'
import { type OffsetRange, offsetsForTime, offsetsOf, stableEndsOf } from './offsets.ts'
import { createCoalescingProducer } from './produce/coalescing-producer.ts'
import { createProduceSender } from './produce/produce-sender.ts'
import type { CoalescingProducer, ProducerOptions } from './produce/produce-outcome.ts'
import { type RangeChunk, readRange, type ReadRange } from './read-range.ts'
import { type AclAdmin, createAclAdmin } from './topics/acl-admin.ts'
import { createTopicAdmin, type TopicAdmin } from './topics/topic-admin.ts'
import { Cluster } from './wire/cluster.ts'

/**
 * A Kafka cluster. Everything made from it holds connections of its own, opened on first use and again after an outage:
 * nothing has to be made anew by the caller.
 */
export interface Broker {
  /** One round trip to any broker; rejects within the connection timeout when none can be reached. */
  ping(signal?: AbortSignal): Promise<{ brokers: readonly string[] }>
  readonly topics: TopicAdmin
  readonly acls: AclAdmin
  producer(options?: ProducerOptions): CoalescingProducer
  consumer(options: LanedConsumerOptions): LanedConsumer
  /** Records of a stretch of one partition, without a group. */
  readRange(range: ReadRange): AsyncGenerator<RangeChunk, void, undefined>
  /** The low and high mark of each partition. Throws `unknown_topic`. */
  offsets(topic: string, options?: { signal?: AbortSignal }): Promise<Map<number, OffsetRange>>
  /** Where a reader of committed data may get to now, per partition: below the high mark while a transaction is open. */
  stableEnds(topic: string, options?: { signal?: AbortSignal }): Promise<Map<number, number>>
  /** Per partition the first offset not older than `timestampMs`; null where there is none. */
  offsetsForTime(
    topic: string,
    timestampMs: number,
    options?: { signal?: AbortSignal },
  ): Promise<Map<number, number | null>>
  /** Closes producers (after their deadlines at the latest), stops consumers, ends all connections. May be called twice. */
  close(): Promise<void>
}

/** @throws {RangeError} when an address of the config cannot be read. Connects to nothing yet. */
export function createBroker(config: BrokerConfig): Broker {
  const settings = linkSettings(config)
  // Apart, so that a long read of history never stands before a publish, nor before the check of health.
  const reading = new Cluster(settings)
  const asking = new Cluster(settings)
  const producers = new Set<CoalescingProducer>()
  const consumers = new Set<LanedConsumer>()

  return {
    topics: createTopicAdmin(asking, config.topics ?? {}, config.logger),
    acls: createAclAdmin(asking),

    async ping(signal) {
      signal?.throwIfAborted()
      const { brokers } = await untilAborted(asking.metadata([]), signal)
      return { brokers }
    },

    producer(options = {}) {
      const sender = createProduceSender(new Cluster(settings))
      const producer = createCoalescingProducer({ sender, logger: config.logger, ...options })
      producers.add(producer)
      return producer
    },

    consumer(options) {
      const consumer = createLanedConsumer(settings, options)
      consumers.add(consumer)
      return consumer
    },

    readRange: (range) => readRange(reading, range),
    offsets: async (topic, options) => await offsetsOf(asking, topic, options?.signal),
    stableEnds: async (topic, options) => await stableEndsOf(asking, topic, options?.signal),
    offsetsForTime: async (topic, timestampMs, options) =>
      await offsetsForTime(asking, topic, timestampMs, options?.signal),

    async close() {
      await Promise.all([
        ...[...consumers].map(async (consumer) => await consumer.stop()),
        ...[...producers].map(async (producer) => await producer.close()),
      ])
      reading.close()
      asking.close()
    },
  }
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
