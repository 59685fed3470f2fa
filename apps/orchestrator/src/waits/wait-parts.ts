import type { Broker } from '@headrace/broker'
import type { Clock, Logger, Metrics } from '@headrace/service'
import { answerTimers, type ServerClock, type Store } from '@headrace/store'
import type { OrchestratorConfig } from '../config.ts'
import { createCorrelation } from '../correlation/correlation.ts'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'
import type { KnownBindings } from '../streams/known-bindings.ts'
import { createTimers, type Timers } from '../timers/timers.ts'
import { cancelLooks, createCancels } from './cancels.ts'
import { createLooks, type Looks } from './looks.ts'
import { createFilterMatch, createSelfRead, type SelfRead } from './self-read.ts'
import { waitSweeps } from './wait-sweeps.ts'

/** What answers waits. */
export interface WaitParts {
  timers: Timers
  selfRead: SelfRead
  looks: Looks
  /** A wait was registered on a stream that is not open for it yet. */
  pending: () => void
  /** To be started and stopped. */
  parts: { start(): void; stop(): Promise<void> }[]
}

export interface WaitPartsOptions {
  store: Store
  broker: Broker
  config: OrchestratorConfig
  known: KnownBindings
  serverClock: ServerClock
  events: RunEvents
  counts: OrchestratorMetrics
  log: Logger
  clock: Clock
  metrics: Metrics
}

export function waitParts(options: WaitPartsOptions): WaitParts {
  const { store, broker, config, known, serverClock, events, counts, ...shared } = options
  const { log, clock } = shared
  const timers = createTimers({
    name: 'timers.answer',
    act: async (limit) => {
      const { nextDueMs, ...answered } = await answerTimers(store, { limit })
      events.answered(answered)
      return { done: answered.answers.length, nextDueMs }
    },
    serverClock,
    ...shared,
  })
  const matches = createFilterMatch(log, clock, counts)
  const selfRead = createSelfRead({ store, events, matches })
  const looks = createLooks({ selfRead, log, clock })
  const cancels = createCancels({ store, events, counts, log, clock })
  const { prefix, streamPartitions } = config.kafka
  const correlation = createCorrelation({
    store,
    broker,
    prefix,
    known,
    streamPartitions,
    serverClock,
    selfRead,
    matches,
    cancels,
    looks,
    events,
    counts,
    ...shared,
  })
  return {
    timers,
    selfRead,
    looks,
    pending: () => correlation.pending(),
    parts: [
      timers,
      cancelLooks(cancels, shared),
      ...waitSweeps({ store, looks, counts, ...shared }),
      ...correlation.parts,
    ],
  }
}
