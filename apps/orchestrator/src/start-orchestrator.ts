import { randomUUID } from 'node:crypto'
import { type Broker, createBroker, deadLettersTopic, responsesTopic } from '@headrace/broker'
import { createAdmissions, createDispatcher } from '@headrace/dispatch'
import { createAuthorize, createHttpServer, listenHttp } from '@headrace/http'
import { framesOf } from '@headrace/registry'
import {
  type Activity,
  type AppAddress,
  type Clock,
  codeOf,
  createDuty,
  createMetrics,
  createPostgresMetrics,
  type Duty,
  type Logger,
  type Metrics,
  type RunningApp,
  runService,
  type ServiceContext,
  startManagementServer,
  systemClock,
  toRunningApp,
  version,
} from '@headrace/service'
import {
  createServerClock,
  type HeartbeatOutcome,
  openStore,
  readRunEnds,
  type ServerClock,
  type Store,
  type TaskSeed,
} from '@headrace/store'
import { auditChanges } from './audit/audit-changes.ts'
import { deskOf } from './commands/desk-parts.ts'
import type { OrchestratorConfig } from './config.ts'
import type { ApiContext } from './context.ts'
import { createDeadLetterDesk } from './dead-letters/dead-letter-desk.ts'
import { apiRoutes } from './http/api-routes.ts'
import { workerRoutes } from './http/worker-routes.ts'
import { kafkaProblem } from './kafka-problem.ts'
import { deadLetterGauge } from './dead-letters/dead-letter-gauge.ts'
import { orchestratorMetrics, type OrchestratorMetrics } from './metrics.ts'
import { runTimers } from './runs/run-timers.ts'
import { runGauges } from './runs/run-gauges.ts'
import { postgresProblem } from './postgres-problem.ts'
import { prepareSchema } from './prepare-schema.ts'
import { createDeadLetters, type DeadLetters } from './recover/dead-letters.ts'
import { recoverDuties } from './recover/duties.ts'
import { buildDuties } from './register/build-duties.ts'
import { createRegisteredWorkers } from './register/registered-workers.ts'
import { createRegistration } from './register/registration.ts'
import { createRunEvents, type RunEvents } from './runs/run-events.ts'
import { createRunWatch } from './runs/run-watch.ts'
import { streamParts } from './streams/stream-parts.ts'
import { createEndOffsets } from './triggers/end-offsets.ts'
import { createRetentionMargins, type RetentionMarginParts } from './triggers/retention-margin.ts'
import { triggerGauges } from './triggers/trigger-gauges.ts'
import { createChildEnds } from './waits/child-ends.ts'
import { type WaitParts, waitParts } from './waits/wait-parts.ts'

export interface StartOrchestratorOptions {
  config: OrchestratorConfig
  log: Logger
  clock?: Clock
  activity?: Activity
  /** Aborted: stop although the start is not through. */
  signal?: AbortSignal
  /** Given by a process of its own, with the process's metrics in it. */
  metrics?: Metrics
}

/** Topics of ours that nobody registers: tried until Kafka is there. */
const OWN_TOPICS_EVERY_MS = 60_000
/** Run ids only have to fall into the right day. */
const CLOCK_EVERY_MS = 60_000

/**
 * Starts an orchestrator: it needs Postgres, and waits a minute for it; Kafka may come and go. Resolves when it serves.
 */
export async function startOrchestrator(options: StartOrchestratorOptions): Promise<RunningApp> {
  const { config, log, clock = systemClock, metrics = createMetrics() } = options
  const service = await runService<AppAddress>({
    name: 'orchestrator',
    log,
    clock,
    metrics,
    drainTimeoutMs: config.drainTimeoutMs,
    signal: options.signal,
    start: async (context) => await assemble(context, options),
  })
  return toRunningApp(service)
}

/** What a part that runs beside the requests has in common with every other. */
interface Part {
  start(): void
  stop(): Promise<void>
}

