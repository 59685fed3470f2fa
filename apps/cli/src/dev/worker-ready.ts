import type { WireList, WireWorker } from '@headrace/schemas'
import type { Clock } from '@headrace/service'

/** A worker whose code is broken must not keep the banner away for ever. */
const deadlineMs = 20_000
const askEveryMs = 100

export interface WorkerIsReady {
  orchestratorUrl: string
  /** By the clock of this machine, on which Postgres runs too, unless it is somebody else's. */
  sinceMs: number
  clock: Clock
  signal: AbortSignal
}

/**
 * Waits until a worker that began after `sinceMs` is registered and has partitions: its triggers begin where the
 * streams end at that moment, so an event sent before it would start nothing. False when none came in time.
 */
export async function workerIsReady({
  orchestratorUrl,
  sinceMs,
  clock,
  signal,
}: WorkerIsReady): Promise<boolean> {
  for (const endMs = clock.now() + deadlineMs; clock.now() < endMs && !signal.aborted;) {
    const response = await fetch(`${orchestratorUrl}/v1/workers`, { signal })
    const { data } = response.ok ? ((await response.json()) as WireList<WireWorker>) : { data: [] }
    if (
      data.some(
        (worker) =>
          worker.status === 'live' &&
          worker.partitions.length > 0 &&
          Date.parse(worker.started_at) >= sinceMs,
      )
    )
      return true
    await clock.sleep(askEveryMs, signal)
  }
  return false
}
