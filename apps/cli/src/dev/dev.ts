import { join, resolve } from 'node:path'
import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import {
  endOrphans,
  lockFolder,
  type LocalKafka,
  type LocalPostgres,
  type LocalSchemaRegistry,
  resetDataFolder,
  startKafka,
  startPostgres,
  startSchemaRegistry,
} from '@headrace/local'
import { parseOrchestratorConfig, startOrchestrator } from '@headrace/orchestrator'
import {
  type RunningApp,
  runService,
  type ServiceContext,
  silentLogger,
  type Stoppable,
  systemClock,
  version,
} from '@headrace/service'
import { parseTriggerServiceConfig, startTriggerService } from '@headrace/trigger-service'
import { activityLines } from './activity-lines.ts'
import { banner } from './banner.ts'
import { openDevLog } from './dev-log.ts'
import { appEnvironments } from './environments.ts'
import { checkPorts, type DevPorts, devPorts } from './ports.ts'
import { startWorkerProcess } from './worker-process.ts'
import { workerIsReady } from './worker-ready.ts'

export interface DevOptions {
  /** Of the gateway; the others follow from it. */
  port: number
  dataDir: string
  /** The worker program; none without it. */
  worker?: string
  /** A schema registry of its own, unless `HEADRACE_SCHEMA_REGISTRY_URL` names one. */
  schemaRegistry: boolean
  reset: boolean
}

const write = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

/**
 * Everything on this machine, in one process but for Kafka, Postgres, the schema registry and the worker. Started in the order in which
 * each needs the one before; stopped in reverse. After `kill -9` of the whole tree the next start ends what was
 * orphaned on its own data folder, and goes on with the data.
 */
