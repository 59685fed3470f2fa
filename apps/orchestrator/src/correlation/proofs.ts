import { type Broker, BrokerError, partitionFor, responsesTopic, type StreamCatalog } from '@headrace/broker'
import type { Clock } from '@headrace/service'
import type { DueWait, ProjectionCursor } from '@headrace/store'
import { KafkaQuestions } from './kafka-questions.ts'
import { endsPassed, isBegunAnew } from './passed.ts'

export interface ProofsOptions {
  broker: Pick<Broker, 'offsets' | 'stableEnds'>
  prefix: string
  catalog: Pick<StreamCatalog, 'topicOf'>
  /** The projection's cursors on these streams, now. */
  projection: (streams: string[]) => Promise<ProjectionCursor[]>
  /** The correlator's cursors, now. */
  correlator: () => Promise<ReadonlyMap<number, number>>
  clock: Pick<Clock, 'now'>
  /** How long Kafka must not have answered before that counts as none to be had (ms): an election is no reason. */
  graceMs: number
}

/** What one look at some due waits found. */
export interface Verdict {
  /** No answer of theirs is on its way: whatever was accepted within their time is stored, and may be read. */
  proven: DueWait[]
  /** Streams for which the proof cannot be had: their projection stands still, or Kafka has not answered for a grace. */
  halted: ReadonlySet<string>
  /** Why Kafka could not be asked about some of them; null when it answered. */
  fault: unknown
}

/**
 * A proof in the making, for the waits of one stream whose responses lie on one partition. Every end is taken before the
 * position that is compared with it, and after what it is to prove: first the waits are seen to be due, then the ends of
 * the stream are taken, then the projection is seen to have passed them, then the end of the response partition is taken,
 * then the correlator is seen to have passed that.
 */
interface Proof {
  /** It holds for waits whose time was over by then (ms, by Postgres's clock). */
  dueMs: number
  /** Empty: the stream has no Kafka topic and was never projected. */
  sourceEnds: ReadonlyMap<number, number>
  responseEnd: number | null
}

interface Group {
  name: string
  stream: string
  responsePartition: number
  waits: DueWait[]
}

/** Proofs in the making, kept between looks. They are lost with the process, and then begun anew. */
export class Proofs {
  readonly #options: ProofsOptions
  readonly #proofs = new Map<string, Proof>()
  readonly #kafka: KafkaQuestions
  /** Fixed for the life of the response topic. */
  #responsePartitions: number | null = null

  constructor(options: ProofsOptions) {
    this.#options = options
    this.#kafka = new KafkaQuestions(options.clock)
  }

  /** Begins a round of looks, in which a topic that Kafka does not answer for is asked about once. */
  newRound(): void {
    this.#kafka.newRound()
  }

