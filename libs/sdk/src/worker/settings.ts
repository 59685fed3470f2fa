import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type KafkaSecuritySource, securitySettings } from '@headrace/broker'
import { type Duration, durationMs, limits, nameSchema, queueSchema } from '@headrace/schemas'
import type { Logger } from '../run/run-host.ts'
import { type EventTypes, eventTypesOf } from '../event-type/event-types.ts'
import type { AnyEventDefinition } from '../workflow/define-event.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'
import { createLog } from './log.ts'

export interface WorkerOptions {
  /**
   * Every workflow of this app, also those of other queues: what is missing from a new build's workers is retired.
   * At most 500.
   */
  workflows: readonly AnyWorkflow[]
  /**
   * Definitions that steps publish or wait for. Those with a schema are registered as event types, beside the ones in
   * `triggerOnEvent` and `cancelOn`, which need not stand here. At most 200 types together.
   */
  events?: readonly AnyEventDefinition[]
  /** The gateway's base URL. Default: `HEADRACE_URL`. */
  url?: string
  /** Default: `HEADRACE_API_KEY`. */
  apiKey?: string
  /** Which queue's runs this process takes. Needed only where the workflows name more than one. */
  queue?: string
  /** Runs at a time, 1 to 10,000; default 300. */
  concurrency?: number
  /** How long a stop waits for runs to reach a step boundary. Default: `HEADRACE_DRAIN_TIMEOUT`, else 25 s. */
  drainTimeout?: Duration
  /** Serves `/healthz /readyz /metrics` on this port (0: any free one). Off when absent. */
  health?: { port: number; host?: string }
  /** Which program this is. Default: `HEADRACE_APP`, else the name in the nearest package.json. */
  app?: string
  /** What code it runs. Default: `HEADRACE_BUILD_ID`, else a hash of its workflows' definitions and handlers, and of its event types. */
  build?: string
  /** Fields first, then the sentence, as pino has it. Default: pino to stdout, at `HEADRACE_LOG_LEVEL`. */
  log?: Logger
  /**
   * TLS and SASL for Kafka. Secrets are the worker's own; registration gives addresses only. A function is asked for each
   * connection, so that what it returns may change. Default: the settings `HEADRACE_KAFKA_TLS…`, `…_SASL_…`, `…_OAUTH_…`.
   */
  kafka?: KafkaSecuritySource
}

export interface WorkerSettings {
  url: string
  apiKey: string | null
  app: string
  build: string
  queue: string
  concurrency: number
  drainMs: number
  health: { port: number; host: string } | null
  log: Logger
  kafkaBrokers: string[] | null
  kafka: KafkaSecuritySource
  /** Told at registration. */
  workflows: ReadonlyMap<string, AnyWorkflow>
  eventTypes: EventTypes
  /** Those of this worker's queue. */
  runnable: ReadonlyMap<string, AnyWorkflow>
}

type Environment = Readonly<Record<string, string | undefined>>

/** Enough to keep two cores busy with short runs; measured, 100 reach half of it. */
const CONCURRENCY_DEFAULT = 300
/** Below the 30 s that Kubernetes waits before it kills. */
const DRAIN_TIMEOUT_DEFAULT = '25s'

/** Everything a worker needs, read once. Throws TypeError that names the option or variable. */
export function workerSettings(options: WorkerOptions, env: Environment): WorkerSettings {
  const workflows = workflowsById(options.workflows)
  const queue = queueOf(options.queue, workflows)
  const runnable = new Map([...workflows].filter(([, workflow]) => workflow.definition.queue === queue))
  if (runnable.size === 0) throw new TypeError(`none of the workflows is on the queue "${queue}"`)
  const eventTypes = eventTypesOf([
    ...[...workflows.values()].flatMap(({ events }) => events),
    ...(options.events ?? []),
  ])
  return {
    url: urlOf(given(options.url, env, 'HEADRACE_URL')),
    apiKey: given(options.apiKey, env, 'HEADRACE_API_KEY'),
    app: appOf(given(options.app, env, 'HEADRACE_APP')),
    build: buildOf(given(options.build, env, 'HEADRACE_BUILD_ID'), workflows, eventTypes),
    queue,
    concurrency: whole(
      'concurrency',
      options.concurrency ?? CONCURRENCY_DEFAULT,
      1,
      limits.workerConcurrencyMax,
    ),
    drainMs: drainMsOf(options.drainTimeout ?? given(undefined, env, 'HEADRACE_DRAIN_TIMEOUT')),
    health: options.health
      ? { port: whole('health.port', options.health.port, 0, 65_535), host: options.health.host ?? '0.0.0.0' }
      : null,
    log: options.log ?? createLog(given(undefined, env, 'HEADRACE_LOG_LEVEL') ?? 'info'),
    kafkaBrokers:
      given(undefined, env, 'HEADRACE_KAFKA_BROKERS')
        ?.split(',')
        .map((text) => text.trim()) ?? null,
    kafka: options.kafka ?? securityOf(env),
    workflows,
    eventTypes,
    runnable,
  }
}

