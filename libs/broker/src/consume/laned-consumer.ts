import type { BrokerLogger, LinkSettings } from '../broker-config.ts'
import { codeOf, messageOf } from '../broker-error.ts'
import { partitionKey, type TopicPartitions } from '../records.ts'
import { Cluster } from '../wire/cluster.ts'
import { TopicCache } from '../wire/topic-cache.ts'
import { AssignedLane } from './assigned-lane.ts'
import { CommitBuffer } from './commit-buffer.ts'
import { type Generation, GroupMember, isGroupInMotion } from './group-member.ts'
import type { ConsumerState, LanedConsumer, LanedConsumerOptions } from './lane.ts'
import { LaneFetcher } from './lane-fetcher.ts'
import { startPositions } from './start-positions.ts'
import { WakeUp } from './wake-up.ts'
import { WantedTopics } from './wanted-topics.ts'

const SESSION_TIMEOUT_MS = 6_000
const HEARTBEAT_INTERVAL_MS = 1_500
const MAX_WAIT_MS = 200
const MAX_BYTES = 8 * 1024 * 1024
const MAX_BYTES_PER_PARTITION = 1024 * 1024
const METADATA_INTERVAL_MS = 5_000
/** Changes of the topics wanted are gathered for so long (ms): each costs the group a rebalance. */
const TOPICS_GATHER_MS = 1_000
/** Pauses after failures: the first, and the longest (ms). */
const BACKOFF_MIN_MS = 100
const BACKOFF_MAX_MS = 2_000
/** A consumer without any sign of progress for so long is taken for dead and begun anew (ms); a join may take 20 s. */
const SILENT_MS = 45_000
/** How long the commits before leaving may take (ms). */
const LAST_COMMIT_MS = 1_000

export function createLanedConsumer(settings: LinkSettings, options: LanedConsumerOptions): LanedConsumer {
  return new Consumer(settings, options)
}

class Consumer implements LanedConsumer {
  readonly #options: LanedConsumerOptions
  readonly #logger: BrokerLogger
  readonly #coordination: Cluster
  readonly #fetching: Cluster
  readonly #member: GroupMember
  readonly #topics: WantedTopics
  readonly #fetcher: LaneFetcher
  readonly #commits: CommitBuffer
  readonly #wakeUp = new WakeUp()
  #state: ConsumerState = 'stopped'
  #life: { abort: AbortController; over: Promise<void> } | null = null
  #stopping: Promise<void> | null = null
  #watchdog: NodeJS.Timeout | null = null
  #topicsTimer: NodeJS.Timeout | null = null
  #rejoinTimer: NodeJS.Timeout | null = null
  #topicsAsked = false
  #rejoin = false
  #joining = false
  #lastSign = 0
  #lastAlive = 0