  /** `due`: waits that Postgres said are due, all at one moment. */
  async look(due: readonly DueWait[]): Promise<Verdict> {
    const streams = [...new Set(due.map(({ stream }) => stream))]
    const before = progressOf(await this.#options.projection(streams))
    const halted = new Set(streams.filter((stream) => before.get(stream)?.isHalted))
    const groups = await this.#groupsOf(due)
    await this.#begin(groups, { due, before, halted })
    await this.#advance(groups, progressOf(await this.#options.projection(streams)))
    const cursors = await this.#options.correlator()
    await this.#checkEnds(groups, cursors)
    const proven = groups.flatMap((group) => this.#provenOf(group, cursors))
    const isAway = (topic: string): boolean => this.#kafka.hasFailedFor(topic, this.#options.graceMs)
    for (const stream of streams)
      if (isAway(this.#responses) || isAway(this.#topicOf(stream))) halted.add(stream)
    for (const { name, stream } of groups) if (halted.has(stream)) this.#proofs.delete(name)
    return { proven, halted, fault: this.#kafka.fault }
  }

  /** Forgets what no wait asks for any more: all but these streams. */
  keepOnly(streams: ReadonlySet<string>): void {
    for (const name of this.#proofs.keys())
      if (!streams.has(name.slice(0, name.indexOf('/')))) this.#proofs.delete(name)
    this.#kafka.keepOnly(new Set([this.#responses, ...[...streams].map((stream) => this.#topicOf(stream))]))
  }

  get #responses(): string {
    return responsesTopic(this.#options.prefix).name
  }

  #topicOf(stream: string): string {
    return this.#options.catalog.topicOf(stream)
  }

  /** The ends of the response topic's partitions; null while Kafka does not tell. */
  async #responseEnds(): Promise<ReadonlyMap<number, number> | null> {
    const { broker } = this.#options
    const ends = await this.#kafka.ask(this.#responses, async (topic) => await broker.offsets(topic))
    return ends && new Map([...ends].map(([partition, { high }]) => [partition, high]))
  }

  /** Only waits that are open: one that is pending times out once it was opened. */
  async #groupsOf(due: readonly DueWait[]): Promise<Group[]> {
    const open = due.filter(({ status }) => status === 'open')
    if (open.length === 0) return []
    this.#responsePartitions ??= (await this.#responseEnds())?.size ?? null
    if (this.#responsePartitions === null) return []
    const groups = new Map<string, Group>()
    for (const wait of open) {
      const responsePartition = partitionFor(wait.topic, this.#responsePartitions)
      // Names of streams hold no slash.
      const name = `${wait.stream}/${responsePartition}`
      const group = groups.get(name)
      if (group) group.waits.push(wait)
      else groups.set(name, { name, stream: wait.stream, responsePartition, waits: [wait] })
    }
    return [...groups.values()]
  }

  /**
   * Takes the ends of streams; also for pending waits, whose stream may be gone before it was ever opened, and again for
   * those that are over for long: whether their proof can still be had is known by asking alone.
   */
  async #begin(
    groups: readonly Group[],
    { due, before, halted }: { due: readonly DueWait[]; before: Map<string, Progress>; halted: Set<string> },
  ): Promise<void> {
    const begun = groups.filter(({ name }) => !this.#proofs.has(name))
    const asking = due.filter(
      ({ status, overdueMs }) => status === 'pending' || overdueMs >= this.#options.graceMs,
    )
    const streams = [...new Set([...begun, ...asking].map(({ stream }) => stream))]
    const answers = await Promise.all(
      streams.map(async (stream) => await this.#sourceEnds(stream, before.get(stream))),
    )
    const ends = new Map(streams.map((stream, at) => [stream, answers[at] ?? null]))
    for (const [stream, sourceEnds] of ends) if (sourceEnds === 'gone') halted.add(stream)
    for (const { name, stream } of begun) {
      const sourceEnds = ends.get(stream)
      if (sourceEnds && sourceEnds !== 'gone')
        this.#proofs.set(name, { dueMs: dueMsOf(due), sourceEnds, responseEnd: null })
    }
  }

  /**
   * `gone`: what was projected is not what the stream is now, since its topic is gone or was made anew. Null: Kafka does
   * not tell.
   */
  async #sourceEnds(
    stream: string,
    progress: Progress | undefined,
  ): Promise<ReadonlyMap<number, number> | 'gone' | null> {
    const { broker } = this.#options
    return await this.#kafka.ask(this.#topicOf(stream), async (topic) => {
      try {
        const ends = await broker.stableEnds(topic)
        for (const [partition, nextOffset] of progress?.cursors ?? [])
          if (nextOffset > (ends.get(partition) ?? 0)) return 'gone'
        return ends
      } catch (error) {
        if (!(error instanceof BrokerError) || error.code !== 'unknown_topic') throw error
        return progress === undefined ? new Map<number, number>() : 'gone'
      }
    })
  }

  async #advance(groups: readonly Group[], progress: Map<string, Progress>): Promise<void> {
    const passed = groups.filter(({ name, stream }) => {
      const proof = this.#proofs.get(name)
      if (proof === undefined || proof.responseEnd !== null) return false
      return endsPassed(proof.sourceEnds, progress.get(stream)?.cursors ?? new Map())
    })
    if (passed.length === 0) return
    const ends = await this.#responseEnds()
    for (const { name, responsePartition } of passed) {
      const proof = this.#proofs.get(name)
      const end = ends?.get(responsePartition)
      if (proof !== undefined && end !== undefined) proof.responseEnd = end
    }
  }

  /**
   * Ends of a response topic that is no more would never be passed, or by a cursor of then that has passed nothing: what
   * stands on them is begun anew.
   */
  async #checkEnds(groups: readonly Group[], cursors: ReadonlyMap<number, number>): Promise<void> {
    const taken = groups.flatMap(({ name, responsePartition }) => {
      const end = this.#proofs.get(name)?.responseEnd ?? null
      return end === null ? [] : [{ name, ends: new Map([[responsePartition, end]]) }]
    })
    if (taken.length === 0) return
    const now = await this.#responseEnds()
    if (now === null) return
    for (const { name, ends } of taken) if (isBegunAnew(now, ends, cursors)) this.#proofs.delete(name)
  }

  #provenOf({ name, responsePartition, waits }: Group, cursors: ReadonlyMap<number, number>): DueWait[] {
    const proof = this.#proofs.get(name)
    if (proof === undefined || proof.responseEnd === null) return []
    if ((cursors.get(responsePartition) ?? 0) < proof.responseEnd) return []
    // Waits that are due only since need one of their own.
    this.#proofs.delete(name)
    return waits.filter(({ expiresAtMs }) => expiresAtMs <= proof.dueMs)
  }
}

/** The moment at which Postgres said that they are due, by its clock. */
const dueMsOf = (due: readonly DueWait[]): number =>
  due.reduce((latest, { expiresAtMs, overdueMs }) => Math.max(latest, expiresAtMs + overdueMs), 0)

interface Progress {
  cursors: Map<number, number>
  isHalted: boolean
}

function progressOf(cursors: readonly ProjectionCursor[]): Map<string, Progress> {
  const streams = new Map<string, Progress>()
  for (const { stream, partition, nextOffset, status } of cursors) {
    const progress = streams.get(stream) ?? { cursors: new Map<number, number>(), isHalted: false }
    progress.cursors.set(partition, nextOffset)
    progress.isHalted ||= status !== 'live'
    streams.set(stream, progress)
  }
  return streams
}
