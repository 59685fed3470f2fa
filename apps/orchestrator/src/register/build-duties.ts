import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { resumeUnfitRuns, risenBuilds, type Store } from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'
import type { Registration } from './registration.ts'

/**
 * What follows from workers that come and go, done by any number of orchestrators: of each app the set of its newest build
 * with a living worker counts, and runs that code did not fit go on once there is other code.
 */
export interface BuildDutiesOptions {
  store: Store
  registration: Pick<Registration, 'raise'>
  events: RunEvents
  counts: OrchestratorMetrics
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** A worker is dead after 8 s without a heartbeat: sooner would find nothing more. */
const BUILDS_EVERY_MS = 5_000
/** How late a run goes on after a deployment that fits it. */
const UNFIT_EVERY_MS = 2_000

export function buildDuties({
  store,
  registration,
  events,
  counts,
  log,
  clock,
  metrics,
}: BuildDutiesOptions): Duty[] {
  return [
    createDuty({
      name: 'builds.raise',
      everyMs: BUILDS_EVERY_MS,
      runOnce: async () => {
        for (const build of await risenBuilds(store)) await registration.raise(build)
      },
      log,
      clock,
      metrics,
    }),
    createDuty({
      name: 'runs.resume_unfit',
      everyMs: UNFIT_EVERY_MS,
      runOnce: async () => {
        const { queued, more } = await resumeUnfitRuns(store)
        if (queued.length === 0) return null
        counts.sweepsRecovered.inc({ kind: 'unfit' }, queued.length)
        log.info(
          { event: 'runs.resumed', code: 'replay_mismatch', runs: queued.length },
          'runs that code did not fit are queued again: there is a build on which they were not tried',
        )
        events.queued(queued)
        return more ? 'again' : null
      },
      log,
      clock,
      metrics,
    }),
  ]
}
