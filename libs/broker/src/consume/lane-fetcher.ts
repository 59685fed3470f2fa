import type { BrokerLogger } from '../broker-config.ts'
import { codeOf, KAFKA, kafkaError, topicAcl, messageOf } from '../broker-error.ts'
import { offsetsOf } from '../offsets.ts'
import { partitionKey } from '../records.ts'
import type { Cluster } from '../wire/cluster.ts'
import { type FetchedPartition, type FetchLimits, fetchPartitions } from '../wire/fetch.ts'
import { isStaleMetadata } from '../wire/partition-leader.ts'
import type { TopicCache } from '../wire/topic-cache.ts'
import type { AssignedLane } from './assigned-lane.ts'

/** Pause of a lane after an error (ms). */
const RETRY_MS = 200
/** Pause of a lane whose owner threw (ms): the same records are offered again. */
const OWNER_RETRY_MS = 1_000
/** How often full lanes are asked whether they have room (ms), besides `resume`. */
const FULL_POLL_MS = 20

export interface LaneFetcherParts {
  readonly cluster: Cluster
  readonly topics: TopicCache
  readonly limits: FetchLimits
  readonly logger: BrokerLogger
  /** A fetch showed that what is known of a topic no longer holds. */
  readonly onStale: () => void
}

/**
 * Fetches for all lanes: one request a broker at a time, for every lane there that has room. A lane that is full, paused
 * or failing is left out of the request and holds up no other. Event-driven: `wake` looks for what can be fetched.
 */
export class LaneFetcher {
  readonly #parts: LaneFetcherParts
  readonly #lanes = new Map<string, AssignedLane>()
  readonly #busy = new Set<number>()
  #timer: NodeJS.Timeout | null = null
  #stopped = false

  constructor(parts: LaneFetcherParts) {
    this.#parts = parts
  }

  get lanes(): ReadonlyMap<string, AssignedLane> {
    return this.#lanes
  }

  add(lane: AssignedLane): void {
    this.#lanes.set(lane.key, lane)
  }

  remove(key: string): void {
    this.#lanes.delete(key)
  }

  /** Ends all fetching for good. */
  stop(): void {
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  wake(): void {
    if (this.#stopped) return
    const now = performance.now()
    const byLeader = new Map<number, AssignedLane[]>()
    const leaderless: AssignedLane[] = []
    let againMs = Number.POSITIVE_INFINITY
    for (const lane of this.#lanes.values()) {
      if (lane.position === null || lane.paused) continue
      const leader = this.#leaderOf(lane)
      if (leader !== null && this.#busy.has(leader)) continue
      if (lane.notBefore > now) {
        againMs = Math.min(againMs, lane.notBefore - now)
      } else if (this.#isFull(lane)) {
        againMs = Math.min(againMs, FULL_POLL_MS)
      } else if (leader === null) {
        leaderless.push(lane)
        lane.notBefore = now + RETRY_MS
        againMs = Math.min(againMs, RETRY_MS)
      } else {
        const together = byLeader.get(leader)
        if (together === undefined) byLeader.set(leader, [lane])
        else together.push(lane)
      }
    }
    if (leaderless.length > 0) this.#refresh(leaderless)
    this.#wakeIn(againMs)
    for (const [leader, lanes] of byLeader) {
      this.#busy.add(leader)
      this.#fetch(leader, lanes).catch((error: unknown) => this.#failed(leader, lanes, error))
    }
  }

  async #fetch(leader: number, lanes: readonly AssignedLane[]): Promise<void> {
    // Lanes that probe first; the others in turn, since a broker fills the answer in the order asked for.
    const asked = [
      ...lanes.filter(({ probing }) => probing),
      ...rotated(lanes.filter(({ probing }) => !probing)),
    ]
    const positions = asked.flatMap(({ topic, partition, position }) =>
      position === null ? [] : [{ topic, partition, offset: position }],
    )
    const answers = await fetchPartitions(this.#parts.cluster.linkTo(leader), positions, this.#parts.limits)
    this.#busy.delete(leader)
    if (this.#stopped) return
    const bytes = answers.reduce((sum, answer) => sum + answer.bytes, 0)
    const byKey = new Map(answers.map((answer) => [partitionKey(answer.topic, answer.partition), answer]))
    for (const lane of asked) {
      const answer = byKey.get(lane.key)
      // Overtaken by a seek, a pause or a rebalance: nobody may see it.
      const current =
        answer !== undefined && lane.position === answer.fetchedOffset && !lane.paused && !lane.lost
      if (current) this.#take(lane, answer, bytes === 0 || lane === asked[0])
    }
    this.wake()
  }

  #take(lane: AssignedLane, answer: FetchedPartition, sawAll: boolean): void {
    try {
      if (answer.errorCode !== KAFKA.none) this.#partitionFailed(lane, answer.errorCode)
      else if (answer.nextOffset > answer.fetchedOffset) this.#push(lane, answer)
      else if (answer.fault !== null) this.#unreadable(lane, answer.fault)
      // An empty answer below the last stable offset may only mean that other partitions filled the response. Asked for
      // first, a partition always gets its next batch: then empty is empty (a compacted or aborted tail).
      else if (answer.fetchedOffset >= answer.lastStableOffset || sawAll) this.#atHead(lane, answer)
      else lane.probing = true
    } catch (error) {
      // Nothing that an owner throws may end the consumer: its lane stands still and is tried again.
      lane.notBefore = performance.now() + OWNER_RETRY_MS
      this.#parts.logger.error(
        { event: 'kafka.lane_failed', topic: lane.topic, partition: lane.partition, err: error },
        `the owner of ${lane.key} threw: ${messageOf(error)}`,
      )
    }
  }

  #push(lane: AssignedLane, answer: FetchedPartition): void {
    const { topic, partition, fetchedOffset, nextOffset, records, highWatermark, lowWatermark } = answer
    lane.probing = false
    const said = lane.handler.push({
      topic,
      partition,
      fetchedOffset,
      nextOffset,
      records,
      highWatermark,
      lowWatermark,
      fetchedAt: Date.now(),
    })
    if (typeof said === 'object') lane.seek(said.seek)
    else if (said === 'full') lane.notBefore = performance.now() + FULL_POLL_MS
    // The owner may have sought inside push; its word counts.
    else if (lane.position === fetchedOffset) lane.position = nextOffset
  }

  #atHead(lane: AssignedLane, { fetchedOffset, highWatermark, lowWatermark }: FetchedPartition): void {
    lane.probing = false
    lane.handler.atHead?.({ position: fetchedOffset, highWatermark, lowWatermark, fetchedAt: Date.now() })
  }