  constructor(settings: LinkSettings, options: LanedConsumerOptions) {
    const { logger } = settings
    this.#options = options
    this.#logger = logger
    // A join holds its connection for seconds, a fetch for its wait: neither may stand before the other.
    this.#coordination = new Cluster(settings)
    this.#fetching = new Cluster(settings)
    const cache = new TopicCache(async (topics) => (await this.#coordination.metadata(topics)).topics)
    const reading = new TopicCache(async (topics) => (await this.#fetching.metadata(topics)).topics)
    this.#member = new GroupMember(this.#coordination, {
      groupId: options.groupId,
      sessionTimeoutMs: options.sessionTimeoutMs ?? SESSION_TIMEOUT_MS,
    })
    this.#topics = new WantedTopics(options.topics, {
      cache,
      logger,
      onMissing: (missing) => this.#tell('onTopicsMissing', () => options.onTopicsMissing?.(missing)),
    })
    this.#fetcher = new LaneFetcher({
      cluster: this.#fetching,
      topics: reading,
      logger,
      limits: {
        maxWaitMs: options.maxWaitMs ?? MAX_WAIT_MS,
        maxBytes: options.maxBytes ?? MAX_BYTES,
        maxBytesPerPartition: options.maxBytesPerPartition ?? MAX_BYTES_PER_PARTITION,
      },
      onStale: () => this.#lookSoon(),
    })
    this.#commits = new CommitBuffer(this.#member, logger, (key) => this.#fetcher.lanes.has(key))
  }

  get state(): ConsumerState {
    return this.#state
  }

  get assignment(): readonly TopicPartitions[] {
    return grouped([...this.#fetcher.lanes.values()])
  }

  start(): void {
    if (this.#life !== null || this.#stopping !== null) return
    this.#begin()
    this.#watchdog = setInterval(() => this.#watch(), BACKOFF_MAX_MS)
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#end()
    return this.#stopping
  }

  setTopics(topics: readonly string[]): void {
    this.#topics.replace(topics)
    const wait = this.#state === 'running' ? TOPICS_GATHER_MS : 0
    this.#topicsTimer ??= setTimeout(() => {
      this.#topicsTimer = null
      this.#lookSoon()
    }, wait)
  }

  pause(topic: string, partition: number): void {
    const lane = this.#fetcher.lanes.get(partitionKey(topic, partition))
    if (lane !== undefined) lane.paused = true
  }

  resume(topic: string, partition: number): void {
    const lane = this.#fetcher.lanes.get(partitionKey(topic, partition))
    if (lane === undefined) return
    lane.paused = false
    lane.notBefore = 0
    this.#fetcher.wake()
  }

  seek(topic: string, partition: number, offset: number): void {
    this.#fetcher.lanes.get(partitionKey(topic, partition))?.seek(offset)
    this.#fetcher.wake()
  }

  commit(topic: string, partition: number, nextOffset: number): void {
    this.#commits.add({ topic, partition, offset: nextOffset })
  }

  async flushCommits(): Promise<void> {
    await this.#commits.flush()
  }

  #begin(): void {
    const abort = new AbortController()
    this.#lastSign = performance.now()
    this.#life = { abort, over: this.#live(abort.signal) }
  }

  /** Joins, serves, and joins again, until aborted. Nothing thrown on the way ends it. */
  async #live(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      this.#sign()
      try {
        await this.#topics.look()
        if (signal.aborted) break
        if (Object.keys(this.#topics.counts).length === 0) {
          await this.#standBy()
        } else {
          await this.#join(signal)
          failures = 0
          await this.#serve(signal)
        }
      } catch (error) {
        if (signal.aborted) break
        failures += 1
        this.#failed(error)
        await this.#wakeUp.wait(Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(failures, 6)))
      }
    }
  }

  /** Nothing to read: out of the group, looking for topics. */
  async #standBy(): Promise<void> {
    this.#lose([...this.#fetcher.lanes.values()])
    await this.#member.leave()
    this.#setState('waiting_for_topics')
    await this.#wakeUp.wait(this.#options.metadataIntervalMs ?? METADATA_INTERVAL_MS)
    this.#topicsAsked = false
  }

  async #join(signal: AbortSignal): Promise<void> {
    if (this.#state !== 'running') this.#setState('joining')
    this.#topicsAsked = false
    const { counts } = this.#topics
    const owned = Object.fromEntries(this.assignment.map(({ topic, partitions }) => [topic, partitions]))
    this.#joining = true
    let generation: Generation
    try {
      generation = await this.#member.join({ topics: Object.keys(counts), owned, counts })
    } finally {
      this.#joining = false
    }
    if (signal.aborted) return
    this.#lastAlive = performance.now()
    this.#take(generation, signal)
    this.#checkOwners(generation)
    this.#setState('running')
  }

  /** Keeps the lanes that stay ours as they are, ends those that went, makes those that came. */
  #take({ generation, assignment }: Generation, signal: AbortSignal): void {
    const ours = new Set(
      Object.entries(assignment).flatMap(([topic, list]) =>
        list.map((partition) => partitionKey(topic, partition)),
      ),
    )
    this.#lose([...this.#fetcher.lanes.values()].filter(({ key }) => !ours.has(key)))
    const added: AssignedLane[] = []
    for (const [topic, partitions] of Object.entries(assignment)) {
      for (const partition of partitions) {
        if (this.#fetcher.lanes.has(partitionKey(topic, partition))) continue
        const lane = new AssignedLane({ topic, partition }, (args) => this.#options.lane(args))
        this.#fetcher.add(lane)
        added.push(lane)
      }
    }
    this.#logger.info(
      {
        event: 'kafka.group_joined',
        group: this.#options.groupId,
        generation,
        lanes: ours.size,
        added: added.length,
      },
      `joined ${this.#options.groupId} with ${ours.size} lanes`,
    )
    if (added.length === 0) return
    startPositions(added, {
      options: this.#options,
      member: this.#member,
      cluster: this.#fetching,
      logger: this.#logger,
      context: { generation, all: this.assignment, signal },
      onStarted: () => this.#fetcher.wake(),
    }).catch((error: unknown) => this.#failed(error))
  }

  /** Every partition we see of our topics must have been dealt to somebody; else it is said and joined again. */
  #checkOwners({ counts }: Generation): void {
    const unowned: TopicPartitions[] = []
    for (const [topic, seen] of Object.entries(this.#topics.counts)) {
      const dealt = counts[topic] ?? 0
      if (dealt < seen) unowned.push({ topic, partitions: range(dealt, seen) })
    }
    if (unowned.length === 0) return
    this.#logger.warn(
      { event: 'kafka.partitions_unowned', unowned },
      'partitions without an owner: joining again',
    )
    this.#tell('onUnowned', () => this.#options.onUnowned?.(unowned))
    this.#rejoinTimer ??= setTimeout(() => {
      this.#rejoinTimer = null
      this.#rejoin = true
      this.#wakeUp.poke()
    }, TOPICS_GATHER_MS)
  }

  /** Heartbeats until there is a reason to join again. */
  async #serve(signal: AbortSignal): Promise<void> {
    const { heartbeatIntervalMs = HEARTBEAT_INTERVAL_MS, metadataIntervalMs = METADATA_INTERVAL_MS } =
      this.#options
    let lookedAt = performance.now()
    this.#rejoin = false
    this.#fetcher.wake()
    while (!signal.aborted) {
      await this.#wakeUp.wait(heartbeatIntervalMs)
      if (signal.aborted || this.#rejoin) return
      this.#sign()
      const answer = await this.#heartbeat()
      if (answer === 'rejoin') return
      if (answer === 'lost') {
        this.#loseAll('the group counts this member as gone')
        return
      }
      if (answer === 'fine' && (this.#topicsAsked || performance.now() - lookedAt >= metadataIntervalMs)) {
        this.#topicsAsked = false
        lookedAt = performance.now()
        if (await this.#topics.look()) return
      }
    }
  }

  /** An unreachable coordinator is looked for again; past the session our partitions may be somebody else's. */
  async #heartbeat(): Promise<'fine' | 'rejoin' | 'lost' | 'again'> {
    try {
      const answer = await this.#member.heartbeat()
      if (answer === 'coordinator_moved') {
        await this.#wakeUp.wait(BACKOFF_MIN_MS)
        return this.#sessionOver() ? 'lost' : 'again'
      }
      if (answer !== 'lost') this.#lastAlive = performance.now()
      return answer
    } catch (error) {
      this.#member.dropCoordinator()
      if (this.#sessionOver()) throw error
      this.#logger.debug({ event: 'kafka.heartbeat_failed', code: codeOf(error) }, messageOf(error))
      await this.#wakeUp.wait(BACKOFF_MIN_MS)
      return 'again'
    }
  }

  #sessionOver(): boolean {
    return performance.now() - this.#lastAlive > (this.#options.sessionTimeoutMs ?? SESSION_TIMEOUT_MS)
  }

  #failed(error: unknown): void {
    if (this.#sessionOver() && this.#fetcher.lanes.size > 0)
      this.#loseAll('no coordinator heard us for a session')
    if (isGroupInMotion(error)) return
    this.#member.dropCoordinator()
    // Said once for an outage, not once for each attempt.
    const level = this.#state === 'waiting_for_kafka' ? 'debug' : 'warn'
    this.#setState('waiting_for_kafka')
    this.#logger[level](
      { event: 'kafka.group_unavailable', group: this.#options.groupId, code: codeOf(error) },
      `group ${this.#options.groupId}: ${messageOf(error)}`,
    )
    if (codeOf(error) === 'unexpected') this.#tell('onCrash', () => this.#options.onCrash?.(error))
  }

  #loseAll(reason: string): void {
    this.#logger.warn(
      { event: 'kafka.lanes_lost', group: this.#options.groupId, reason },
      `all lanes lost: ${reason}`,
    )
    this.#lose([...this.#fetcher.lanes.values()])
  }

  #lose(lanes: readonly AssignedLane[]): void {
    if (lanes.length === 0) return
    for (const lane of lanes) {
      this.#fetcher.remove(lane.key)
      lane.lose()
    }
    this.#tell('onRevoked', () => this.#options.onRevoked?.(grouped(lanes)))
  }

  #lookSoon(): void {
    this.#topicsAsked = true
    this.#wakeUp.poke()
  }

  /** A life that shows no sign (a promise that never settles) is left to itself, and another begins. */
  #watch(): void {
    const silentMs = performance.now() - this.#lastSign
    if (silentMs < SILENT_MS || this.#life === null) return
    this.#logger.error(
      { event: 'kafka.consumer_silent', group: this.#options.groupId, silentMs: Math.round(silentMs) },
      'the consumer shows no sign of life and is begun anew',
    )
    this.#life.abort.abort()
    this.#member.dropCoordinator()
    this.#loseAll('the consumer was silent')
    this.#tell('onCrash', () => this.#options.onCrash?.(new Error('the consumer was silent')))
    this.#begin()
  }

  async #end(): Promise<void> {
    const life = this.#life
    if (this.#watchdog !== null) clearInterval(this.#watchdog)
    if (this.#topicsTimer !== null) clearTimeout(this.#topicsTimer)
    if (this.#rejoinTimer !== null) clearTimeout(this.#rejoinTimer)
    this.#fetcher.stop()
    if (this.#state === 'running') await within(this.#commits.flush(), LAST_COMMIT_MS)
    this.#commits.stop()
    life?.abort.abort()
    // A join under way waits for the others: it is cut off, and the leave request ends it at the broker.
    if (this.#joining) this.#coordination.dropAll()
    this.#wakeUp.poke()
    this.#fetching.close()
    this.#lose([...this.#fetcher.lanes.values()])
    await this.#member.leave()
    this.#coordination.close()
    await life?.over
    this.#setState('stopped')
  }

  #setState(state: ConsumerState): void {
    if (state === this.#state) return
    this.#state = state
    this.#tell('onState', () => this.#options.onState?.(state))
  }

  #sign(): void {
    this.#lastSign = performance.now()
  }

  /** Calls of the owner's functions: what they throw is theirs. */
  #tell(name: string, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#logger.error({ event: 'kafka.callback_failed', callback: name, err: error }, messageOf(error))
    }
  }
}

function grouped(lanes: readonly AssignedLane[]): TopicPartitions[] {
  const topics = new Map<string, number[]>()
  for (const { topic, partition } of lanes) topics.set(topic, [...(topics.get(topic) ?? []), partition])
  return [...topics].map(([topic, partitions]) => ({ topic, partitions: partitions.sort((a, b) => a - b) }))
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index)
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  await Promise.race([work, promise])
  clearTimeout(timer)
}
