import { crashPoint } from '@headrace/core'
import { limits } from '@headrace/schemas'
import { type Clock, codeOf, limited, type Logger } from '@headrace/service'
import type { ConcurrencyKey, TaskSeed, WindowRun } from '@headrace/store'
import type { Follower } from '../lanes/follower.ts'
import type { TriggerMetrics } from '../metrics.ts'
import { type DeadLetter, type DeadLetters, refusedLetter, windowLetter } from '../set-aside/dead-letters.ts'
import {
  byFollower,
  doneAfter,
  type FlushEntry,
  moveOf,
  progressEntry,
  type RefusedEntry,
  runOf,
  type WindowEntry,
} from './flush-entry.ts'
import type { RunStore } from './run-store.ts'
import { type Attempt, type TryAgain, tryFlush, tryUntilAnswered } from './try-flush.ts'
import type { TraceWindow } from './window-trace.ts'

/** Windows in one statement: more gains nothing, and one bad row costs more cuts. */
const FLUSH_WINDOWS_MAX = 500
/** Payload in one statement, so that a flush of large windows is neither a long lock nor a large allocation. */
const FLUSH_BYTES_MAX = 8 * 1024 * 1024
/** How often it is said of a trigger that something was set aside for one reason; each has its dead letter. */
const SET_ASIDE_LOG_EVERY_MS = 1_000

export interface FlusherParts {
  store: RunStore
  deadLetters: DeadLetters
  /** Not awaited: a run whose task does not arrive is taken from Postgres by a worker. */
  dispatch: (seeds: readonly TaskSeed[]) => Promise<void>
  /** Runs of these keys were started, and wait to be let in. Not awaited either. */
  admit: (keys: readonly ConcurrencyKey[]) => void
  /** Null: no traces are wanted. */
  trace: TraceWindow | null
  metrics: TriggerMetrics
  log: Logger
  clock: Clock
  /** Followers were dropped because their cursor rows were not ours to move: they must be read again. */
  onFenced: () => void
  /** Told of each failed try, and null when Postgres answers again. */
  onOutage: (detail: string | null) => void
}

type Fate = 'moved' | 'fenced' | 'uncertain'

/**
 * Takes closed windows to Postgres: one statement at a time, over all lanes, with whatever gathered while the one before
 * was in flight. Runs and cursors move together or not at all.
 *
 * L1  the windows of one follower go in their order; a statement holds a prefix of what is waiting
 * L2  a cursor moves only from the revision that we left; a row that does not move drops its follower, and only it
 * L3  a statement of unknown outcome is tried again as it was. If it was committed, the second does not move the rows,
 *     and the run ids, which are ours alone, tell whose commit that was
 * L4  a window that cannot be stored is a dead letter, acked before its cursor passes it; those around it are stored
 * L5  an outage changes nothing but time: what waits here waits, lanes fill up and pause
 */
export class Flusher {
  readonly #parts: FlusherParts
  readonly #stopping = new AbortController()
  readonly #tryAgain: TryAgain
  readonly #waiting: FlushEntry[] = []
  #running: Promise<void> | null = null

  constructor(parts: FlusherParts) {
    this.#parts = parts
    const { store, log, clock, onOutage } = parts
    this.#tryAgain = { store, log, clock, onOutage, signal: this.#stopping.signal }
  }

  enqueue(entry: FlushEntry): void {
    const { pending } = entry.follower
    pending.windows += 1
    pending.bytes += entry.bytes
    this.#waiting.push(entry)
    // Begun a microtask later, so that all windows of one chunk of records are in the first statement.
    this.#running ??= Promise.resolve().then(async () => await this.#run())
  }