  #unreadable(lane: AssignedLane, fault: { offset: number; message: string }): void {
    // A codec that is not known here, or damage. Passing over it would lose records in silence; the other lanes go on.
    lane.notBefore = performance.now() + OWNER_RETRY_MS
    this.#parts.logger.error(
      { event: 'kafka.unreadable_batch', topic: lane.topic, partition: lane.partition, offset: fault.offset },
      `${lane.key} at ${fault.offset} cannot be decoded: ${fault.message}`,
    )
  }

  #partitionFailed(lane: AssignedLane, errorCode: number): void {
    lane.notBefore = performance.now() + RETRY_MS
    if (errorCode === KAFKA.offsetOutOfRange) {
      // Out until its marks are known: the next attempt would say the same.
      const { position } = lane
      lane.notBefore = performance.now() + OWNER_RETRY_MS
      if (position !== null)
        this.#outOfRange(lane, position).catch((error: unknown) => this.#warn(lane, error))
    } else if (isStaleMetadata(errorCode)) {
      this.#refresh([lane])
      if (errorCode === KAFKA.unknownTopicOrPartition) this.#parts.onStale()
    } else {
      const { code, message } = kafkaError(errorCode, lane.key, topicAcl('Read', lane.topic))
      this.#parts.logger.warn(
        { event: 'kafka.fetch_failed', topic: lane.topic, partition: lane.partition, code },
        `cannot be fetched: ${message}`,
      )
    }
  }

  async #outOfRange(lane: AssignedLane, position: number): Promise<void> {
    const marks = (await offsetsOf(this.#parts.cluster, lane.topic)).get(lane.partition)
    // Sought or lost meanwhile, or in range again (a leader with a shorter log had answered).
    if (marks === undefined || lane.position !== position || lane.lost) return
    const { low, high } = marks
    if (position >= low && position <= high) return
    this.#parts.logger.warn(
      {
        event: 'kafka.offset_out_of_range',
        topic: lane.topic,
        partition: lane.partition,
        position,
        low,
        high,
      },
      `${lane.key} is at ${position}, the log holds ${low} to ${high}`,
    )
    const next =
      lane.handler.outOfRange === undefined ? low : lane.handler.outOfRange({ position, low, high })
    if (next === null) lane.position = null
    else lane.seek(next)
    this.wake()
  }

  #failed(leader: number, lanes: readonly AssignedLane[], error: unknown): void {
    this.#busy.delete(leader)
    if (this.#stopped) return
    for (const lane of lanes) lane.notBefore = performance.now() + RETRY_MS
    this.#parts.logger.debug({ event: 'kafka.fetch_failed', leader, code: codeOf(error) }, messageOf(error))
    this.#refresh(lanes)
    this.wake()
  }

  #refresh(lanes: readonly AssignedLane[]): void {
    // When it fails the lanes come back by their own pause.
    this.#learnLeaders(lanes).catch(() => undefined)
  }

  async #learnLeaders(lanes: readonly AssignedLane[]): Promise<void> {
    const before = new Map(lanes.map((lane) => [lane, this.#leaderOf(lane)]))
    await this.#parts.topics.refresh(new Set(lanes.map(({ topic }) => topic)))
    // A new leader is asked at once.
    for (const [lane, leader] of before) if (this.#leaderOf(lane) !== leader) lane.notBefore = 0
    this.wake()
  }

  #leaderOf({ topic, partition }: AssignedLane): number | null {
    return this.#parts.topics.get(topic)?.leaders[partition] ?? null
  }

  #isFull(lane: AssignedLane): boolean {
    try {
      return lane.handler.isFull()
    } catch (error) {
      lane.notBefore = performance.now() + OWNER_RETRY_MS
      this.#warn(lane, error)
      return true
    }
  }

  #wakeIn(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (ms === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.wake()
    }, ms)
  }

  #warn(lane: AssignedLane, error: unknown): void {
    this.#parts.logger.warn(
      { event: 'kafka.lane_failed', topic: lane.topic, partition: lane.partition, code: codeOf(error) },
      messageOf(error),
    )
  }
}

let turn = 0

function rotated<T>(items: readonly T[]): T[] {
  if (items.length === 0) return []
  turn = (turn + 1) % 0x7fff_ffff
  const cut = turn % items.length
  return [...items.slice(cut), ...items.slice(0, cut)]
}