async function assemble(context: ServiceContext, options: StartOrchestratorOptions): Promise<AppAddress> {
  const { log, clock, health, metrics, onStop } = context
  const shared = { log, clock, metrics }
  const { config, activity = {} } = options
  const instanceId = `orchestrator-${randomUUID()}`
  const management = await startManagementServer({
    host: config.host,
    port: config.managementPort,
    health,
    metrics,
  })
  onStop(async () => await management.close(), 'management')
  const store = await connectPostgres(context, config)
  const broker = connectKafka(context, config, instanceId)

  const counts = orchestratorMetrics(metrics)
  const { prefix } = config.kafka
  const common = { store, broker, prefix, log, clock }
  const running = runParts({ ...common, metrics, counts, activity })
  const frames = framesOf(config.schemaRegistry, metrics)
  const { dispatcher, admissions, watch, events, childEnds } = running
  const serverClock = createServerClock(store, clock)
  const bound = streamParts({ config, store, broker, prefix, frames, ...shared })
  const { known, bindings, keys, eventTypes, knownTypes } = bound
  const { streams } = known
  const waiting = waitParts({ store, broker, config, known, serverClock, events, counts, ...shared })
  const { delayed, timeOuts } = runTimers({ store, serverClock, events, ...shared })
  const producer = broker.producer()
  const written = (reason: string): void => counts.deadLetters.inc({ reason })
  const deadLetters = createDeadLetters({ producer, prefix, ...shared, written })
  const places = placesOf({ broker, streams, clock, log })
  const recovery = { instanceId, version, events, deadLetters, counts, retention: config.retention }
  const parts: Part[] = [
    deadLetters,
    dispatcher,
    admissions,
    childEnds,
    ...recoverDuties({ store, ...shared, ...recovery }),
    ...bound.parts,
    ...waiting.parts,
    delayed,
    timeOuts,
    ...housekeeping({ broker, config, serverClock, ...shared }),
    runGauges({ store, ...shared }),
    triggerGauges({ store, ...places, ...shared }),
    deadLetterGauge({ broker, store, prefix, ...shared }),
  ]
  begin(parts, onStop)

  const api: ApiContext = {
    ...common,
    serverClock,
    events,
    delayed,
    deadLetters: createDeadLetterDesk({ ...common, producer, streams, serverClock, events }),
    ...places,
    known,
    bindings,
    keys,
    eventTypes,
    knownTypes,
    watch,
    version,
  }
  const url = await serve(context, { config, activity, api, counts, waiting, deadLetters })
  log.info(
    { event: 'orchestrator.listening', url, management_url: management.url, instance: instanceId },
    'serving',
  )
  return { url, managementUrl: management.url }
}

function begin(parts: readonly Part[], onStop: ServiceContext['onStop']): void {
  for (const part of parts) {
    part.start()
    onStop(async () => await part.stop())
  }
}

