import type { Broker, StreamCatalog } from '@headrace/broker'
import type { Clock, Logger } from '@headrace/service'
import { type EventIdEntry, type EventPosition, isAt } from '@headrace/store'
import type { LaneRecord } from '../lanes/lane-record.ts'
import { entryOf, REPEATS_KNOWN_MS } from './event-id.ts'
import type { EventIdStore } from './event-id-store.ts'
import { Recall } from './recall.ts'
import { untilAnswered } from './until-answered.ts'

export interface RepeatsParts {
  store: EventIdStore
  broker: Pick<Broker, 'offsetsForTime' | 'readRange'>
  streams: Pick<StreamCatalog, 'reader' | 'bindingOf'>
  log: Logger
  clock: Clock
  /** Told of each failed try, and null when Postgres answers again. */
  onOutage: (detail: string | null) => void
}

/** A partition of a stream, and its Kafka topic. */
export interface ReadPlace {
  readonly stream: string
  readonly topic: string
  readonly partition: number
}

interface Repeat {
  readonly entry: EventIdEntry
  readonly first: EventPosition
}

/** Repeats that a line names, with both positions; more are counted in it. */
const NAMED_MAX = 20

/**
 * Recognises repeats: events whose id came from outside (`headrace-dedup`) and stands for another event already. Whoever
 * reads a stream gives what it read through a {@link Reading} before anybody sees it.
 *
 * R1  an id stands for the position that was entered first, for all readers and triggers alike; entering is committed
 *     before anything is decided, and a record met again at its own position is no repeat
 * R2  nothing is passed while ids cannot be entered, or repeats not be recorded: readers wait
 * R3  ids are known that a record may be a repeat of: those of the 24 h of log time before it. Ids are swept only behind
 *     what is followed; a reading that begins further back has them entered again, in the log's order, before its own
 * R4  events that are not marked cost nothing
 */
export class Repeats {
  readonly #parts: RepeatsParts
  readonly #recall: Recall

  constructor(parts: RepeatsParts) {
    this.#parts = parts
    this.#recall = new Recall(parts)
  }

  /**
   * One way through a partition, from where a cursor is live already: a lane's from its start on, a catch-up reader's.
   * Begin another when the reading starts anew elsewhere.
   */
  reading(place: ReadPlace): Reading {
    return new Reading(place, this.#parts, this.#recall)
  }
}

export class Reading {
  readonly #place: ReadPlace
  readonly #parts: RepeatsParts
  readonly #recall: Recall
  /** Ids of events since then are known; ms since 1970. */
  #knownFromMs = Number.POSITIVE_INFINITY

  constructor(place: ReadPlace, parts: RepeatsParts, recall: Recall) {
    this.#place = place
    this.#parts = parts
    this.#recall = recall
  }

  /** From when on the ids must be known of which these records may be repeats; null when they are, or none is marked. */
  unknownFrom(records: readonly LaneRecord[]): number | null {
    let earliestMs = Number.POSITIVE_INFINITY
    for (const record of records)
      if (isMarked(record)) earliestMs = Math.min(earliestMs, record.event.createdAt)
    const fromMs = Math.max(0, earliestMs - REPEATS_KNOWN_MS)
    return fromMs < this.#knownFromMs ? fromMs : null
  }

  /** May take as long as reading days of the stream, where ids were swept that are wanted again. */
  async makeKnown(fromMs: number, signal: AbortSignal): Promise<void> {
    this.#knownFromMs = await this.#recall.knownFrom({ ...this.#place, fromMs, signal })
  }

  /**
   * The same records, those that are repeats of kind `repeat`. Waits for as long as Postgres is away; rejects only when
   * `signal` is aborted.
   */
  async strike(
    records: readonly LaneRecord[],
    incarnation: number,
    signal: AbortSignal,
  ): Promise<readonly LaneRecord[]> {
    const unknownFromMs = this.unknownFrom(records)
    if (unknownFromMs !== null) await this.makeKnown(unknownFromMs, signal)
    const marked = records.flatMap((record) =>
      isMarked(record) ? [[record, entryOf(record.event, incarnation)] as const] : [],
    )
    if (marked.length === 0) return records
    const stored = await untilAnswered(
      this.#parts,
      signal,
      async () => await this.#parts.store.enter(marked.map(([, entry]) => entry)),
    )
    const repeats = new Map<LaneRecord, Repeat>()
    for (const [index, [record, entry]] of marked.entries()) {
      const first = stored[index]
      if (first instanceof Error) this.#sayRefused(entry, first)
      else if (first !== undefined && !isAt(first, entry)) repeats.set(record, { entry, first })
    }
    if (repeats.size === 0) return records
    const decided = [...repeats.values()].map(({ entry, first }) => ({ ...entry, first }))
    await untilAnswered(this.#parts, signal, async () => await this.#parts.store.recordRepeats(decided))
    this.#say([...repeats.values()])
    return records.map((record) => (isMarked(record) && repeats.has(record) ? toRepeat(record) : record))
  }

  #sayRefused(entry: EventIdEntry, error: Error): void {
    const { stream } = this.#place
    this.#parts.log.error(
      { event: 'event_id.refused', code: 'event_id_not_storable', stream, ...positionOf(entry), err: error },
      'Postgres cannot hold this id; its event goes on, and repeats of it are not recognised',
    )
  }

  /** One line for what was read at once: somebody who sends 10,000 events again must not drown the log. */
  #say(repeats: readonly Repeat[]): void {
    const { stream, partition } = this.#place
    this.#parts.log.info(
      {
        event: 'event.repeated',
        code: 'repeat',
        stream,
        partition,
        count: repeats.length,
        repeats: repeats.slice(0, NAMED_MAX).map(({ entry, first }) => ({
          source: entry.source,
          id: entry.id,
          ...positionOf(entry),
          first: positionOf(first),
        })),
      },
      'events came again under their ids, and nothing is started by them',
    )
  }
}

type EventOfLane = Extract<LaneRecord, { kind: 'event' }>

/** An event that may be a repeat, or have some. */
export const isMarked = (record: LaneRecord): record is EventOfLane =>
  record.kind === 'event' && record.event.dedup

function toRepeat(record: EventOfLane): LaneRecord {
  return { kind: 'repeat', seen: record.seen, topic: record.event.topic }
}

function positionOf({ incarnation, partition, sequenceId }: EventPosition) {
  return { incarnation, partition, sequence_id: sequenceId }
}
