import { type Broker, createBroker, createStreamDirectory } from '@headrace/broker'
import { createAuthorize, createHttpServer, listenHttp } from '@headrace/http'
import { framesOf } from '@headrace/registry'
import { limits } from '@headrace/schemas'
import {
  type Activity,
  type AppAddress,
  type Clock,
  createMetrics,
  type Logger,
  type Metrics,
  type RunningApp,
  runService,
  type ServiceContext,
  startManagementServer,
  startTracing,
  systemClock,
  toRunningApp,
  type Tracing,
  version,
} from '@headrace/service'
import type { GatewayConfig } from './config.ts'
import { createGatewayMetrics } from './gateway-metrics.ts'
import { gatewayRoutes } from './http/gateway-routes.ts'
import { createAdmission } from './ingest/admission.ts'
import { createRateLimit } from './ingest/rate-limit.ts'
import { problemOfKafka } from './kafka-problem.ts'
import { createAnnounceInstance } from './orchestrator/announce-instance.ts'
import { type AskOrchestrator, createAskOrchestrator } from './orchestrator/ask-orchestrator.ts'
import { createOrchestratorLink } from './orchestrator/orchestrator-link.ts'
import { createKnownBindings, type KnownBindings } from './streams/known-bindings.ts'
import { createKnownEventTypes, type KnownEventTypes } from './streams/known-event-types.ts'
import { createKnownKeys, type KnownKeys } from './streams/known-keys.ts'
import { createPublishEvents } from './produce/publish-events.ts'

export interface StartGateway {
  config: GatewayConfig
  log: Logger
  clock?: Clock
  activity?: Activity
  /** Its own unless given: `main` gives one that also counts the process. */
  metrics?: Metrics
}

/**
 * Starts the gateway. It serves as soon as it listens, whether Kafka is there or not: until it is, publishers are
 * answered 503 and `/readyz` says why. Rejects with PortTakenError.
 */
export async function startGateway({
  config,
  log,
  clock = systemClock,
  activity = {},
  metrics = createMetrics(),
}: StartGateway): Promise<RunningApp> {
  const service = await runService<AppAddress>({
    name: 'gateway',
    log,
    clock,
    metrics,
    drainTimeoutMs: config.drainTimeoutMs,
    start: async (context) => await start(context, { config, activity }),
  })
  return toRunningApp(service)
}

interface StartParts {
  config: GatewayConfig
  activity: Activity
}

/** Acquired in this order, released in the reverse: first no more requests, last the management port. */
async function start(context: ServiceContext, { config, activity }: StartParts): Promise<AppAddress> {
  const { log, metrics, health, clock } = context
  const tracing = await startTracing(context, 'headrace-gateway')
  const management = await startManagementServer({
    host: config.host,
    port: config.managementPort,
    health,
    metrics,
  })
  context.onStop(async () => await management.close(), 'management server')

  const broker = createBroker({
    brokers: config.kafka.brokers,
    clientId: 'headrace-gateway',
    logger: log,
    topics: { mode: config.kafka.topics, replicationFactor: config.kafka.replicationFactor },
    security: config.kafka.security,
  })
  context.onStop(async () => await broker.close(), 'kafka')
  health.probe('kafka', async () => {
    await broker.ping(context.signal)
    return { ok: true, detail: null }
  })

  const ask = createAskOrchestrator(config.orchestratorUrl, config.apiKey)
  const keys = createKnownKeys(context)
  const eventTypes = createKnownEventTypes(context)
  const bindings = createKnownBindings(context, {
    broker,
    prefix: config.prefix,
    frames: framesOf(config.schemaRegistry, metrics),
    keys,
    eventTypes,
  })
  bindings.duty.start()
  context.onStop(async () => await bindings.duty.stop(), 'bindings')
  const url = await serve(context, { config, activity, tracing, broker, ask, bindings, keys, eventTypes })
  const announce = createAnnounceInstance({ ask, version, log, clock, metrics })
  if (config.access === 'keys' && config.apiKey === null) {
    log.info(
      { event: 'gateway.not_announced' },
      'without HEADRACE_API_KEY the orchestrator, which checks keys, does not count this instance in /v1/status',
    )
  } else {
    announce.start()
    context.onStop(async () => await announce.stop(), 'instance heartbeat')
  }
  return { url, managementUrl: management.url }
}

interface ServeParts extends StartParts {
  tracing: Tracing | null
  broker: Broker
  ask: AskOrchestrator
  bindings: KnownBindings
  keys: KnownKeys
  eventTypes: KnownEventTypes
}

/** The way of an event to Kafka, behind the routes that take it in. */
function publishing({ log, metrics: all, onStop }: ServiceContext, parts: ServeParts) {
  const { config, activity, tracing, broker, bindings } = parts
  const { streams: catalog } = bindings
  const admission = createAdmission(config.inFlight)
  const metrics = createGatewayMetrics(all, admission)
  const streams = createStreamDirectory({
    topics: broker.topics,
    prefix: config.prefix,
    catalog,
    whenKnown: async () => await bindings.whenKnown(),
    streamsMax: limits.streamsMax,
    log,
    ...config.streams,
  })
  const producer = broker.producer({ onProducerRecreated: () => metrics.producerRecreated() })
  onStop(async () => await producer.close(), 'producer')
  const publish = createPublishEvents({ producer, streams, catalog, metrics, activity, log })
  const traces = tracing === null ? null : { tracing, topicOf: (stream: string) => catalog.topicOf(stream) }
  const rules = {
    types: parts.eventTypes.checks,
    isFramed: config.schemaRegistry !== null,
    bindingOf: (stream: string) => catalog.bindingOf(stream),
  }
  let isKnown = false
  const known = bindings.whenKnown().then(() => void (isKnown = true))
  const whenKnown = (): Promise<void> | null => (isKnown ? null : known)
  return { admission, streams, publish, metrics, rules, whenKnown, traces }
}

async function serve(context: ServiceContext, parts: ServeParts): Promise<string> {
  const { config, broker, ask, bindings } = parts
  const { log, metrics, clock } = context
  const { prefix } = config
  const { streams: catalog } = bindings
  const intake = publishing(context, parts)
  const link = createOrchestratorLink(config.orchestratorUrl)
  context.onStop(() => link.close(), 'orchestrator link')

  const rate = createRateLimit(() => performance.now())
  const stopping = new AbortController()
  const app = createHttpServer({
    log,
    metrics,
    name: 'gateway',
    authorize: createAuthorize(config.access, parts.keys.ring),
    explain: problemOfKafka,
  })
  app.addHook('preClose', (done) => {
    stopping.abort(new Error('the gateway is stopping'))
    done()
  })
  gatewayRoutes(app, {
    publish: { ...intake, ask, rate, now: () => clock.now(), stopping: stopping.signal },
    history: { broker, prefix, catalog },
    eventStream: { broker, prefix, catalog, clock, log, stopping: stopping.signal },
    streams: {
      broker,
      prefix,
      directory: intake.streams,
      bindings,
      log,
      ask,
      partitions: config.streams.partitions,
      topics: config.kafka.topics,
    },
    status: { broker, ask, version },
    passThrough: { link, stopping: stopping.signal },
  })
  const url = await listenHttp(app, { host: config.host, port: config.port, change: 'HEADRACE_PORT' })
  context.onStop(async (deadline) => {
    deadline.addEventListener('abort', () => app.server.closeAllConnections(), { once: true })
    await app.close()
  }, 'http server')
  return url
}
