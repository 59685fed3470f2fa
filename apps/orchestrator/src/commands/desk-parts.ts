import { createStreamDirectory } from '@headrace/broker'
import { limits } from '@headrace/schemas'
import type { Activity } from '@headrace/service'
import type { OrchestratorConfig } from '../config.ts'
import type { ApiContext } from '../context.ts'
import type { OrchestratorMetrics } from '../metrics.ts'
import { createPublisher } from '../publish/publisher.ts'
import { runWaits } from '../waits/run-waits.ts'
import type { WaitParts } from '../waits/wait-parts.ts'
import type { DeadLetters } from '../recover/dead-letters.ts'
import type { RegisteredWorkers } from '../register/registered-workers.ts'
import { type CommandDesk, createCommandDesk } from './command-desk.ts'
import { setAsideRuns } from './set-aside-runs.ts'

export interface DeskPartsOptions {
  config: OrchestratorConfig
  activity: Activity
  api: ApiContext
  counts: OrchestratorMetrics
  waiting: WaitParts
  deadLetters: DeadLetters
  workers: RegisteredWorkers
}

/** The desk with all it stands on. Its producer is its own: no task waits behind an event of a run. */
export function deskOf({
  config,
  activity,
  api,
  counts,
  waiting,
  deadLetters,
  workers,
}: DeskPartsOptions): CommandDesk {
  const { store, broker, events, prefix, known, knownTypes, log, clock, serverClock } = api
  const { streams: catalog } = known
  const { timers, selfRead, looks, pending } = waiting
  const streams = createStreamDirectory({
    topics: broker.topics,
    prefix,
    catalog,
    whenKnown: async () => await known.refresh(),
    streamsMax: limits.streamsMax,
    partitions: config.kafka.streamPartitions,
    autocreate: config.kafka.streamAutocreate,
    log,
  })
  const metrics = counts
  const producer = broker.producer({ onProducerRecreated: () => metrics.producersRecreated.inc() })
  const publisher = createPublisher({
    store,
    producer,
    streams,
    catalog,
    rules: {
      types: knownTypes.checks,
      isFramed: config.schemaRegistry !== null,
      bindingOf: (stream) => catalog.bindingOf(stream),
    },
    whenKnown: () => knownTypes.whenKnown(),
    metrics,
    activity,
    log,
    clock,
  })
  const lookbackMs = limits.lookbackMsDefault
  return createCommandDesk({
    store,
    metrics,
    events,
    publisher,
    setAside: async (items, replies) => await setAsideRuns({ store, deadLetters, log }, items, replies),
    runWaits: async (items) =>
      await runWaits(
        { store, serverClock, selfRead, looks, timers, events, pending, metrics, lookbackMs },
        items,
      ),
    queueOf: async (workerId) => (await workers.of(workerId))?.queue ?? null,
  })
}