interface RunPartsOptions {
  store: Store
  broker: Broker
  prefix: string
  counts: OrchestratorMetrics
  activity: Activity
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** What follows from a commit: tasks are sent, callers that wait are woken, it is counted. */
function runParts({ store, broker, prefix, counts, activity, ...shared }: RunPartsOptions) {
  const dispatcher = createDispatcher({ store, broker, prefix, ...shared })
  const watch = createRunWatch({
    endedOf: async (ids) => endedAmong(await readRunEnds(store, ids)),
    ...shared,
  })
  const childEnds = createChildEnds({
    store,
    answered: (outcome) => events.answered(outcome),
    counts,
    ...shared,
  })
  const admissions = createAdmissions({
    store,
    queued: (seeds) => events.queued(seeds),
    sweeps: true,
    ...shared,
  })
  const events: RunEvents = createRunEvents({
    dispatcher,
    admissions,
    metrics: counts,
    activity,
    wake: (runIds) => watch.ended(runIds),
    childrenEnded: (parents) => childEnds.ended(parents),
    onError: (error) =>
      shared.log.error({ event: 'dispatch.failed', code: codeOf(error), err: error }, 'tasks were given up'),
  })
  return { dispatcher, admissions, watch, events, childEnds }
}

const endedAmong = (ends: Map<string, { finishedAt: number | null }>): string[] =>
  [...ends].filter(([, { finishedAt }]) => finishedAt !== null).map(([runId]) => runId)

async function connectPostgres(
  { log, clock, health, metrics, signal, onStop }: ServiceContext,
  { databaseUrl, migrate }: OrchestratorConfig,
): Promise<Store> {
  const measured = createPostgresMetrics(metrics)
  const { onQuery } = measured
  const store = openStore({ url: databaseUrl, applicationName: 'headrace-orchestrator', onQuery })
  measured.watch({ hot: store.hot, general: store.general })
  onStop(async () => await store.close(), 'store')
  await prepareSchema({ store, databaseUrl, mayMigrate: migrate, log, clock, signal })
  health.probe('postgres', async () => {
    await store.ping()
    return { ok: true, detail: null }
  })
  return store
}

/** Kafka is no condition of readiness: steps and completions need Postgres alone, and stealing moves runs without it. */
function connectKafka(
  { log, onStop }: ServiceContext,
  { kafka }: OrchestratorConfig,
  clientId: string,
): Broker {
  const broker = createBroker({
    brokers: kafka.brokers,
    clientId,
    logger: log,
    topics: { mode: kafka.topics, replicationFactor: kafka.replicationFactor },
    security: kafka.security,
  })
  onStop(async () => await broker.close(), 'broker')
  return broker
}

/** Where streams end, and how long they keep: for the API and for gauges. */
function placesOf(parts: RetentionMarginParts & { broker: Broker }) {
  const { broker, streams, clock } = parts
  return {
    endOffsets: createEndOffsets(broker, streams, clock),
    margins: createRetentionMargins(parts),
  }
}

interface HousekeepingOptions {
  broker: Broker
  config: OrchestratorConfig
  serverClock: ServerClock
  log: Logger
  clock: Clock
  metrics: Metrics
}

function housekeeping({ broker, config, serverClock, ...shared }: HousekeepingOptions): Duty[] {
  const { prefix, streamPartitions, responsePartitions } = config.kafka
  return [
    createDuty({
      ...shared,
      name: 'kafka.own_topics',
      everyMs: OWN_TOPICS_EVERY_MS,
      runOnce: async () =>
        await broker.topics.ensureTopics([
          { ...deadLettersTopic(prefix), partitions: streamPartitions },
          { ...responsesTopic(prefix), partitions: responsePartitions },
        ]),
    }),
    createDuty({
      ...shared,
      name: 'clock.refresh',
      everyMs: CLOCK_EVERY_MS,
      runOnce: async () => await serverClock.refresh(),
    }),
  ]
}

interface ServeOptions {
  config: OrchestratorConfig
  activity: Activity
  api: ApiContext
  counts: OrchestratorMetrics
  waiting: WaitParts
  deadLetters: DeadLetters
}

async function serve({ log, metrics, onStop }: ServiceContext, options: ServeOptions): Promise<string> {
  const { config, api, counts } = options
  const { store, broker, events, watch } = api
  let url = ''
  const workers = createRegisteredWorkers(store)
  const desk = deskOf({ ...options, workers })
  const givenBack = (seeds: TaskSeed[]): void => {
    if (seeds.length === 0) return
    counts.sweepsRecovered.inc({ kind: 'forgotten' }, seeds.length)
    events.queued(seeds)
  }
  const registration = createRegistration({
    store,
    broker,
    log,
    prefix: api.prefix,
    known: api.known,
    eventTypes: api.eventTypes,
    brokers: config.kafka.brokers,
    streamPartitions: config.kafka.streamPartitions,
    taskPartitions: config.kafka.taskPartitions,
    advertisedUrl: () => config.advertisedUrl ?? url,
    givenBack,
  })
  begin(buildDuties({ store, registration, events, counts, log, clock: api.clock, metrics }), onStop)
  const beaten = (outcome: HeartbeatOutcome): void => {
    if (outcome.status === 'ok') givenBack(outcome.requeued)
  }
  const server = createHttpServer({
    log,
    metrics,
    name: 'orchestrator',
    authorize: createAuthorize(config.access, api.keys.ring),
    explain: (error) => postgresProblem(error) ?? kafkaProblem(error),
  })
  auditChanges(server, { store, log })
  await server.register((app, _options, done) => {
    workerRoutes(app, { store, clock: api.clock, desk, registration, workers, beaten })
    done()
  })
  apiRoutes(server, api)
  onStop(async () => {
    await server.close()
    await desk.idle()
  }, 'http')
  // Released before the server is: callers that wait for runs get their answer now.
  onStop(async () => await watch.stop(), 'watch')
  watch.start()
  url = await listenHttp(server, { host: config.host, port: config.port, change: 'HEADRACE_PORT' })
  return url
}
