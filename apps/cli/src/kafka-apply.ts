import {
  aclCommand,
  type Broker,
  BrokerError,
  createBroker,
  type KafkaPlan,
  type PlannedAcl,
  sameSetting,
  securitySettings,
  type TopicConfigValue,
  type WantedTopic,
} from '@headrace/broker'
import {
  ConfigError,
  createLogger,
  type Environment,
  EXIT_CODES,
  kafkaSettings,
  parseConfig,
  runMain,
} from '@headrace/service'
import { z } from 'zod'
import { type PlanCommandOptions, planOf } from './kafka-plan.ts'

export interface ApplyCommandOptions extends Omit<PlanCommandOptions, 'json'> {
  /** Grant the ACLs too. */
  acls: boolean
  /** Change nothing. */
  dryRun: boolean
}

/** One thing that was, or would be, done; or that is not as planned and is left so. */
export interface Applied {
  readonly kind: 'done' | 'left'
  readonly line: string
}

const settings = z.object({
  HEADRACE_KAFKA_BROKERS: kafkaSettings.HEADRACE_KAFKA_BROKERS,
  HEADRACE_KAFKA_REPLICATION_FACTOR: kafkaSettings.HEADRACE_KAFKA_REPLICATION_FACTOR,
})

/**
 * `headrace kafka apply`: the plan carried out by this process, as whoever the Kafka settings say. Ends the process with 0; with
 * 1 when Kafka refused something or, of a dry run, when there is something to do; with 2 when settings are wrong.
 */
export async function runKafkaApply(env: Environment, options: ApplyCommandOptions): Promise<never> {
  return await runMain({
    start: async () => {
      const plan = planOf(env, options)
      const broker = brokerOf(env)
      try {
        const applied = await applyPlan(broker, plan, options)
        for (const { line } of applied) process.stdout.write(`${line}\n`)
        const count = applied.filter(({ kind }) => kind === 'done').length
        process.stdout.write(`${count === 0 ? 'nothing' : count} ${options.dryRun ? 'to do' : 'done'}\n`)
        return process.exit(options.dryRun && count > 0 ? EXIT_CODES.failed : EXIT_CODES.stopped)
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error
        process.stderr.write(`${error.code}: ${error.message}\n`)
        return process.exit(EXIT_CODES.failed)
      } finally {
        await broker.close()
      }
    },
  })
}

function brokerOf(env: Environment): Broker {
  const values = parseConfig(settings, env)
  const { security, problems } = securitySettings(env)
  if (problems.length > 0) throw new ConfigError(problems)
  return createBroker({
    brokers: values.HEADRACE_KAFKA_BROKERS,
    clientId: 'headrace-kafka-apply',
    security,
    topics: { mode: 'create', replicationFactor: values.HEADRACE_KAFKA_REPLICATION_FACTOR },
    logger: createLogger({ name: 'kafka-apply', level: 'error' }),
  })
}

/** Makes what is missing, corrects what can be corrected without a loss, and tells the rest. Run again, it finds nothing to do. */
export async function applyPlan(
  broker: Pick<Broker, 'topics' | 'acls'>,
  plan: KafkaPlan,
  { acls, dryRun }: Pick<ApplyCommandOptions, 'acls' | 'dryRun'>,
): Promise<Applied[]> {
  return [
    ...(await applyTopics(broker, plan.topics, dryRun)),
    ...(acls ? await applyAcls(broker, plan.acls, dryRun) : plan.acls.map(notGranted)),
  ]
}

async function applyTopics(
  { topics: admin }: Pick<Broker, 'topics'>,
  topics: readonly WantedTopic[],
  dryRun: boolean,
): Promise<Applied[]> {
  const { known, failed } = await admin.describe(topics.map(({ name }) => name))
  for (const [topic, code] of failed)
    if (code !== 'unknown_topic')
      throw new BrokerError(code, `looking at topic ${topic}: Kafka answered ${code}`, { retryable: true })
  const missing = topics.filter(({ name }) => failed.has(name))
  if (!dryRun) await admin.ensureTopics(missing)
  const applied: Applied[] = missing.map(({ name, partitions }) =>
    done(dryRun, `topic ${name}`, ['would be made', 'made'], `with ${partitions} partitions`),
  )
  const there = topics.filter(({ name }) => known.has(name))
  const now = await admin.configs(there.map(({ name }) => name))
  for (const topic of there) {
    const partitions = known.get(topic.name)?.partitions ?? 0
    if (partitions !== topic.partitions) applied.push(otherPartitions(topic, partitions))
    const { changes, left } = corrections(topic, now.get(topic.name) ?? new Map())
    if (!dryRun && Object.keys(changes).length > 0) await admin.alterConfigs(topic.name, changes)
    for (const [name, value] of Object.entries(changes)) {
      const before = now.get(topic.name)?.get(name)?.value ?? null
      applied.push(
        done(dryRun, `topic ${topic.name}`, ['would be set', 'set'], `${name}=${value}, was ${before}`),
      )
    }
    applied.push(...left.map((line): Applied => ({ kind: 'left', line })))
  }
  return applied
}

const done = (dryRun: boolean, what: string, [would, was]: [string, string], rest: string): Applied => ({
  kind: 'done',
  line: `${what}: ${dryRun ? would : was} ${rest}`,
})

const otherPartitions = ({ name, partitions }: WantedTopic, now: number): Applied => ({
  kind: 'left',
  line: `topic ${name}: left with ${now} partitions, the settings say ${partitions}: other partitions would take keys from their place`,
})

/** More of these does no harm, and less than there is could lose records or refuse them. */
const atLeast = new Set(['retention.ms', 'min.compaction.lag.ms', 'max.message.bytes', 'min.insync.replicas'])

/** How a topic's settings are to be changed, and what is not as planned and stays. */
export function corrections(
  { name: topic, config }: WantedTopic,
  now: ReadonlyMap<string, TopicConfigValue>,
): { changes: Record<string, string>; left: string[] } {
  const changes: Record<string, string> = {}
  const left: string[] = []
  for (const [name, wanted] of Object.entries(config)) {
    const { value = null, own = false } = now.get(name) ?? {}
    if (sameSetting(value, wanted)) continue
    if (atLeast.has(name) && isMore(value, wanted))
      left.push(`topic ${topic}: left with ${name}=${value}, the plan says ${wanted}: more does no harm`)
    else if (name === 'retention.ms' && own && topic.includes('.events.'))
      left.push(`topic ${topic}: left with ${name}=${value}: a stream's retention is its own`)
    else changes[name] = wanted
  }
  return { changes, left }
}

/** -1 is without end. */
const isMore = (value: string | null, wanted: string): boolean =>
  value === '-1' || (value !== null && Number(value) > Number(wanted))

async function applyAcls(
  { acls: admin }: Pick<Broker, 'acls'>,
  acls: readonly PlannedAcl[],
  dryRun: boolean,
): Promise<Applied[]> {
  const missing = await admin.missing(acls)
  if (!dryRun) await admin.create(missing)
  return missing.map(({ principal, resource, name, pattern, operations }) =>
    done(
      dryRun,
      `ACL of ${principal}`,
      ['would be granted', 'granted'],
      `${operations.join(', ')} on ${resource} ${name}${pattern === 'prefixed' ? '*' : ''}`,
    ),
  )
}

const notGranted = (acl: PlannedAcl): Applied => ({
  kind: 'left',
  line: `ACL not looked at (--acls does): ${aclCommand(acl)}`,
})
