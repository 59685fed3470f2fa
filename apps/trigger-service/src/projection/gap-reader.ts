import type { Broker, StreamCatalog } from '@headrace/broker'
import { crashPoint } from '@headrace/core'
import {
  type Clock,
  codeOf,
  createDuty,
  type Duty,
  limited,
  type Logger,
  type Metrics,
} from '@headrace/service'
import { type ProjectionGap, projectionTriggerId } from '@headrace/store'
import { Turns } from '../catch-up/turns.ts'
import { readRecords } from '../lanes/lane-record.ts'
import type { Lane } from '../lanes/lane.ts'
import type { Reading, Repeats } from '../repeats/repeats.ts'
import { type DeadLetters, recordLetter } from '../set-aside/dead-letters.ts'
import { responseOf } from './projection-follower.ts'
import type { ResponseWriter } from './response-writer.ts'

/** The sweep behind the pokes: a wait whose stream is not projected back to its beginning is not answered before. */
const SWEEP_EVERY_MS = 1_000
/** Fetches of gap readers under way at once in this instance. */
const READS_AT_ONCE_MAX = 2
/** Of one fetch, and so of one turn and of what a reader holds. */
const FETCH_BYTES_MAX = 1024 * 1024
const LOG_EVERY_MS = 10_000

export interface GapStore {
  listGaps(): Promise<readonly ProjectionGap[]>
  /** False when somebody else extended it meanwhile. */
  extend(gap: ProjectionGap, to: { fromOffset: number }): Promise<boolean>
}

export interface GapReaderParts {
  store: GapStore
  broker: Pick<Broker, 'offsetsForTime' | 'readRange'>
  lanes: { readonly all: readonly Lane[] }
  writer: Pick<ResponseWriter, 'write'>
  deadLetters: DeadLetters
  repeats: Pick<Repeats, 'reading'>
  streams: Pick<StreamCatalog, 'reader'>
  log: Logger
  clock: Clock
  metrics: Metrics
}

/**
 * Projects what lies before a projection's beginning, when somebody waits for events from an earlier time: in one go, up to
 * where the projection began, and then says so. Dying on the way begins again; responses twice at one position are one.
 *
 * G1  nothing that follows a lane is slowed: a reader uses fetches of its own, and a share of them
 * G2  the row is extended only when all that it then covers is acknowledged, and only as it was read
 * G3  only who owns the partition reads, and only while its projection is live
 */
export class GapReader {
  readonly duty: Duty
  readonly #parts: GapReaderParts
  readonly #turns = new Turns(READS_AT_ONCE_MAX)
  readonly #running = new Map<Lane, Promise<void>>()
  readonly #stopping = new AbortController()

  constructor(parts: GapReaderParts) {
    this.#parts = parts
    const { log, clock, metrics } = parts
    this.duty = createDuty({
      name: 'trigger-service.projection-gaps',
      everyMs: SWEEP_EVERY_MS,
      log,
      clock,
      metrics,
      runOnce: async () => await this.#sweep(),
    })
  }

  /** Gaps that are being read. */
  get readers(): number {
    return this.#running.size
  }

  /** Ends all reading; what is not said yet is read again by the next owner. May be called twice. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the gap reader was stopped'))
    await this.duty.stop()
    await Promise.all(this.#running.values())
  }

  async #sweep(): Promise<void> {
    const owned = this.#parts.lanes.all.filter((lane) => lane.has(projectionTriggerId))
    if (owned.length === 0) return
    for (const gap of await this.#parts.store.listGaps()) {
      const lane = owned.find(({ stream, partition }) => stream === gap.stream && partition === gap.partition)
      if (lane === undefined || this.#running.has(lane) || this.#stopping.signal.aborted) continue
      this.#running.set(
        lane,
        this.#read(gap, lane).finally(() => this.#running.delete(lane)),
      )
    }
  }

  /** Never rejects: what failed is found again by the next sweep. */
  async #read(gap: ProjectionGap, lane: Lane): Promise<void> {
    const { log, clock, store } = this.#parts
    const { stream, partition } = gap
    const signal = AbortSignal.any([lane.signal, this.#stopping.signal])
    try {
      const fromOffset = await this.#project(gap, lane, signal)
      crashPoint('projection.gap-before-cursor')
      const extended = await store.extend(gap, { fromOffset })
      log.info(
        { event: 'projection.extended', stream, partition, from: fromOffset, to: gap.fromOffset, extended },
        'a stream is projected from an earlier time on',
      )
    } catch (error) {
      if (signal.aborted) return
      limited(log, `projection-gap/${stream}`, LOG_EVERY_MS, clock).warn(
        { event: 'projection.gap_delayed', code: codeOf(error), stream, partition, err: error },
        'events before the beginning of a projection could not be copied; trying again',
      )
    }
  }

  /** Where the projection begins now. */
  async #project(gap: ProjectionGap, lane: Lane, signal: AbortSignal): Promise<number> {
    const { broker, repeats } = this.#parts
    const found = (await broker.offsetsForTime(lane.topic, gap.wantedFrom, { signal })).get(gap.partition)
    if (found === undefined) throw new Error('Kafka does not tell of this partition')
    // Null: nothing in the log is so young, so nothing before the projection's beginning is.
    const from = Math.min(found ?? gap.fromOffset, gap.fromOffset)
    const reading = repeats.reading(lane)
    for (let position = from; position < gap.fromOffset;) {
      const at = position
      position = await this.#turns.take(
        async () => await this.#projectChunk(gap, { lane, reading, from: at }, signal),
      )
    }
    return from
  }

  /** Projects what one fetch shows; where the next one begins. */
  async #projectChunk(
    gap: ProjectionGap,
    { lane, reading, from }: { lane: Lane; reading: Reading; from: number },
    signal: AbortSignal,
  ): Promise<number> {
    const { broker, deadLetters, streams, writer } = this.#parts
    const { topic, stream, partition } = lane
    const range = { topic, partition, from, to: gap.fromOffset, maxBytes: FETCH_BYTES_MAX, signal }
    for await (const { records: raw, nextOffset, end } of broker.readRange(range)) {
      // Retention took its beginning, or the log was cut: where it begins is asked again.
      if (end === 'out_of_range' || (end === 'log_end' && nextOffset < gap.fromOffset))
        throw new Error(`the log does not hold ${nextOffset}`)
      const records = await readRecords(streams, lane, raw, signal)
      const unreadable = records.filter((record) => record.kind === 'unreadable')
      const letters = unreadable.map((record) => recordLetter({ stream, partition }, record))
      if (letters.length > 0) await deadLetters.put(letters, signal)
      const struck = await reading.strike(records, gap.incarnation, signal)
      const responses = struck.flatMap((record) =>
        record.kind === 'event' ? [responseOf(record.event, gap.incarnation)] : [],
      )
      await writer.write({ stream, partition }, responses, signal)
      return nextOffset
    }
    throw new Error('a range was read without an answer')
  }
}