function securityOf(env: Environment): KafkaSecuritySource {
  const { security, problems } = securitySettings(env)
  if (problems.length > 0)
    throw new TypeError(problems.map(({ variable, message }) => `${variable} ${message}`).join('; '))
  return security
}

/** The option, else the variable; an empty variable counts as absent, as in docker compose and Kubernetes. */
function given(option: string | undefined, env: Environment, variable: string): string | null {
  if (option !== undefined) return option
  const value = env[variable]
  return value === undefined || value === '' ? null : value
}

function workflowsById(list: readonly AnyWorkflow[]): Map<string, AnyWorkflow> {
  const workflows = new Map<string, AnyWorkflow>()
  for (const workflow of list) {
    if (workflows.has(workflow.id)) throw new TypeError(`two workflows have the id "${workflow.id}"`)
    workflows.set(workflow.id, workflow)
  }
  if (workflows.size === 0)
    throw new TypeError('a worker needs at least one workflow: new Worker({ workflows: […] })')
  if (workflows.size > limits.workflowsPerWorkerMax)
    throw new TypeError(
      `a worker has at most ${limits.workflowsPerWorkerMax} workflows, not ${workflows.size}`,
    )
  return workflows
}

function queueOf(option: string | undefined, workflows: ReadonlyMap<string, AnyWorkflow>): string {
  const queues = [...new Set([...workflows.values()].map((workflow) => workflow.definition.queue))]
  const queue = option ?? queues[0] ?? 'default'
  if (option === undefined && queues.length > 1)
    throw new TypeError(
      `the workflows are on the queues ${queues.join(', ')}; say which one this worker takes: new Worker({ queue: … })`,
    )
  if (!queueSchema.safeParse(queue).success) throw new TypeError(`"${queue}" is no name of a queue`)
  return queue
}

function urlOf(text: string | null): string {
  if (text === null)
    throw new TypeError(
      'HEADRACE_URL must be set (or `url` given): the gateway, for example http://localhost:8080',
    )
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new TypeError(`HEADRACE_URL must be an http or https URL, not "${text}"`)
  return text.replace(/\/+$/, '')
}

function appOf(text: string | null): string {
  const app = text ?? packageName()
  if (app === null)
    throw new TypeError('HEADRACE_APP must be set: there is no package.json with a name to take it from')
  if (!nameSchema.safeParse(app).success)
    throw new TypeError(
      `HEADRACE_APP must be 1 to 100 letters, digits, _ . - and begin with a letter or digit, not "${app}"`,
    )
  return app
}

/** The name in the package.json next to, or above, the script that was started; `@acme/shop` becomes `acme.shop`. */
function packageName(): string | null {
  const script = process.argv[1]
  for (let folder = script === undefined ? process.cwd() : dirname(script); ; folder = dirname(folder)) {
    const file = join(folder, 'package.json')
    if (existsSync(file)) {
      const content = JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown }
      if (typeof content.name === 'string') return content.name.replace(/^@/, '').replaceAll('/', '.')
    }
    if (dirname(folder) === folder) return null
  }
}

function buildOf(
  text: string | null,
  workflows: ReadonlyMap<string, AnyWorkflow>,
  eventTypes: EventTypes,
): string {
  if (text !== null) {
    if (text.length <= 100) return text
    throw new TypeError('HEADRACE_BUILD_ID must be at most 100 characters')
  }
  const hash = createHash('sha256')
  for (const id of [...workflows.keys()].sort()) {
    const workflow = workflows.get(id)
    hash.update(JSON.stringify([workflow?.definition, workflow?.retries, String(workflow?.handler)]))
  }
  hash.update(JSON.stringify(eventTypes.bodies))
  return hash.digest('hex').slice(0, 12)
}

function drainMsOf(timeout: number | string | null): number {
  // In an environment a number is text; it means seconds there as in code.
  const seconds = typeof timeout === 'string' && /^\d+(?:\.\d+)?$/.test(timeout) ? Number(timeout) : timeout
  const ms = durationMs(seconds ?? DRAIN_TIMEOUT_DEFAULT)
  if (ms === null)
    throw new TypeError(`HEADRACE_DRAIN_TIMEOUT must be a duration such as 25s, not "${timeout}"`)
  return ms
}

function whole(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new TypeError(`${name} must be a whole number from ${min} to ${max}, not ${value}`)
}
