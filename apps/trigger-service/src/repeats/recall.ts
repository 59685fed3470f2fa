import { type Broker, BrokerError, type IncomingRecord, type StreamCatalog } from '@headrace/broker'
import { type Clock, codeOf, type Logger } from '@headrace/service'
import type { EventIdEntry, SweptTo } from '@headrace/store'
import { Turns } from '../catch-up/turns.ts'
import { readRecords } from '../lanes/lane-record.ts'
import { entryOf } from './event-id.ts'
import type { EventIdStore } from './event-id-store.ts'
import { untilAnswered } from './until-answered.ts'

/** Ids entered in one statement, as many as a lane's chunk may hold. */
const BATCH_IDS_MAX = 500
/** Of one fetch, and so of what is held of each partition. */
const FETCH_BYTES_MAX = 256 * 1024

export interface RecallParts {
  store: EventIdStore
  broker: Pick<Broker, 'offsetsForTime' | 'readRange'>
  streams: Pick<StreamCatalog, 'reader' | 'bindingOf'>
  log: Logger
  clock: Clock
  onOutage: (detail: string | null) => void
}

interface Recalled {
  readonly stream: string
  readonly topic: string
  /** Ids of events from then on are to be known; ms since 1970. */
  readonly fromMs: number
  readonly signal: AbortSignal
}

/**
 * Enters ids again that were swept while nobody followed: a trigger that was paused for days goes on where it was, and an
 * event there may be the repeat of one that it had before. All partitions of the stream, because a repeat may lie on another
 * one than the first, and in the order of the log's times, because of two the earlier is the first; unless the earlier was
 * read later, and decided to be the repeat. What was entered
 * again stays known: the sweep is behind the trigger's cursor now.
 */
export class Recall {
  readonly #parts: RecallParts
  readonly #turns = new Map<string, Turns>()

  constructor(parts: RecallParts) {
    this.#parts = parts
  }

  /**
   * Resolves when the stream's ids are known from `fromMs` on, at once when none of them was swept; with the time from
   * which they are. The caller's cursor must be live in Postgres already: only then does nothing go meanwhile.
   */
  async knownFrom(wanted: Recalled): Promise<number> {
    const { stream, fromMs, signal } = wanted
    // Out of turn: a lane that is near the head has all it needs, however long somebody else has to read.
    const { sweptToMs } = await this.#swept(stream, signal)
    if (sweptToMs <= fromMs) return sweptToMs
    const turns = this.#turns.get(stream) ?? new Turns(1)
    this.#turns.set(stream, turns)
    // In turns: the second of two lanes finds that the first has read for it.
    return await turns.take(async () => await this.#untilKnown(wanted))
  }

  async #untilKnown(wanted: Recalled): Promise<number> {
    const { stream, fromMs, signal } = wanted
    const ask = async <Answer>(what: () => Promise<Answer>): Promise<Answer> =>
      await untilAnswered(this.#parts, signal, what)
    for (;;) {
      const { sweptToMs, revision } = await this.#swept(stream, signal)
      if (sweptToMs <= fromMs) return sweptToMs
      await ask(async () => await this.#enterAgain({ ...wanted, toMs: sweptToMs }))
      await ask(async () => await this.#parts.store.recalled({ stream, revision, fromMs }))
    }
  }

  async #swept(stream: string, signal: AbortSignal): Promise<SweptTo> {
    return await untilAnswered(this.#parts, signal, async () => await this.#parts.store.swept(stream))
  }

  async #enterAgain({ stream, topic, fromMs, toMs, signal }: Recalled & { toMs: number }): Promise<void> {
    const { broker, log, store, streams } = this.#parts
    log.info(
      { event: 'repeats.recall', stream, from_ms: fromMs, to_ms: toMs },
      'ids of events are read from the log again: they were swept while a trigger was away',
    )
    const incarnations = await store.incarnations(stream)
    const from = await broker.offsetsForTime(topic, Math.floor(fromMs), { signal })
    const to = await broker.offsetsForTime(topic, Math.ceil(toMs), { signal })
    const sources: MarkedIds[] = []
    for (const [partition, offset] of from) {
      if (offset === null) continue
      const range = { topic, partition, from: offset, to: to.get(partition) ?? null }
      const incarnation = incarnations.get(partition) ?? 1
      sources.push(
        new MarkedIds(this.#chunks({ ...range, signal }), { stream, partition, incarnation, streams }),
      )
    }
    let batch: EventIdEntry[] = []
    for await (const entry of byLogTime(sources)) {
      batch.push(entry)
      if (batch.length < BATCH_IDS_MAX) continue
      await this.#enter(batch)
      batch = []
    }
    if (batch.length > 0) await this.#enter(batch)
  }

  /** What was a repeat when it was new is one again, though its copy lies behind it in the log and was only read before it. */
  async #enter(entries: readonly EventIdEntry[]): Promise<void> {
    const { store } = this.#parts
    const firsts = await store.decided(entries)
    await store.enter(entries.map((entry, index) => ({ ...entry, ...firsts[index] })))
  }

  /** The records of a range that are left of it: what retention took meanwhile is nobody's repeat any more. */
  async *#chunks(range: {
    topic: string
    partition: number
    from: number
    to: number | null
    signal: AbortSignal
  }): AsyncGenerator<readonly IncomingRecord[], void, undefined> {
    const { topic, partition } = range
    let from = range.from
    try {
      for (;;) {
        let low = from
        for await (const chunk of this.#parts.broker.readRange({
          ...range,
          from,
          maxBytes: FETCH_BYTES_MAX,
        })) {
          if (chunk.end === 'out_of_range') low = chunk.lowWatermark
          else yield chunk.records
        }
        if (low <= from) return
        from = low
      }
    } catch (error) {
      // A batch that nobody can read, for good; whoever reads the stream says so too.
      if (!(error instanceof BrokerError) || error.retryable) throw error
      this.#parts.log.warn(
        { event: 'repeats.unreadable', code: codeOf(error), topic, partition, err: error },
        'ids of events behind a batch that cannot be read stay unknown',
      )
    }
  }
}

