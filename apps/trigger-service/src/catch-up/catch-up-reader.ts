import type { Broker, StreamCatalog } from '@headrace/broker'
import { type Clock, codeOf, limited, type Logger } from '@headrace/service'
import type { Reading, Repeats } from '../repeats/repeats.ts'
import { type DeadLetters, recordLetter } from '../set-aside/dead-letters.ts'
import type { Follower, LaneEntry } from '../lanes/follower.ts'
import { type LaneRecord, readRecords } from '../lanes/lane-record.ts'
import { LANE_BEHIND_MAX } from '../lanes/lane-start.ts'
import type { Lane } from '../lanes/lane.ts'
import { Turns } from './turns.ts'
import { untilSettled } from './until-settled.ts'

/** Fetches of catch-up readers under way at once in this instance; a resumed stream of many triggers takes turns. */
const READS_AT_ONCE_MAX = 4
/** Of one fetch, and so of one turn. */
const FETCH_BYTES_MAX = 1024 * 1024
const PAUSE_FIRST_MS = 100
const PAUSE_MAX_MS = 5_000
const LOG_EVERY_MS = 10_000

export interface CatchUpParts {
  broker: Pick<Broker, 'readRange'>
  enqueue: (entry: LaneEntry) => void
  deadLetters: DeadLetters
  repeats: Pick<Repeats, 'reading'>
  streams: Pick<StreamCatalog, 'reader'>
  log: Logger
  clock: Clock
  /** A follower was dropped that must be read again. */
  onOrphans: () => void
}

/** A follower behind its lane, and its way through the partition. */
interface Chase {
  readonly follower: Follower
  readonly lane: Lane
  readonly reading: Reading
}

/**
 * Reads for triggers that are behind their lane (resumed, new, changed, fenced), and for projections that could not keep
 * up with theirs, one reader each, until they meet it.
 *
 * C1  the lane is never slowed: a reader uses fetches of its own, and a share of them
 * C2  a follower joins when it has scanned all below the lane's position, in the same turn of the event loop
 * C3  a reader ends with its follower (met, dropped, or its lane revoked), and when the service stops
 */
export class CatchUp {
  readonly #parts: CatchUpParts
  readonly #turns = new Turns(READS_AT_ONCE_MAX)
  readonly #running = new Set<Promise<void>>()
  readonly #stopping = new AbortController()

  constructor(parts: CatchUpParts) {
    this.#parts = parts
  }

  /** Readers at work. */
  get readers(): number {
    return this.#running.size
  }

  begin(follower: Follower, lane: Lane): void {
    const ended = new AbortController()
    lane.chase(follower)
    follower.onSettled = () => {
      if (follower.live) return
      lane.unchase(follower)
      ended.abort(new Error('the follower was dropped'))
    }
    const { log, onOrphans } = this.#parts
    const name = { trigger: follower.trigger.id, ...follower.lane }
    log.info(
      { event: 'catch_up.started', ...name, from: follower.scanned, lane_position: lane.position },
      'a trigger catches up with its lane',
    )
    const signal = AbortSignal.any([ended.signal, lane.signal, this.#stopping.signal])
    const reader = this.#read(follower, lane, signal)
      .catch((error: unknown) => {
        if (!follower.live || signal.aborted) return
        log.error(
          { event: 'catch_up.failed', code: codeOf(error), ...name, err: error },
          'its cursor is read again',
        )
        follower.drop()
        onOrphans()
      })
      .finally(() => this.#running.delete(reader))
    this.#running.add(reader)
  }

  /**
   * Reads nothing more: a reader with a long way to go would keep the flusher busy for as long as a stop may take. What
   * it closed is still flushed.
   */
  freeze(): void {
    this.#stopping.abort(new Error('the service is stopping'))
  }

  /** Resolves when no reader is at work; they end with their lanes. */
  async ended(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  async #read(follower: Follower, lane: Lane, signal: AbortSignal): Promise<void> {
    let failures = 0
    const reading = this.#parts.repeats.reading(lane)
    for (;;) {
      // Before it may meet the lane, too: one that left it for want of room would leave it again at once.
      await untilSettled(follower, () => follower.pending.bytes < lane.pendingBytesMax, signal)
      signal.throwIfAborted()
      if (this.#meets(follower, lane)) return
      try {
        const unknownFromMs = await this.#turns.take(
          async () => await this.#readChunk({ follower, lane, reading }, signal),
        )
        // Days of the log may have to be read for it, during which others have their turns; then the chunk is read again.
        if (unknownFromMs !== null) await reading.makeKnown(unknownFromMs, signal)
        failures = 0
      } catch (error) {
        signal.throwIfAborted()
        failures += 1
        limited(this.#parts.log, `catch-up/${lane.topic}`, LOG_EVERY_MS, this.#parts.clock).warn(
          { event: 'catch_up.delayed', code: codeOf(error), ...follower.lane, err: error },
          'a catch-up reader could not read; trying again',
        )
        await this.#parts.clock.sleep(Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** failures), signal)
      }
    }
  }

  /** Synchronous from its look at the lane's position to the join (C2). */
  #meets(follower: Follower, lane: Lane): boolean {
    for (const record of lane.tailFrom(follower.scanned) ?? []) this.#scan(follower, record)
    if (lane.tailFrom(follower.scanned) !== null) this.#enqueue(follower.passTo(lane.position))
    if (follower.scanned < lane.position) return false
    lane.join(follower)
    if (follower.live)
      this.#parts.log.info(
        { event: 'catch_up.met', trigger: follower.trigger.id, ...follower.lane, position: lane.position },
        'a trigger met its lane',
      )
    return true
  }

  /** Scans one fetch; or says from when on ids must be known before it can. */
  async #readChunk({ follower, lane, reading }: Chase, signal: AbortSignal): Promise<number | null> {
    const { topic, partition } = lane
    const from = follower.scanned
    if (lane.position - from <= LANE_BEHIND_MAX) lane.keepTail()
    const to = lane.position
    const range = { topic, partition, from, to, maxBytes: FETCH_BYTES_MAX, signal }
    for await (const { records, nextOffset, end } of this.#parts.broker.readRange(range)) {
      if (end === 'out_of_range' || (end === 'log_end' && nextOffset < to)) {
        // Retention took it, or the log was cut: what to do is decided where cursors are compared with the log.
        follower.drop()
        this.#parts.onOrphans()
        return null
      }
      const read = await readRecords(this.#parts.streams, lane, records, signal)
      const unknownFromMs = reading.unknownFrom(read)
      if (unknownFromMs !== null) return unknownFromMs
      await this.#scanAll({ follower, lane, reading }, read, signal)
      this.#enqueue(follower.passTo(nextOffset))
      return null
    }
    return null
  }

  async #scanAll(
    { follower, lane, reading }: Chase,
    records: readonly LaneRecord[],
    signal: AbortSignal,
  ): Promise<void> {
    const letters = records
      .filter((record) => record.kind === 'unreadable')
      // From there on the lane itself has set them aside.
      .filter(({ seen }) => seen.offset < lane.startedAt)
      .map((record) => recordLetter(follower.lane, record))
    if (letters.length > 0) await this.#parts.deadLetters.put(letters, signal)
    for (const record of await reading.strike(records, follower.incarnation, signal))
      this.#scan(follower, record)
  }

  #scan(follower: Follower, record: LaneRecord): void {
    if (follower.live) this.#enqueue(follower.scan(record))
  }

  #enqueue(entries: readonly LaneEntry[]): void {
    for (const entry of entries) this.#parts.enqueue(entry)
  }
}