export async function startDev(
  options: DevOptions,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Stoppable> {
  const ports = devPorts(options.port)
  const host = env['HEADRACE_HOST'] ?? '127.0.0.1'
  await checkPorts(ports, host)
  const dataDir = resolve(options.dataDir)
  if (options.reset) await reset(dataDir)
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  const service = await runService({
    name: 'headrace dev',
    log: silentLogger,
    signal,
    start: async (context) => await bringUp({ options: { ...options, dataDir }, ports, env, context, fail }),
  })
  // An app that dies of itself takes the others with it, in order: what is left could only mislead.
  const stoppedByFailure = failed.catch(async (error: unknown) => {
    write(`! an app died: ${error instanceof Error ? error.message : String(error)}`)
    await service.stop('an app died')
    throw error
  })
  return {
    stop: async (reason) => await service.stop(reason),
    stopped: Promise.race([service.stopped, stoppedByFailure]),
  }
}

/** Servers that an earlier start left behind would go on writing into what is deleted: they are ended first. */
async function reset(dataDir: string): Promise<void> {
  const lock = await lockFolder(dataDir)
  for (const program of ['node', 'java', 'postgres'])
    await endOrphans({ program, folder: dataDir, stopSignal: 'SIGKILL' })
  await lock.release()
  await resetDataFolder(dataDir)
}

interface BringUp {
  options: DevOptions
  ports: DevPorts
  env: NodeJS.ProcessEnv
  context: ServiceContext
  fail: (error: unknown) => void
}

async function bringUp({ options, ports, env, context, fail }: BringUp): Promise<void> {
  const { dataDir, worker } = options
  const { signal, onStop, clock } = context
  const lock = await lockFolder(dataDir)
  onStop(async () => await lock.release(), 'data folder')
  // Before anything of ours runs: its runs go to the new worker instead of timing out in the old one's hands.
  await endOrphans({ program: 'node', folder: dataDir, stopSignal: 'SIGKILL' })
  const devLog = await openDevLog(dataDir, write)
  onStop(async () => await devLog.close(), 'log')

  const { kafka, postgres, schemaRegistry } = await startServers(options, env, context)
  signal.throwIfAborted()
  const environments = appEnvironments(env, ports, {
    brokers: kafka.brokers,
    ownKafka: !env['HEADRACE_KAFKA_BROKERS'],
    databaseUrl: postgres.url,
    schemaRegistryUrl: schemaRegistry?.url ?? null,
  })
  const activity = activityLines(write, clock)
  const keep = async (name: string, starting: Promise<RunningApp>): Promise<void> => {
    const app = await starting
    onStop(async () => await app.stop('headrace dev stops'), name)
    app.failed.catch(fail)
  }
  // The orchestrator migrates the database, which the trigger service stands on.
  const orchestrator = parseOrchestratorConfig(environments.orchestrator)
  await keep(
    'orchestrator',
    startOrchestrator({
      config: orchestrator,
      log: devLog.forApp('orchestrator', orchestrator.logLevel),
      activity,
      signal,
    }),
  )
  const triggerService = parseTriggerServiceConfig(environments.triggerService)
  const gateway = parseGatewayConfig(environments.gateway)
  await keep(
    'trigger service',
    startTriggerService({
      config: triggerService,
      log: devLog.forApp('trigger-service', triggerService.logLevel),
      activity,
    }),
  )
  await keep(
    'gateway',
    startGateway({ config: gateway, log: devLog.forApp('gateway', gateway.logLevel), activity }),
  )

  signal.throwIfAborted()
  if (worker !== undefined)
    await addWorker({
      worker,
      dataDir,
      env: environments.worker,
      ports,
      context,
      log: devLog.forApp('dev', 'info'),
    })
  const address = new URL(postgres.url)
  for (const line of banner({
    version,
    ports,
    kafka,
    postgres: { address: address.host, reason: postgres.reason },
    schemaRegistry,
    dataDir,
    worker: worker ?? null,
  })) {
    write(line)
  }
  if (signal.aborted) throw signal.reason
}

interface DevServers {
  kafka: LocalKafka
  postgres: LocalPostgres
  schemaRegistry: Pick<LocalSchemaRegistry, 'url' | 'reason'> | null
}

async function startServers(
  { dataDir, schemaRegistry: wanted }: DevOptions,
  env: NodeJS.ProcessEnv,
  { onStop }: ServiceContext,
): Promise<DevServers> {
  const starts = { dataDir, env, onProgress: write }
  const given = env['HEADRACE_SCHEMA_REGISTRY_URL']
  const started = async () => {
    if (given) return { url: given, reason: 'HEADRACE_SCHEMA_REGISTRY_URL is set' }
    if (!wanted) {
      await endOrphans({ program: 'java', folder: join(dataDir, 'registry'), stopSignal: 'SIGKILL' })
      return null
    }
    const registry = await startSchemaRegistry(starts)
    onStop(async () => await registry.stop(), 'schema registry')
    return registry
  }
  const [kafka, postgres, schemaRegistry] = await Promise.allSettled([
    startKafka(starts),
    startPostgres(starts),
    started(),
  ])
  // Whichever is up is released, also when another failed.
  if (kafka.status === 'fulfilled') onStop(async () => await kafka.value.stop(), 'Kafka')
  if (postgres.status === 'fulfilled') onStop(async () => await postgres.value.stop(), 'Postgres')
  if (kafka.status === 'rejected') throw kafka.reason
  if (postgres.status === 'rejected') throw postgres.reason
  if (schemaRegistry.status === 'rejected') throw schemaRegistry.reason
  return { kafka: kafka.value, postgres: postgres.value, schemaRegistry: schemaRegistry.value }
}

interface AddWorker {
  worker: string
  dataDir: string
  env: NodeJS.ProcessEnv
  ports: DevPorts
  context: ServiceContext
  log: Parameters<typeof startWorkerProcess>[0]['log']
}

async function addWorker({ worker, dataDir, env, ports, context, log }: AddWorker): Promise<void> {
  const { clock, signal, onStop } = context
  const sinceMs = clock.now()
  const running = startWorkerProcess({ file: worker, dataDir, env, write, log, clock: systemClock })
  onStop(async (deadline) => await running.stop(deadline), 'worker')
  const ready = await workerIsReady({
    orchestratorUrl: `http://127.0.0.1:${ports.orchestrator}`,
    sinceMs,
    clock,
    signal,
  })
  if (!ready)
    write(`! the worker ${worker} has not registered yet; events sent before it has start no runs of it`)
}