interface MarkedPlace {
  stream: string
  partition: number
  incarnation: number
  streams: RecallParts['streams']
}

/** The marked ids of a partition, in its order. */
class MarkedIds {
  readonly #chunks: AsyncGenerator<readonly IncomingRecord[], void, undefined>
  readonly #place: MarkedPlace
  #entries: EventIdEntry[] = []

  constructor(chunks: AsyncGenerator<readonly IncomingRecord[], void, undefined>, place: MarkedPlace) {
    this.#chunks = chunks
    this.#place = place
  }

  /** The next one; null when there is none. */
  async peek(): Promise<EventIdEntry | null> {
    for (;;) {
      const next = this.#entries.at(-1)
      if (next !== undefined) return next
      const chunk = await this.#chunks.next()
      if (chunk.done === true) return null
      this.#entries = (await this.#read(chunk.value)).toReversed()
    }
  }

  take(): void {
    this.#entries.pop()
  }

  async close(): Promise<void> {
    await this.#chunks.return()
  }

  async #read(records: readonly IncomingRecord[]): Promise<EventIdEntry[]> {
    const { incarnation, streams, ...place } = this.#place
    const isOwn = streams.bindingOf(place.stream) === null
    const marked = isOwn ? records.filter((raw) => raw.headers['headrace-dedup'] !== undefined) : records
    return (await readRecords(streams, place, marked)).flatMap((record) =>
      record.kind === 'event' && record.event.dedup ? [entryOf(record.event, incarnation)] : [],
    )
  }
}

/** Lowest log time first; within a partition in its order, whatever its times say. */
async function* byLogTime(sources: readonly MarkedIds[]): AsyncGenerator<EventIdEntry, void, undefined> {
  try {
    for (;;) {
      let first: { source: MarkedIds; entry: EventIdEntry } | null = null
      for (const source of sources) {
        const entry = await source.peek()
        if (entry !== null && (first === null || entry.logTimeMs < first.entry.logTimeMs))
          first = { source, entry }
      }
      if (first === null) return
      first.source.take()
      yield first.entry
    }
  } finally {
    for (const source of sources) await source.close()
  }
}
