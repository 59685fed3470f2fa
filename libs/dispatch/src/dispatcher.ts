import type { Broker, CoalescingProducer, ProducerOptions } from '@headrace/broker'
import {
  type Clock,
  createDuty,
  type Duty,
  limited,
  type Logger,
  type Metrics,
  systemClock,
} from '@headrace/service'
import { type DispatchTarget, dispatchTargets, type Store, type TaskSeed } from '@headrace/store'
import { TargetMap } from './target-map.ts'
import { taskRecord } from './task-record.ts'

/**
 * Sends tasks for queued runs. A task is a poke: the run's row is the fact, and a worker with free hands takes the run
 * from Postgres two seconds later if the task never came. So nothing here is tried again, and what cannot be sent is
 * counted and dropped.
 *
 * I1  `dispatch` never rejects, and never waits for Postgres or Kafka before it has taken the seeds in
 * I2  what waits here is bounded; beyond it seeds are dropped
 * I3  a run is sent only to a partition whose owner lists its workflow, and is of its build where it is pinned to one
 */
export interface Dispatcher {
  /** Resolves when each seed's task was acknowledged or given up. Seeds are sent in the order given. */
  dispatch(seeds: readonly TaskSeed[]): Promise<void>
  start(): void
  /** Sends what it holds (2 s at the most), then stops. Seeds that come later are dropped. */
  stop(): Promise<void>
}

export interface DispatcherOptions {
  store: Store
  broker: Broker
  prefix: string
  log: Logger
  metrics?: Metrics
  clock?: Clock
}

/** What a dispatcher stands on; taken apart so that its rules can be tested without a Kafka. */
export interface DispatcherParts {
  targets: () => Promise<DispatchTarget[]>
  producer: Pick<CoalescingProducer, 'produce'>
  prefix: string
  log: Logger
  metrics?: Metrics
  clock?: Clock
}

/** How old the reading of the workers may grow: a worker beats every 2 s and at once when its partitions change. */
const TARGETS_EVERY_MS = 500
/** A workflow without a target asks again at once, but not more often than this. */
const TARGETS_AGAIN_MS = 100
/** Bounds one send: its JSON, and the time in which a lost answer leaves these tasks unknown. */
const TASKS_PER_SEND_MAX = 1_000
/** Several, so that one partition without a leader does not hold up the others. */
const SENDS_IN_FLIGHT_MAX = 4
/** About 10 s of the fastest flow measured; beyond it stealing is quicker than this queue. */
const WAITING_TASKS_MAX = 50_000
const WAITING_INPUT_CHARACTERS_MAX = 64 * 1024 * 1024
/** After that the run is old enough to be stolen: a later task would only be a second one. */
const SEND_DEADLINE_MS = 2_000
/** A partition that did not take a task is left out for this long. */
const AVOID_MS = 2_000
const WARN_EVERY_MS = 10_000

interface Waiting {
  seed: TaskSeed
  settled: () => void
  open: boolean
  lookedAgain: boolean
}

interface Routed {
  entry: Waiting
  partition: number
}

type Outcome = 'written' | 'refused' | 'unknown' | 'no_target' | 'overflow'

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { store, broker, ...rest } = options
  return dispatcherOf({
    ...rest,
    targets: async () => await dispatchTargets(store),
    producer: broker.producer(recreationsIn(options.metrics)),
  })
}

export function dispatcherOf(parts: DispatcherParts): Dispatcher {
  return new TaskDispatcher(parts)
}

class TaskDispatcher implements Dispatcher {
  readonly #parts: DispatcherParts
  readonly #clock: Clock
  readonly #count: (outcome: Outcome) => void
  readonly #targets: Duty<void>
  readonly #turns = new Map<string, number>()
  /** `queue/partition` → until when it is left out. */
  readonly #avoided = new Map<string, number>()
  readonly #waiting: Waiting[] = []
  /** No target at the last reading; they wait for the next. Bounded with {@link #waiting}. */
  readonly #unrouted: Waiting[] = []
  readonly #ending = new AbortController()
  #waitingCharacters = 0
  #map = new TargetMap([])
  #readAtMs = Number.NEGATIVE_INFINITY
  #sending = 0
  #stopping = false
  #drained: (() => void) | null = null

