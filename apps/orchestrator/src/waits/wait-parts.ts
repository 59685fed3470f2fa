import type { Clock, Duty, Logger, Metrics } from '@headrace/service'
import { answerTimers, type ServerClock, type Store } from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'
import { createTimers, type Timers } from '../timers/timers.ts'
import { createSelfRead, type SelfRead } from './self-read.ts'
import { waitSweeps } from './wait-sweeps.ts'

/** What answers waits beside the correlator. */
export interface WaitParts {
  timers: Timers
  selfRead: SelfRead
  /** To be started and stopped. */
  parts: (Timers | Duty)[]
}

export interface WaitPartsOptions {
  store: Store
  serverClock: ServerClock
  events: RunEvents
  counts: OrchestratorMetrics
  log: Logger
  clock: Clock
  metrics: Metrics
}

export function waitParts({ store, serverClock, events, counts, ...shared }: WaitPartsOptions): WaitParts {
  const { log, clock } = shared
  const timers = createTimers({
    answerTimers: async (limit) => await answerTimers(store, { limit }),
    serverClock,
    events,
    ...shared,
  })
  const selfRead = createSelfRead({ store, events, log, clock })
  return { timers, selfRead, parts: [timers, ...waitSweeps({ store, selfRead, counts, ...shared })] }
}
