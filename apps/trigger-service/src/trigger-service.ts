import { BoundStreams, createBroker, type Broker } from '@headrace/broker'
import { framesOf } from '@headrace/registry'
import { type Admissions, createAdmissions, createDispatcher, type Dispatcher } from '@headrace/dispatch'
import {
  type Activity,
  type AppAddress,
  type Clock,
  createMetrics,
  createPostgresMetrics,
  type Logger,
  type Metrics,
  type RunningApp,
  runService,
  type ServiceContext,
  startManagementServer,
  startTracing,
  systemClock,
  toRunningApp,
} from '@headrace/service'
import { createServerClock, openStore, type Store, type TaskSeed } from '@headrace/store'
import type { TriggerServiceConfig } from './config.ts'
import { createDeadLetters } from './set-aside/dead-letters.ts'
import { createTriggerMetrics } from './metrics.ts'
import { createDuties } from './duties.ts'
import { createRunStore } from './start-runs/run-store.ts'
import { Pipeline } from './pipeline.ts'
import { ResponseWriter } from './projection/response-writer.ts'
import { untilSchema } from './schema-gate.ts'

export interface StartTriggerService {
  config: TriggerServiceConfig
  log: Logger
  clock?: Clock
  /** Taken as by every app; it tells nothing itself, because a run counts as started when a worker claims it. */
  activity?: Activity
  /** Its own unless given: `main` gives one that also counts the process. */
  metrics?: Metrics
}

/**
 * Starts the trigger service: events of the streams that have triggers are gathered into windows, and each window starts
 * a run. It starts whether Kafka and Postgres are there or not; until they are, `/readyz` says what is missing, and
 * nothing is lost. Any number of instances share the partitions. Rejects with PortTakenError.
 */
export async function startTriggerService({
  config,
  log,
  clock = systemClock,
  metrics = createMetrics(),
}: StartTriggerService): Promise<RunningApp> {
  const service = await runService<AppAddress>({
    name: 'trigger-service',
    log,
    clock,
    metrics,
    drainTimeoutMs: config.drainTimeoutMs,
    start: async (context) => await start(context, config),
  })
  return toRunningApp(service)
}

function connectPostgres(
  { metrics, onStop }: ServiceContext,
  { databaseUrl: url }: TriggerServiceConfig,
): Store {
  const measured = createPostgresMetrics(metrics)
  const { onQuery } = measured
  const store = openStore({ url, applicationName: 'headrace-trigger-service', onQuery })
  measured.watch({ hot: store.hot, general: store.general })
  onStop(async () => await store.close(), 'postgres')
  return store
}

/** Acquired in this order, released in the reverse: first no more records, last the management port. */
async function start(context: ServiceContext, config: TriggerServiceConfig): Promise<AppAddress> {
  const { log, metrics, health, clock } = context
  const { prefix } = config
  const tracing = await startTracing(context, 'headrace-trigger-service')
  const management = await startManagementServer({
    host: config.host,
    port: config.managementPort,
    health,
    metrics,
  })
  context.onStop(async () => await management.close(), 'management server')

  const store = connectPostgres(context, config)
  const broker = createBroker({
    brokers: config.kafka.brokers,
    clientId: 'headrace-trigger-service',
    logger: log,
    topics: { mode: config.kafka.topics, replicationFactor: config.kafka.replicationFactor },
    security: config.kafka.security,
  })
  context.onStop(async () => await broker.close(), 'kafka')

  const triggerMetrics = createTriggerMetrics(metrics)
  const streams = new BoundStreams(prefix, framesOf(config.schemaRegistry, metrics))
  const producer = broker.producer({ onProducerRecreated: () => triggerMetrics.producersRecreated.inc() })
  const deadLetters = createDeadLetters({
    producer,
    prefix,
    metrics: triggerMetrics,
    log,
    clock,
    kafkaTopicOf: (stream) => streams.topicOf(stream),
  })
  // Apart from that of dead letters: a response topic that cannot be written holds up nobody's dead letters.
  const copies = broker.producer({ onProducerRecreated: () => triggerMetrics.producersRecreated.inc() })
  const responses = new ResponseWriter({
    producer: copies,
    prefix,
    deadLetters,
    metrics: triggerMetrics,
    log,
    clock,
  })
  const runs = runParts(context, { store, broker, prefix })
  const serverClock = createServerClock(store, clock)
  const duties = createDuties(context, { store, broker, serverClock, prefix, streams })
  for (const duty of duties) context.onStop(async () => await duty.stop(), duty.name)
  const pipeline = new Pipeline(context, {
    config,
    store,
    broker,
    streams,
    deadLetters,
    ...runs,
    runStore: createRunStore(store, serverClock),
    responses,
    triggerMetrics,
    tracing,
  })
  context.onStop(async (deadline) => await pipeline.stop(deadline), 'lanes')

  onceThereIsASchema(context, store, () => {
    runs.dispatcher.start()
    runs.admissions.start()
    for (const duty of duties) duty.start()
    pipeline.start()
  })
  return { url: null, managementUrl: management.url }
}

function onceThereIsASchema(context: ServiceContext, store: Store, begin: () => void): void {
  const waiting = new AbortController()
  // It only rejects when it is told to stop waiting.
  const begun = untilSchema(context, store, waiting.signal)
    .then(begin)
    .catch(() => undefined)
  context.onStop(async () => {
    waiting.abort(new Error('the trigger service is stopping'))
    await begun
  }, 'schema')
}

/** What follows from a flush: tasks of its runs are sent, or they are let in first. */
function runParts(
  { log, clock, metrics, onStop }: ServiceContext,
  { store, broker, prefix }: { store: Store; broker: Broker; prefix: string },
): { dispatcher: Dispatcher; admissions: Admissions } {
  const dispatcher = createDispatcher({ store, broker, prefix, log, metrics, clock })
  onStop(async () => await dispatcher.stop(), 'dispatcher')
  // To dispatch never rejects.
  const queued = (seeds: TaskSeed[]): void => void dispatcher.dispatch(seeds)
  const admissions = createAdmissions({ store, queued, sweeps: false, log, clock, metrics })
  onStop(async () => await admissions.stop(), 'admissions')
  return { dispatcher, admissions }
}