  constructor(parts: DispatcherParts) {
    const { log, clock = systemClock, metrics } = parts
    this.#parts = parts
    this.#clock = clock
    this.#count = taskCounter(metrics)
    this.#targets = createDuty({
      name: 'dispatch.targets',
      everyMs: TARGETS_EVERY_MS,
      log,
      clock,
      runOnce: async () => await this.#readTargets(),
      ...(metrics ? { metrics } : {}),
    })
  }

  async dispatch(seeds: readonly TaskSeed[]): Promise<void> {
    if (seeds.length === 0) return
    const { promise, resolve } = Promise.withResolvers<void>()
    let left = seeds.length
    const settled = (): void => {
      left -= 1
      if (left === 0) resolve()
    }
    for (const seed of seeds) this.#enter({ seed, settled, open: true, lookedAgain: false })
    this.#pump()
    await promise
  }

  start(): void {
    this.#targets.start()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    if (this.#sending > 0 || this.#waiting.length > 0) {
      const deadline = new AbortController()
      this.#drained = () => deadline.abort()
      await this.#clock.sleep(SEND_DEADLINE_MS, deadline.signal).catch(() => undefined)
    }
    this.#ending.abort()
    for (const entry of [...this.#waiting.splice(0), ...this.#unrouted.splice(0)])
      this.#settle(entry, 'overflow')
    await this.#targets.stop()
  }

  /** I2 */
  #enter(entry: Waiting): void {
    const characters = charactersOf(entry)
    const full =
      this.#waiting.length + this.#unrouted.length >= WAITING_TASKS_MAX ||
      this.#waitingCharacters + characters > WAITING_INPUT_CHARACTERS_MAX
    if (this.#stopping || full) {
      this.#settle(entry, 'overflow')
      return
    }
    this.#waitingCharacters += characters
    this.#waiting.push(entry)
  }

  #settle(entry: Waiting, outcome: Outcome): void {
    if (!entry.open) return
    entry.open = false
    this.#count(outcome)
    entry.settled()
  }

  #pump(): void {
    while (this.#sending < SENDS_IN_FLIGHT_MAX && this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, TASKS_PER_SEND_MAX)
      for (const entry of batch) this.#waitingCharacters -= charactersOf(entry)
      this.#sending += 1
      this.#send(batch)
        .catch((error: unknown) => {
          const code = 'dispatch_failed'
          this.#parts.log.error({ event: 'dispatch.failed', code, err: error }, 'tasks were given up')
          for (const entry of batch) this.#settle(entry, 'unknown')
        })
        .finally(() => {
          this.#sending -= 1
          this.#pump()
        })
    }
    if (this.#sending === 0 && this.#waiting.length === 0) this.#drained?.()
  }

  async #send(batch: Waiting[]): Promise<void> {
    const routed: Routed[] = []
    for (const entry of batch) {
      const partition = this.#partitionFor(entry.seed)
      if (partition !== null) routed.push({ entry, partition })
      else if (entry.lookedAgain) this.#settle(entry, 'no_target')
      else this.#lookAgain(entry)
    }
    if (routed.length === 0) return
    const { producer, prefix } = this.#parts
    const outcomes = await producer.produce(
      routed.map(({ entry, partition }) => taskRecord(prefix, entry.seed, partition)),
      { deadlineMs: SEND_DEADLINE_MS },
    )
    for (const [index, { entry, partition }] of routed.entries()) {
      const outcome = outcomes[index]
      if (outcome !== undefined && outcome.status !== 'written')
        this.#avoid(entry.seed, partition, outcome.code)
      this.#settle(entry, outcome?.status ?? 'unknown')
    }
  }

  /** A worker that has just come may not be in the map yet: one more reading, then it is given up. */
  #lookAgain(entry: Waiting): void {
    entry.lookedAgain = true
    this.#unrouted.push(entry)
    this.#waitingCharacters += charactersOf(entry)
    if (this.#unrouted.length > 1) return
    const dueInMs = this.#readAtMs + TARGETS_AGAIN_MS - this.#clock.now()
    if (dueInMs <= 0) this.#targets.poke()
    else {
      this.#clock.sleep(dueInMs, this.#ending.signal).then(
        () => this.#targets.poke(),
        // Stopped: what waits is given up by `stop`.
        () => undefined,
      )
    }
  }

  async #readTargets(): Promise<void> {
    this.#readAtMs = this.#clock.now()
    // Those that come while the reading is under way may know of a worker that it does not.
    const unrouted = this.#unrouted.splice(0)
    try {
      this.#map = new TargetMap(await this.#parts.targets(), this.#turns)
    } finally {
      for (const entry of unrouted) {
        this.#waitingCharacters -= charactersOf(entry)
        this.#enter(entry)
      }
      this.#pump()
    }
  }

  /** I3 */
  #partitionFor(seed: TaskSeed): number | null {
    const nowMs = this.#clock.now()
    return this.#map.next(
      seed,
      (partition) => (this.#avoided.get(`${seed.queue}/${partition}`) ?? 0) <= nowMs,
    )
  }

  #avoid({ queue, runId }: TaskSeed, partition: number, code: string): void {
    const at = `${queue}/${partition}`
    this.#avoided.set(at, this.#clock.now() + AVOID_MS)
    limited(this.#parts.log, `dispatch/${at}`, WARN_EVERY_MS, this.#clock).warn(
      { event: 'dispatch.not_sent', code, queue, partition, run_id: runId },
      'a task could not be sent; a worker will take its run from Postgres',
    )
  }
}

const charactersOf = ({ seed }: Waiting): number => seed.input?.length ?? 0

function recreationsIn(metrics: Metrics | undefined): ProducerOptions {
  if (metrics === undefined) return {}
  const recreated = metrics.counter({
    name: 'kafka_producer_recreated_total',
    help: 'Producers thrown away because the fate of a send was unknown.',
  })
  return { onProducerRecreated: () => recreated.inc() }
}

function taskCounter(metrics: Metrics | undefined): (outcome: Outcome) => void {
  if (metrics === undefined) return () => undefined
  const counter = metrics.counter({
    name: 'dispatch_tasks_total',
    help: 'Tasks by what became of them; a run whose task was not written is taken from Postgres by a worker.',
    labels: ['outcome'],
  })
  return (outcome) => counter.inc({ outcome })
}
