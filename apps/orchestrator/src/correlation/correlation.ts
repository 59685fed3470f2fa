import { type Broker, createStreamDirectory, responsesTopic } from '@headrace/broker'
import { limits } from '@headrace/schemas'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import {
  countOpenWaits,
  dropOldResponses,
  type FilterMatch,
  type ServerClock,
  type Store,
} from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'
import type { KnownBindings } from '../streams/known-bindings.ts'
import type { Cancels } from '../waits/cancels.ts'
import type { Looks } from '../waits/looks.ts'
import type { SelfRead } from '../waits/self-read.ts'
import { correlate } from './correlate.ts'
import { createCorrelator } from './correlator.ts'
import { createOpening } from './opening.ts'
import { createSetAside } from './set-aside.ts'
import { createTimeOuts } from './time-outs.ts'

export interface CorrelationOptions {
  store: Store
  broker: Broker
  prefix: string
  known: KnownBindings
  serverClock: ServerClock
  /** Of a stream that is waited on before it has a Kafka topic. */
  streamPartitions: number
  selfRead: SelfRead
  matches: FilterMatch
  cancels: Pick<Cancels, 'came'>
  looks: Pick<Looks, 'begin'>
  events: RunEvents
  counts: OrchestratorMetrics
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** What brings events to waits: the correlator, the opening of waits, their time-outs, retention of responses. */
export interface Correlation {
  readonly parts: readonly { start(): void; stop(): Promise<void> }[]
  /** A wait was registered on a stream that is not open for it yet. */
  pending(): void
}

/** As often as metrics are usually scraped. */
const COUNT_EVERY_MS = 10_000
/** An hour of responses is looked at some times. */
const RETENTION_EVERY_MS = 600_000

export function createCorrelation(options: CorrelationOptions): Correlation {
  const { store, broker, prefix, known, log, clock, counts } = options
  const catalog = known.streams
  const setAside = createSetAside({
    producer: broker.producer(),
    prefix,
    topic: responsesTopic(prefix).name,
    written: (reason) => counts.deadLetters.inc({ reason }),
    log,
    clock,
  })
  const correlating = { ...options, setAside }
  const streams = createStreamDirectory({
    topics: broker.topics,
    prefix,
    catalog,
    whenKnown: async () => await known.refresh(),
    streamsMax: limits.streamsMax,
    partitions: options.streamPartitions,
    // As for a stream that a trigger names.
    autocreate: true,
    log,
  })
  const opening = createOpening({ ...options, catalog, streams })
  return {
    parts: [
      createCorrelator({
        ...options,
        correlate: async (chunk, signal) => await correlate(correlating, chunk, signal),
      }),
      opening,
      createTimeOuts({ ...options, catalog }),
      openWaitsGauge(options),
      createDuty({
        name: 'responses.retention',
        everyMs: RETENTION_EVERY_MS,
        log,
        clock,
        metrics: options.metrics,
        runOnce: async () => await dropOldResponses(store),
      }),
    ],
    pending: () => opening.poke(),
  }
}

/** Of all instances together: not to be summed over them. */
function openWaitsGauge({ store, log, clock, metrics }: CorrelationOptions): Duty {
  const gauge = metrics.gauge({
    name: 'waits_open',
    help: 'Waits without an answer; pending: what came before is not complete yet where they look.',
    labels: ['kind', 'status'],
  })
  return createDuty({
    name: 'waits.count',
    everyMs: COUNT_EVERY_MS,
    log,
    clock,
    metrics,
    runOnce: async () => {
      const counts = await countOpenWaits(store)
      gauge.reset()
      for (const { kind, status, waits } of counts) gauge.set({ kind, status }, waits)
    },
  })
}
