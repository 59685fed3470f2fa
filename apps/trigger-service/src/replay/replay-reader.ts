import { type Broker, BrokerError, type StreamCatalog } from '@headrace/broker'
import {
  type Clock,
  codeOf,
  createDuty,
  type Duty,
  limited,
  type Logger,
  type Metrics,
} from '@headrace/service'
import type { ReplayCounts, RunningReplay, TriggerRow } from '@headrace/store'
import { Turns } from '../catch-up/turns.ts'
import { untilSettled } from '../catch-up/until-settled.ts'
import type { LaneEntry } from '../lanes/follower.ts'
import { gapOfCursor } from '../lanes/gap.ts'
import { readRecords } from '../lanes/lane-record.ts'
import type { Lane } from '../lanes/lane.ts'
import { expressionsOf } from '../lanes/trigger-expressions.ts'
import type { Reading, Repeats } from '../repeats/repeats.ts'
import { progressEntry } from '../start-runs/flush-entry.ts'
import { ReplayFollower, Tally } from './replay-follower.ts'

/** A replay begins so late at the most. */
const SWEEP_EVERY_MS = 1_000
/** Fetches of replays under way at once in this instance: they are in nobody's hurry. */
const READS_AT_ONCE_MAX = 2
/** Of one fetch, and so of one turn. */
const FETCH_BYTES_MAX = 1024 * 1024
const LOG_EVERY_MS = 10_000

interface ReplayEnd {
  revision: number
  status: 'done' | 'failed'
  reason: string | null
  counts: ReplayCounts | null
}

export interface ReplayStore {
  list(): Promise<readonly RunningReplay[]>
  /** False when somebody else goes on with it. */
  finish(replay: RunningReplay, end: ReplayEnd): Promise<boolean>
}

export interface ReplayReaderParts {
  store: ReplayStore
  broker: Pick<Broker, 'offsets' | 'readRange'>
  streams: Pick<StreamCatalog, 'reader'>
  lanes: { readonly all: readonly Lane[] }
  /** Of a trigger that is followed now; null: it is paused, held back or gone, and so are its replays. */
  trigger: (stream: string, id: string) => TriggerRow | null
  enqueue: (entry: LaneEntry) => void
  repeats: Pick<Repeats, 'reading'>
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** One range at work. */
interface Work {
  readonly replay: RunningReplay
  readonly trigger: TriggerRow
  readonly lane: Lane
  readonly follower: ReplayFollower
  readonly reading: Reading
  readonly tally: Tally
  readonly signal: AbortSignal
}

/**
 * Starts a trigger's runs again for a stretch of its stream, or counts them, beside the lane of the partition.
 *
 * Y1  nothing that follows a lane is slowed: a reader uses fetches of its own, and a share of them
 * Y2  the range has a cursor, and its windows and the cursor move together; whoever dies, the next owner goes on there
 * Y3  a dry run goes the same way with the same rules, and stores its counts instead: they are exactly what would start
 * Y4  windows that are open at the end of the range close there, each as often as it is built again the same
 * Y5  an id that stands for an event's own position makes no repeat of it: an event is not its own copy
 */
export class ReplayReader {
  readonly duty: Duty
  readonly #parts: ReplayReaderParts
  readonly #turns = new Turns(READS_AT_ONCE_MAX)
  readonly #running = new Map<string, Promise<void>>()
  readonly #stopping = new AbortController()

  constructor(parts: ReplayReaderParts) {
    this.#parts = parts
    const { log, clock, metrics } = parts
    this.duty = createDuty({
      name: 'trigger-service.replays',
      everyMs: SWEEP_EVERY_MS,
      log,
      clock,
      metrics,
      runOnce: async () => await this.#sweep(),
    })
  }

  /** Ranges at work. */
  get readers(): number {
    return this.#running.size
  }