  /** Resolves when nothing is waiting or in flight. */
  async drained(): Promise<void> {
    while (this.#running !== null) await this.#running
  }

  /** Gives up what is waiting: it is rebuilt from the cursors. Resolves when nothing is in flight. May be called twice. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the flusher was stopped'))
    await this.drained()
  }

  async #run(): Promise<void> {
    try {
      while (this.#waiting.length > 0) await this.#flush(this.#take())
    } catch (error) {
      // Nothing that waits may be flushed behind what failed (L1): its followers are read again.
      for (const { follower } of this.#waiting) follower.drop()
      // They are left to the sweep: the same windows may well fail again, and a poke would make that a hot loop.
      if (!this.#stopping.signal.aborted)
        this.#parts.log.error(
          { event: 'flush.failed', code: codeOf(error), err: error },
          'a flush failed; its cursors are read again',
        )
    } finally {
      const left = this.#waiting.splice(0)
      // Before anybody is told: a lane that scans on when it hears of it begins the next run.
      this.#running = null
      this.#settle(left)
    }
  }

  #take(): FlushEntry[] {
    let bytes = 0
    let count = 0
    for (const entry of this.#waiting) {
      bytes += entry.bytes
      if (count === FLUSH_WINDOWS_MAX || (count > 0 && bytes > FLUSH_BYTES_MAX)) break
      count += 1
    }
    return this.#waiting.splice(0, count)
  }

  async #flush(entries: readonly FlushEntry[]): Promise<void> {
    try {
      await this.#store(await this.#withoutBad(entries))
    } catch (error) {
      for (const { follower } of entries) follower.drop()
      throw error
    } finally {
      this.#settle(entries)
    }
  }

  #settle(entries: readonly FlushEntry[]): void {
    for (const { follower, bytes } of entries) {
      follower.pending.windows -= 1
      follower.pending.bytes -= bytes
    }
    for (const follower of new Set(entries.map((entry) => entry.follower))) follower.onSettled()
  }

  async #store(given: readonly FlushEntry[]): Promise<void> {
    const entries = given.filter(({ follower }) => follower.live)
    if (entries.length === 0) return
    const groups = byFollower(entries)
    const windows = entries.filter((entry) => entry.kind === 'window')
    const ids = this.#parts.store.newRunIds(windows.length)
    const made = windows.map((entry, index) => this.#make(entry, ids[index] ?? ''))
    const runs = made.map(({ run }) => run)
    const moves = [...groups].map(([follower, group]) => moveOf(follower, group))
    const attempt = await tryFlush(this.#tryAgain, { moves, runs })
    if (attempt.kind === 'row') return await this.#cut(entries, attempt.error)

    const fates = await this.#fates(attempt, [...groups.keys()], runs)
    this.#conclude(groups, fates)
    const stored = made.filter(({ follower }) => fates.get(follower) === 'moved')
    for (const { span } of stored) span?.end()
    this.#dispatch(stored.map(({ run }) => run))
  }

  /** With traces, the run goes on with the span that started it. */
  #make(entry: WindowEntry, runId: string) {
    const { follower } = entry
    const run = runOf(entry, runId)
    const span = this.#parts.trace?.(entry, runId) ?? null
    return { follower, span, run: span === null ? run : { ...run, traceparent: span.traceparent } }
  }

