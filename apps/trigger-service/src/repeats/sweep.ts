import { type Broker, BrokerError, type StreamCatalog } from '@headrace/broker'
import { codeOf, createDuty, type Duty, type ServiceContext } from '@headrace/service'
import {
  eventIdStreams,
  type HoldingCursor,
  holdingCursors,
  type Store,
  sweepEventIds,
} from '@headrace/store'
import { REPEATS_KNOWN_MS } from './event-id.ts'

/** Rows that wait for it cost nothing but room. */
const SWEEP_EVERY_MS = 60_000
/** Rows in one transaction: some ms. */
const BATCH_ROWS_MAX = 1_000
/** Transactions for one stream in one sweep; a long backlog is for the next ones. */
const BATCHES_MAX = 100
/** Transactions after which the rest of the rows of runs is for the next sweep: a few hundred runs a second. */
const RUN_PAGES_MAX = 20
/** Kafka's clocks, which stamp the log, and Postgres's, which says what is old, are not one. */
const CLOCKS_APART_MS = 5 * 60_000

const gone: ReadonlySet<string> = new Set(['unknown_topic', 'unknown_partition'])

export interface SweepParts {
  store: Store
  broker: Pick<Broker, 'readRange'>
  streams: Pick<StreamCatalog, 'topicOf'>
}

/**
 * Forgets ids that nobody needs any more: those 24 h of log time behind the slowest cursor that is followed, by a lane or
 * by a catch-up reader. A paused trigger holds nothing. At the end of its partition a cursor is at the present. Ids of what
 * runs published are kept for as long as their run.
 */
export class RepeatSweep {
  readonly duty: Duty
  readonly #context: Pick<ServiceContext, 'log'>
  readonly #parts: SweepParts
  /** Where the look at the rows of runs goes on, by stream: there may be more of them than one sweep looks at. */
  readonly #afterRuns = new Map<string, string>()

  constructor(context: Pick<ServiceContext, 'log' | 'clock' | 'metrics'>, parts: SweepParts) {
    this.#context = context
    this.#parts = parts
    this.duty = createDuty({
      name: 'trigger-service.repeats',
      everyMs: SWEEP_EVERY_MS,
      log: context.log,
      clock: context.clock,
      metrics: context.metrics,
      runOnce: async (signal) => await this.#sweep(signal),
    })
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const failed: unknown[] = []
    for (const stream of await eventIdStreams(this.#parts.store)) {
      // One stream's trouble keeps no other's rows.
      await this.#sweepStream(stream, signal).catch((error: unknown) => {
        signal.throwIfAborted()
        this.#context.log.warn(
          { event: 'repeats.not_swept', code: codeOf(error), stream, err: error },
          'the ids of a stream are kept longer',
        )
        failed.push(error)
      })
    }
    if (failed.length > 0) throw failed[0]
  }

  async #sweepStream(stream: string, signal: AbortSignal): Promise<void> {
    const { store } = this.#parts
    const cursors = await holdingCursors(store, stream)
    const floorMs = await this.#logTimeOf(stream, cursors, signal)
    if (floorMs === null) return
    const keepMs = REPEATS_KNOWN_MS + CLOCKS_APART_MS
    const sweep = { stream, olderThanMs: floorMs - keepMs, cursors, keepMs, limit: BATCH_ROWS_MAX }
    for (let batch = 1; batch <= BATCHES_MAX; batch += 1) {
      signal.throwIfAborted()
      const swept = await sweepEventIds(store, { ...sweep, afterRun: this.#afterRuns.get(stream) ?? null })
      if (swept.kind === 'held') return
      if (swept.afterRun === null) this.#afterRuns.delete(stream)
      else this.#afterRuns.set(stream, swept.afterRun)
      if (!swept.more && (swept.afterRun === null || batch >= RUN_PAGES_MAX)) return
    }
  }

  /** The lowest log time that one of the cursors still has before it; null when that cannot be said now. */
  async #logTimeOf(
    stream: string,
    cursors: readonly HoldingCursor[],
    signal: AbortSignal,
  ): Promise<number | null> {
    const topic = this.#parts.streams.topicOf(stream)
    // Before the log is looked at: what comes later is later.
    let lowestMs = await this.#parts.store.serverNow()
    for (const { partition, nextOffset: from } of cursors) {
      try {
        const next = await this.#nextRecord({ topic, partition, from, signal })
        if (next === 'beyond_log') return null
        if (next !== null) lowestMs = Math.min(lowestMs, next.timestamp)
      } catch (error) {
        // Its topic is gone, or made anew with fewer partitions, and with it all there that could be a repeat.
        if (!(error instanceof BrokerError) || !gone.has(error.code)) throw error
      }
    }
    return lowestMs
  }

  /** Null: there is none yet. `beyond_log`: the topic was made anew or cut; what the cursor waits for is not known. */
  async #nextRecord(range: {
    topic: string
    partition: number
    from: number
    signal: AbortSignal
  }): Promise<{ timestamp: number } | 'beyond_log' | null> {
    for await (const chunk of this.#parts.broker.readRange({ ...range, to: null, maxBytes: 1 })) {
      const [first] = chunk.records
      if (first !== undefined) return first
      if (chunk.end !== 'out_of_range') continue
      // Retention was faster; else the cursor is beyond the end.
      if (chunk.lowWatermark <= range.from) return 'beyond_log'
      return await this.#nextRecord({ ...range, from: chunk.lowWatermark })
    }
    return null
  }
}
