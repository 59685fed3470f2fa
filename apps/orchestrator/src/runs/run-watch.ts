import { limits, ProblemError } from '@headrace/schemas'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'

/**
 * Callers that wait for a run's end (`GET /v1/runs/{id}?wait=30s`). However many wait, one short query asks for all
 * of them; an end that went through this instance wakes its callers at once. Nothing is promised by the waking: the
 * caller reads the run again.
 */
export interface RunWatch {
  /** Resolves when the run has ended, the time is over, the caller is gone or this instance stops. */
  untilEnded(runId: string, waitMs: number, gone: AbortSignal): Promise<void>
  /** These runs ended here. */
  ended(runIds: Iterable<string>): void
  start(): void
  stop(): Promise<void>
}

export interface RunWatchOptions {
  /** Which of these runs have ended. */
  endedOf: (runIds: string[]) => Promise<Iterable<string>>
  log: Logger
  clock: Clock
  metrics?: Metrics
}

/** What an end elsewhere costs in latency, against one look-up by primary key for each waiter. */
const LOOK_EVERY_MS = 200
/** Each waiter holds a connection; past this a caller is better served by asking now and then. */
const WAITERS_MAX = 10_000

export function createRunWatch({ endedOf, log, clock, metrics }: RunWatchOptions): RunWatch {
  const waiters = new Map<string, Set<() => void>>()
  let waiting = 0
  let stopping = false

  function wake(runIds: Iterable<string>): void {
    for (const runId of runIds) for (const done of waiters.get(runId) ?? []) done()
  }

  const duty: Duty = createDuty({
    name: 'runs.watch',
    everyMs: LOOK_EVERY_MS,
    log,
    clock,
    runOnce: async () => {
      if (waiters.size > 0) wake(await endedOf([...waiters.keys()]))
    },
    ...(metrics ? { metrics } : {}),
  })

  metrics?.gauge({
    name: 'run_callers_waiting',
    help: 'Requests that wait for the end of a run.',
    collect: (gauge) => gauge.set(waiting),
  })

  return {
    async untilEnded(runId, waitMs, gone) {
      if (stopping) return
      if (waiting >= WAITERS_MAX) {
        throw new ProblemError(
          'overloaded',
          `More than ${WAITERS_MAX} callers wait for runs; ask without wait`,
        )
      }
      const over = new AbortController()
      const done = (): void => over.abort()
      const same = waiters.get(runId) ?? new Set()
      waiters.set(runId, same.add(done))
      waiting += 1
      try {
        await clock.sleep(Math.min(waitMs, limits.runWaitMsMax), AbortSignal.any([over.signal, gone]))
      } catch {
        // Woken, or the caller is gone: either way there is nothing more to wait for.
      } finally {
        waiting -= 1
        same.delete(done)
        if (same.size === 0 && waiters.get(runId) === same) waiters.delete(runId)
      }
    },
    ended: wake,
    start: () => duty.start(),
    async stop() {
      stopping = true
      wake([...waiters.keys()])
      await duty.stop()
    },
  }
}
