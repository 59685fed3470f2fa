import type { IncomingBatch, TopicPartitions } from '../records.ts'

/** What a lane says to a batch. `full`: not taken; it is offered again after `resume` or when `isFull()` turns false. */
export type PushAnswer = 'accepted' | 'full' | { seek: number }

/**
 * The owner's side of one assigned partition. It only takes records up and returns at once: nothing here may wait.
 *
 * The lane rule holds by construction: a batch is handed over only if it was fetched at the position where
 * the last accepted one ended (or at the last `seek`), and it tells every offset up to `nextOffset`, whether a record is
 * there or not. An answer to a fetch that was overtaken by a seek, a pause or a revocation is dropped unseen.
 */
export interface LaneHandler {
  /** The next records, in order. `records` may be empty: a stretch of aborted, compacted or control records was passed. */
  push(batch: IncomingBatch): PushAnswer
  /** Asked before each fetch: a full lane is left out of it. */
  isFull(): boolean
  /**
   * A fetch at `position` showed nothing: the lane is at the head. Called up to ten times a second while it stays there.
   */
  atHead?(head: { position: number; highWatermark: number; lowWatermark: number; fetchedAt: number }): void
  /**
   * The position is outside the log (`position < low`: retention overtook it; `position > high`: the topic was recreated
   * or cut). Answer where to go on, or null to stand still until `seek`. Without this method the lane goes on at the
   * low mark: records may be seen twice, none is passed over. It is said as `kafka.offset_out_of_range` in any case.
   */
  outOfRange?(range: { position: number; low: number; high: number }): number | null
}

export type ConsumerState = 'stopped' | 'joining' | 'running' | 'waiting_for_kafka' | 'waiting_for_topics'

export interface LanedConsumerOptions {
  groupId: string
  /** Topics wanted. Those that do not exist (yet) are left out, said by `onTopicsMissing`, and joined when they appear. */
  topics: string[]
  /** Where a lane starts that has neither an answer of `onAssigned` nor a group offset. */
  fromBeginning: boolean
  /** Makes the owner's side of a newly assigned partition. `signal` aborts when it is lost; a rebalance in which it stays ours changes nothing. */
  lane(args: { topic: string; partition: number; signal: AbortSignal }): LaneHandler
  /**
   * After a join that brought new lanes: these, and all. Answers where new lanes start (`topic/partition` → offset; null or
   * absent: the group's offset). No lane is fetched before its start is known, heartbeats go on meanwhile; a rejection is
   * logged and tried again for as long as the lanes are ours.
   */
  onAssigned?(
    added: readonly TopicPartitions[],
    context: { generation: number; all: readonly TopicPartitions[]; signal: AbortSignal },
  ): Promise<ReadonlyMap<string, number | null>>
  /** Lanes that are no longer ours; their signals are already aborted. */
  onRevoked?(lost: readonly TopicPartitions[]): void
  /** Wanted topics without metadata (deleted, or not made yet). Called when the set changes; empty when all are there again. */
  onTopicsMissing?(topics: readonly string[]): void
  /** Partitions nobody owns after a join, though somebody wants them. It is also logged and repaired by another join. */
  onUnowned?(unowned: readonly TopicPartitions[]): void
  onState?(state: ConsumerState): void
  /** A life of the consumer ended by surprise; another begins by itself. */
  onCrash?(error: unknown): void
  /** A member unheard of for so long is dead to the group (ms). Default 6,000, the least a broker allows by default. */
  sessionTimeoutMs?: number
  /** Default 1,500 (ms). */
  heartbeatIntervalMs?: number
  /** How long a fetch waits at the broker for records (ms). Default 200; a lane that is new or resumed waits up to so long. */
  maxWaitMs?: number
  /** Most bytes of one fetch. Default 8 MiB. */
  maxBytes?: number
  /** Most bytes of one partition in a fetch. Default 1 MiB. A larger single batch still comes through. */
  maxBytesPerPartition?: number
  /** How often new partitions and missing topics are looked for (ms). Default 5,000. */
  metadataIntervalMs?: number
}

export interface LanedConsumer {
  /** Begins to join. Resolves at once; `onState` tells the rest. */
  start(): void
  /** Leaves the group (others take over at once), after the commits given so far. May be called twice. */
  stop(): Promise<void>
  readonly state: ConsumerState
  /** What this member owns now. */
  readonly assignment: readonly TopicPartitions[]
  /** Replaces the topics wanted. Changes are collected for a second, because each costs the group a rebalance. */
  setTopics(topics: readonly string[]): void
  /** Stops fetching a lane; an answer under way is dropped. */
  pause(topic: string, partition: number): void
  resume(topic: string, partition: number): void
  /** The next batch of this lane begins at `offset`. */
  seek(topic: string, partition: number, offset: number): void
  /** Notes the group's offset of a lane: written within a second, for lag metrics and the next start. Never throws. */
  commit(topic: string, partition: number, nextOffset: number): void
  /** Writes what `commit` noted. Resolves also when it could not: a rebalance or an outage keeps it for the next time. */
  flushCommits(): Promise<void>
}
