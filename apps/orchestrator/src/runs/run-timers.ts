import type { Clock, Logger, Metrics } from '@headrace/service'
import { releaseDelayedRuns, type ServerClock, type Store, timeOutRuns } from '@headrace/store'
import { createTimers, type Timers } from '../timers/timers.ts'
import type { RunEvents } from './run-events.ts'

export interface RunTimersOptions {
  store: Store
  serverClock: ServerClock
  events: RunEvents
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** What time does to runs: those that were started with a delay are let go, those that are over their time end. */
export function runTimers({ store, serverClock, events, ...shared }: RunTimersOptions): {
  delayed: Timers
  timeOuts: Timers
} {
  const delayed = createTimers({
    name: 'runs.release_delayed',
    act: async (limit) => {
      const { queued, held, nextDueMs } = await releaseDelayedRuns(store, { limit })
      events.queued(queued)
      events.held(held)
      return { done: queued.length + held.length, nextDueMs }
    },
    serverClock,
    ...shared,
  })
  const timeOuts = createTimers({
    name: 'runs.time_out',
    act: async (limit) => {
      const { ended, nextDueMs } = await timeOutRuns(store, { limit })
      events.ended(ended)
      for (const { runId, workflow } of ended)
        shared.log.warn(
          { event: 'run.timed_out', code: 'run_timed_out', run_id: runId, workflow },
          'a run is over its time and has ended',
        )
      return { done: ended.length, nextDueMs }
    },
    serverClock,
    ...shared,
  })
  return { delayed, timeOuts }
}
