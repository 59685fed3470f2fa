import { systemClock, type Clock } from './clock.ts'
import { limited, type Logger } from './log.ts'
import type { Metrics } from './metrics.ts'

/**
 * Background work, the one shape of it: `runOnce` does the work, everything else is here.
 *
 * states: idle → running ⇄ pausing → stopped
 * I1  at most one `runOnce` is in flight, whoever asks
 * I2  a poke during a run leads to one more run after it, however many pokes there were
 * I3  nothing that `runOnce` throws leaves the loop; it is logged and the next try is backed off
 * I4  a poke does not cut a back-off short: a flood of pokes must not hammer what is down
 * I5  when `stop()` has resolved nothing is running and nothing will
 */
export interface Duty<Result = unknown> {
  readonly name: string
  /** Starts the loop; the first run is at once. Calling it again does nothing. */
  start(): void
  /** Aborts the run in flight and waits for it. May be called twice, and before `start()`. */
  stop(): Promise<void>
  /** Runs the work once, now, after any run in flight. Rejects with its error: this is for tests and for callers who wait. */
  runOnce(): Promise<Result>
  /** "There may be work." Carries no fact; losing one costs latency only, the next sweep finds the work. */
  poke(): void
}

export interface DutyOptions<Result> {
  name: string
  /** From the end of a run to the start of the next. */
  everyMs: number
  /** Share of `everyMs` by which each pause varies, so that instances do not march in step. 0.1 = ± 10 %. */
  jitter?: number
  /** The work. Returning `'again'` says that there was more than one bounded run could do: the next follows at once. */
  runOnce: (signal: AbortSignal) => Promise<Result>
  log: Logger
  clock?: Clock
  metrics?: Metrics
  /** In [0, 1). */
  random?: () => number
}

const JITTER_DEFAULT = 0.1
/** First pause after an error; doubles with each further one. */
const BACKOFF_FIRST_MS = 250
/**
 * Long enough to leave a sick dependency alone. What runs every second or so is waited for when the dependency is back:
 * one that tried every 10 s would add as much to every outage.
 */
const BACKOFF_MAX_MS = 10_000
const BACKOFF_MAX_OF_FREQUENT_MS = 2_000
/** Between two lines about one outage. */
const REPEAT_EVERY_MS = 10_000

export function createDuty<Result>(options: DutyOptions<Result>): Duty<Result> {
  const { name, log, clock = systemClock } = options
  const stopping = new AbortController()
  const meters = dutyMeters(name, options.metrics)
  let loop: Promise<void> | null = null
  let tail: Promise<unknown> = Promise.resolve()
  let poked = false
  let wake: (() => void) | null = null

  function runOnce(): Promise<Result> {
    const run = tail.then(async () => {
      stopping.signal.throwIfAborted()
      const startedAtMs = performance.now()
      try {
        return await options.runOnce(stopping.signal)
      } finally {
        meters.ran((performance.now() - startedAtMs) / 1000)
      }
    })
    tail = run.catch(() => undefined)
    return run
  }

  async function pause(ms: number, pokeable: boolean): Promise<void> {
    if (pokeable && poked) return
    const woken = new AbortController()
    if (pokeable) wake = () => woken.abort()
    // A sleep ends early for two reasons, a stop or a poke; neither is a fault.
    await clock.sleep(ms, AbortSignal.any([stopping.signal, woken.signal])).catch(() => undefined)
    wake = null
  }

  async function run(): Promise<void> {
    let failures = 0
    while (!stopping.signal.aborted) {
      poked = false
      try {
        const result = await runOnce()
        failures = 0
        if (result !== 'again') await pause(pauseMs(options), true)
      } catch (error) {
        if (stopping.signal.aborted) return
        failures += 1
        meters.failed()
        const retryMs = backoffMs(failures, options)
        const said = failures === 1 ? log : limited(log, `duty/${name}`, REPEAT_EVERY_MS, clock)
        said.error(
          { event: 'duty.failed', duty: name, code: codeOf(error), failures, retry_ms: retryMs, err: error },
          `${name} failed; trying again`,
        )
        await pause(retryMs, false)
      }
    }
  }

  return {
    name,
    start() {
      if (!stopping.signal.aborted) loop ??= run()
    },
    async stop() {
      stopping.abort(new DutyStoppedError(name))
      await loop
      await tail
    },
    runOnce,
    poke() {
      poked = true
      wake?.()
    },
  }
}

/** The reason of the abort that `stop()` raises. */
export class DutyStoppedError extends Error {
  readonly code = 'duty_stopped'
  override readonly name = 'DutyStoppedError'
  constructor(duty: string) {
    super(`${duty} was stopped`)
  }
}

function pauseMs({ everyMs, jitter = JITTER_DEFAULT, random = Math.random }: DutyOptions<unknown>): number {
  return Math.round(everyMs * (1 + jitter * (2 * random() - 1)))
}

/** Exponential with full jitter in its upper half: 250 ms … 2 to 10 s. */
function backoffMs(
  failures: number,
  { everyMs, random = Math.random }: Pick<DutyOptions<unknown>, 'everyMs' | 'random'>,
): number {
  const maxMs = Math.min(BACKOFF_MAX_MS, Math.max(BACKOFF_MAX_OF_FREQUENT_MS, everyMs))
  const ceilingMs = Math.min(maxMs, BACKOFF_FIRST_MS * 2 ** (failures - 1))
  return Math.round(ceilingMs * (0.5 + 0.5 * random()))
}

/** An error's stable code, for the log's `code` field. */
export function codeOf(error: unknown): string {
  if (error instanceof Error) {
    return 'code' in error && typeof error.code === 'string' ? error.code : error.name
  }
  return 'unknown'
}

function dutyMeters(
  duty: string,
  metrics: Metrics | undefined,
): { ran(seconds: number): void; failed(): void } {
  if (metrics === undefined) return { ran: () => undefined, failed: () => undefined }
  const seconds = metrics.histogram({
    name: 'duty_seconds',
    help: 'Time of one run of a duty.',
    labels: ['duty'],
  })
  const failures = metrics.counter({
    name: 'duty_failures_total',
    help: 'Runs that failed.',
    labels: ['duty'],
  })
  return {
    ran: (value) => seconds.observe({ duty }, value),
    failed: () => failures.inc({ duty }),
  }
}