  async #fates(
    { moved, uncertain }: Extract<Attempt, { kind: 'answered' }>,
    followers: readonly Follower[],
    runs: readonly WindowRun[],
  ): Promise<Map<Follower, Fate>> {
    const rows = new Set(moved.map(rowName))
    const committed = uncertain
      ? await this.#committedBefore(runs.filter((run) => !rows.has(rowName(run))))
      : rows
    return new Map(
      followers.map((follower) => {
        const row = rowName({ triggerId: follower.cursorOf.id, ...follower.lane })
        if (rows.has(row) || committed.has(row)) return [follower, 'moved']
        return [follower, uncertain ? 'uncertain' : 'fenced']
      }),
    )
  }

  /** The cursor rows that an earlier try of unknown outcome had moved after all (L3). */
  async #committedBefore(runs: readonly WindowRun[]): Promise<Set<string>> {
    if (runs.length === 0) return new Set()
    const runIds = runs.map(({ runId }) => runId)
    const existing = await tryUntilAnswered(
      this.#tryAgain,
      async () => await this.#parts.store.existing(runIds),
    )
    return new Set(runs.filter(({ runId }) => existing.has(runId)).map(rowName))
  }

  #conclude(groups: ReadonlyMap<Follower, readonly FlushEntry[]>, fates: ReadonlyMap<Follower, Fate>): void {
    let lost = false
    for (const [follower, group] of groups) {
      const fate = fates.get(follower)
      if (fate === 'moved') this.#moved(follower, group)
      else {
        lost = true
        if (fate === 'fenced') this.#fenced(follower)
        follower.drop()
      }
    }
    if (lost) this.#parts.onFenced()
  }

  #moved(follower: Follower, group: readonly FlushEntry[]): void {
    const { nextOffset, revision } = moveOf(follower, group)
    follower.moved({ nextOffset, revision: revision + 1 }, doneAfter(follower, group))
    for (const entry of group) {
      if (entry.kind === 'window') this.#parts.metrics.windowStored(follower.trigger.id, entry.closed)
    }
  }

  #fenced(follower: Follower): void {
    // Dropped meanwhile: paused, changed or revoked, and the store knew it before we did.
    if (!follower.live) return
    const { metrics, log } = this.#parts
    metrics.cursorFences.inc({ stream: follower.lane.stream })
    log.info(
      { event: 'cursor.fenced', code: 'cursor_fenced', trigger: follower.trigger.id, ...follower.lane },
      'this cursor was moved or changed by somebody else; it is read again',
    )
  }

  #dispatch(runs: readonly WindowRun[]): void {
    const free = runs.filter(({ concurrencyKey }) => concurrencyKey === null)
    if (free.length < runs.length)
      this.#parts.admit(
        runs.flatMap(({ workflow, concurrencyKey: key }) => (key === null ? [] : [{ workflow, key }])),
      )
    if (free.length === 0) return
    const seeds = free.map(({ runId, workflow, queue, input }) => ({
      runId,
      epoch: 1,
      workflow,
      queue,
      lost: 0,
      build: null,
      input,
    }))
    this.#parts.dispatch(seeds).then(
      () => crashPoint('trigger.after-task'),
      (error: unknown) =>
        this.#parts.log.error(
          { event: 'dispatch.failed', code: codeOf(error), err: error },
          'tasks were not sent',
        ),
    )
  }

  /**
   * One of these rows fails the statement. The windows of a follower share its cursor row, so halves are stored in their
   * order, each from the revision that the one before left, down to the window itself, which is set aside (L4).
   */
  async #cut(entries: readonly FlushEntry[], error: unknown): Promise<void> {
    const [only] = entries
    if (entries.length > 1) {
      const half = Math.ceil(entries.length / 2)
      await this.#store(entries.slice(0, half))
      await this.#store(entries.slice(half))
    } else if (only?.kind === 'window') {
      const detail = error instanceof Error ? error.message : String(error)
      await this.#store([await this.#setAside(only, 'run_not_storable', detail)])
    } else throw error
  }

  /**
   * Sets aside what is not to become a run (L4): events that their trigger's expressions fail on, and windows that
   * Postgres would take, but whose run could not be carried to a worker.
   */
  async #withoutBad(entries: readonly FlushEntry[]): Promise<FlushEntry[]> {
    const bad = entries.filter(isBad)
    const told = bad.filter(({ follower }) => follower.live).map(setAside)
    if (told.length > 0) await this.#putLetters(told)
    return bad.length === 0
      ? [...entries]
      : entries.map((entry) => (isBad(entry) ? progressEntry(entry) : entry))
  }

  async #setAside(entry: WindowEntry, reason: string, detail: string): Promise<FlushEntry> {
    await this.#putLetters([
      {
        follower: entry.follower,
        letter: windowLetter(entry, reason, detail),
        events: entry.closed.events.length,
      },
    ])
    return progressEntry(entry)
  }

  async #putLetters(set: readonly SetAside[]): Promise<void> {
    const { deadLetters, metrics, log, clock } = this.#parts
    await deadLetters.put(
      set.map(({ letter }) => letter),
      this.#stopping.signal,
    )
    for (const { follower, letter, events } of set) {
      const { reason, detail, offset } = letter
      metrics.events.inc({ trigger: follower.trigger.id, outcome: 'dead_lettered' }, events)
      limited(log, `set-aside/${follower.trigger.id}/${reason}`, SET_ASIDE_LOG_EVERY_MS, clock).warn(
        {
          event: 'window.set_aside',
          code: reason,
          trigger: follower.trigger.id,
          ...follower.lane,
          offset,
          detail,
        },
        'what would have become a run became a dead letter',
      )
    }
  }
}

interface SetAside {
  readonly follower: Follower
  readonly letter: DeadLetter
  readonly events: number
}

const isBad = (entry: FlushEntry): entry is RefusedEntry | WindowEntry =>
  entry.kind === 'refused' || (entry.kind === 'window' && entry.closed.bytes > limits.windowBytesMax)

function setAside(entry: RefusedEntry | WindowEntry): SetAside {
  const { follower } = entry
  if (entry.kind === 'refused') return { follower, letter: refusedLetter(entry), events: 1 }
  const detail = `${entry.bytes} bytes, at most ${limits.windowBytesMax} make a window`
  const letter = windowLetter(entry, 'input_too_large', detail)
  return { follower, letter, events: entry.closed.events.length }
}

function rowName({
  triggerId,
  stream,
  partition,
}: {
  triggerId: string
  stream: string
  partition: number
}): string {
  return `${triggerId}/${stream}/${partition}`
}