  /** Ends all reading; what is not stored yet is read again by the next owner. May be called twice. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the replay reader was stopped'))
    await this.duty.stop()
    await Promise.all(this.#running.values())
  }

  async #sweep(): Promise<void> {
    const { store, lanes } = this.#parts
    if (lanes.all.length === 0) return
    for (const replay of await store.list()) {
      const { id, triggerId, stream, partition } = replay
      const lane = lanes.all.find((one) => one.stream === stream && one.partition === partition)
      const trigger = this.#parts.trigger(stream, triggerId)
      const name = `${triggerId}/${id}/${partition}`
      if (lane === undefined || trigger === null || this.#running.has(name)) continue
      if (this.#stopping.signal.aborted) return
      this.#running.set(
        name,
        this.#read(replay, trigger, lane).finally(() => this.#running.delete(name)),
      )
    }
  }

  /** Never rejects: what failed is found again by the next sweep. */
  async #read(replay: RunningReplay, trigger: TriggerRow, lane: Lane): Promise<void> {
    const compiled = expressionsOf(trigger)
    // Adoption says it: the trigger itself is not understood either.
    if (compiled.kind === 'invalid') return
    const signal = AbortSignal.any([lane.signal, this.#stopping.signal])
    const tally = new Tally()
    const onPassedOver = tally.passedOver
    const { expressions } = compiled
    const follower = new ReplayFollower({ trigger, expressions, replay, onPassedOver })
    const drop = () => follower.drop()
    signal.addEventListener('abort', drop, { once: true })
    const reading = this.#parts.repeats.reading(lane)
    try {
      await this.#run({ replay, trigger, lane, follower, reading, tally, signal })
    } catch (error) {
      if (!signal.aborted)
        limited(this.#parts.log, `replay/${replay.id}`, LOG_EVERY_MS, this.#parts.clock).warn(
          { event: 'replay.delayed', code: codeOf(error), ...nameOf(replay), err: error },
          'a replay could not go on; trying again',
        )
    } finally {
      drop()
      signal.removeEventListener('abort', drop)
    }
  }

  async #run(work: Work): Promise<void> {
    const { replay, follower, signal, lane } = work
    const gap = await this.#gap(work)
    if (gap !== null) return await this.#finish(work, gap)
    while (follower.scanned < replay.toOffset) {
      await untilSettled(follower, () => follower.pending.bytes < lane.pendingBytesMax, signal)
      if (!this.#goesOn(work)) return
      const at = await this.#turns.take(async () => await this.#readChunk(work))
      // Days of the log may have to be read for it, during which others have their turns; then the chunk is read again.
      if (at.kind === 'unknown_ids') await work.reading.makeKnown(at.fromMs, signal)
      if (at.kind === 'gone') return await this.#finish(work, at.reason)
      if (at.kind === 'end') break
    }
    this.#deliver(work, follower.end())
    await untilSettled(follower, () => follower.pending.windows === 0, signal)
    if (this.#goesOn(work)) await this.#finish(work, null)
  }

  /** Its runs are the trigger's as that is now. Dropped: somebody else moved the cursor, or it is over. */
  #goesOn({ follower, replay, trigger, signal }: Work): boolean {
    signal.throwIfAborted()
    if (!follower.live) return false
    return this.#parts.trigger(replay.stream, trigger.id)?.version === trigger.version
  }

  async #gap({ replay, lane, signal }: Work): Promise<string | null> {
    const { broker, streams } = this.#parts
    const { topic, partition } = lane
    const marks = (await broker.offsets(topic, { signal })).get(partition)
    if (marks === undefined) throw new Error('Kafka does not tell of this partition')
    const { cursor } = replay
    const gap = await gapOfCursor(cursor, {
      broker,
      streams,
      topic,
      marks,
      incarnation: cursor.incarnation,
      signal,
    })
    return gap?.kind ?? null
  }

  async #readChunk(work: Work): Promise<Chunk> {
    const { lane, replay, follower, reading, signal } = work
    const { topic, partition } = lane
    const range = { topic, partition, from: follower.scanned, to: replay.toOffset, signal }
    try {
      for await (const chunk of this.#parts.broker.readRange({ ...range, maxBytes: FETCH_BYTES_MAX })) {
        if (chunk.end === 'out_of_range') return { kind: 'gone', reason: 'gap' }
        const records = await readRecords(this.#parts.streams, lane, chunk.records, signal)
        const unknownFromMs = reading.unknownFrom(records)
        if (unknownFromMs !== null) return { kind: 'unknown_ids', fromMs: unknownFromMs }
        // Records that are no events were set aside when they were new.
        for (const record of await reading.strike(records, follower.incarnation, signal))
          if (follower.live) this.#deliver(work, follower.scan(record))
        this.#deliver(work, follower.passTo(Math.min(chunk.nextOffset, replay.toOffset)))
        this.#progress(work)
        // What is left of the range is no record: aborted, or the mark of a transaction.
        return { kind: chunk.end === 'log_end' ? 'end' : 'read' }
      }
    } catch (error) {
      if (error instanceof BrokerError && error.code === 'unreadable_batch')
        return { kind: 'gone', reason: 'unreadable' }
      throw error
    }
    return { kind: 'end' }
  }

  #deliver({ replay, tally }: Work, entries: readonly LaneEntry[]): void {
    if (replay.dryRun) tally.take(entries)
    else for (const entry of entries) this.#parts.enqueue(entry)
  }

  /** So that who goes on after a death has no long stretch without windows to read again. */
  #progress({ replay, follower }: Work): void {
    const { cursor, stored, seen, pending } = follower
    if (replay.dryRun || pending.windows > 0 || cursor.nextOffset <= stored.nextOffset) return
    this.#parts.enqueue(progressEntry({ follower, cursor, seen }))
  }

  async #finish({ replay, follower, tally }: Work, failure: string | null): Promise<void> {
    const isDone = failure === null
    const counts = isDone && replay.dryRun ? tally.counts : null
    const { revision } = follower.stored
    const status = isDone ? 'done' : 'failed'
    if (!(await this.#parts.store.finish(replay, { revision, status, reason: failure, counts }))) return
    this.#parts.log[isDone ? 'info' : 'error'](
      { event: 'replay.ended', code: failure ?? 'done', ...nameOf(replay), counts },
      isDone ? 'a range was replayed' : 'a range cannot be replayed: the log does not hold all of it',
    )
  }
}

type Chunk =
  | { kind: 'read' | 'end' }
  /** The log does not hold what comes next, or nobody can read it. */
  | { kind: 'gone'; reason: 'gap' | 'unreadable' }
  | { kind: 'unknown_ids'; fromMs: number }

function nameOf({ id, triggerId, stream, partition, dryRun }: RunningReplay) {
  return { replay: id, trigger: triggerId, stream, partition, dry_run: dryRun }
}
