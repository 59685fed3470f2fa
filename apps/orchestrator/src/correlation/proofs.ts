import { type Broker, BrokerError, eventsTopic, partitionFor, responsesTopic } from '@headrace/broker'
import type { DueWait, ProjectionCursor } from '@headrace/store'
import { endsPassed } from './passed.ts'

export interface ProofsOptions {
  broker: Pick<Broker, 'offsets' | 'stableEnds'>
  prefix: string
  /** The projection's cursors on these streams, now. */
  projection: (streams: string[]) => Promise<ProjectionCursor[]>
  /** The correlator's cursors, now. */
  correlator: () => Promise<ReadonlyMap<number, number>>
}

/** What one look at some due waits found. */
export interface Verdict {
  /** No answer of theirs is on its way: whatever was accepted within their time is stored, and may be read. */
  proven: DueWait[]
  /** Streams whose projection stands still, so that the proof for them cannot be had. */
  halted: ReadonlySet<string>
  /** Why Kafka could not be asked; null when it answered. */
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
  /** Fixed for the life of the response topic. */
  #responsePartitions: number | null = null

  constructor(options: ProofsOptions) {
    this.#options = options
  }

  /** `due`: waits that Postgres said are due, all at one moment. */
  async look(due: readonly DueWait[]): Promise<Verdict> {
    const streams = [...new Set(due.map(({ stream }) => stream))]
    const before = progressOf(await this.#options.projection(streams))
    const halted = new Set(streams.filter((stream) => before.get(stream)?.isHalted))
    const verdict: Verdict = { proven: [], halted, fault: null }
    let groups: Group[] = []
    try {
      groups = await this.#groupsOf(due)
      await this.#begin(groups, { due, before, halted })
      await this.#advance(groups, progressOf(await this.#options.projection(streams)))
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error
      // What was proven so far stays good.
      verdict.fault = error
    }
    const cursors = await this.#options.correlator()
    verdict.proven = groups.flatMap((group) => this.#provenOf(group, cursors))
    return verdict
  }

  /** Forgets what no wait asks for any more. */
  keepOnly(due: readonly DueWait[]): void {
    const streams = new Set(due.map(({ stream }) => stream))
    for (const name of this.#proofs.keys())
      if (!streams.has(name.slice(0, name.indexOf('/')))) this.#proofs.delete(name)
  }

  /** Only waits that are open: one that is pending times out once it was opened. */
  async #groupsOf(due: readonly DueWait[]): Promise<Group[]> {
    const open = due.filter(({ status }) => status === 'open')
    if (open.length === 0) return []
    const { broker, prefix } = this.#options
    this.#responsePartitions ??= (await broker.offsets(responsesTopic(prefix).name)).size
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

  /** Takes the ends of streams; also for pending waits, whose stream may be gone before it was ever opened. */
  async #begin(
    groups: readonly Group[],
    { due, before, halted }: { due: readonly DueWait[]; before: Map<string, Progress>; halted: Set<string> },
  ): Promise<void> {
    const begun = groups.filter(({ name }) => !this.#proofs.has(name))
    const pending = due.filter(({ status }) => status === 'pending')
    const ends = new Map<string, ReadonlyMap<number, number> | null>()
    for (const { stream } of [...begun, ...pending])
      if (!ends.has(stream)) ends.set(stream, await this.#sourceEnds(stream, before.get(stream)))
    for (const [stream, sourceEnds] of ends) if (sourceEnds === null) halted.add(stream)
    for (const { name, stream } of begun) {
      const sourceEnds = ends.get(stream)
      if (sourceEnds) this.#proofs.set(name, { dueMs: dueMsOf(due), sourceEnds, responseEnd: null })
    }
  }

  /** Null: what was projected is not what the stream is now, since its topic is gone or was made anew. */
  async #sourceEnds(
    stream: string,
    progress: Progress | undefined,
  ): Promise<ReadonlyMap<number, number> | null> {
    const { broker, prefix } = this.#options
    try {
      const ends = await broker.stableEnds(eventsTopic(prefix, stream).name)
      for (const [partition, nextOffset] of progress?.cursors ?? [])
        if (nextOffset > (ends.get(partition) ?? 0)) return null
      return ends
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== 'unknown_topic') throw error
      return progress === undefined ? new Map() : null
    }
  }

  async #advance(groups: readonly Group[], progress: Map<string, Progress>): Promise<void> {
    const passed = groups.filter(({ name, stream }) => {
      const proof = this.#proofs.get(name)
      if (proof === undefined || proof.responseEnd !== null) return false
      return endsPassed(proof.sourceEnds, progress.get(stream)?.cursors ?? new Map())
    })
    if (passed.length === 0) return
    const { broker, prefix } = this.#options
    const ends = await broker.offsets(responsesTopic(prefix).name)
    for (const { name, responsePartition } of passed) {
      const proof = this.#proofs.get(name)
      const end = ends.get(responsePartition)
      if (proof !== undefined && end !== undefined) proof.responseEnd = end.high
    }
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
