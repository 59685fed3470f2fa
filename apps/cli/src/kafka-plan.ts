import {
  aclCommand,
  KAFKA_PARTS,
  type KafkaPart,
  type KafkaPlan,
  kafkaPlan,
  type KafkaPlanOptions,
  topicCommand,
} from '@headrace/broker'
import {
  ConfigError,
  type Environment,
  integerSetting,
  kafkaSettings,
  parseConfig,
  runMain,
} from '@headrace/service'
import { z } from 'zod'

export interface PlanCommandOptions {
  stream: string[]
  queue: string[]
  externalTopic: string[]
  /** `gateway=User:name`. */
  principal: string[]
  json: boolean
}

const partitions = () => integerSetting({ least: 1, most: 1_000 }).default(4)
const settings = z.object({
  HEADRACE_PREFIX: kafkaSettings.HEADRACE_PREFIX,
  HEADRACE_KAFKA_TOPICS: kafkaSettings.HEADRACE_KAFKA_TOPICS,
  HEADRACE_KAFKA_REPLICATION_FACTOR: kafkaSettings.HEADRACE_KAFKA_REPLICATION_FACTOR,
  HEADRACE_STREAM_PARTITIONS: partitions(),
  HEADRACE_TASK_PARTITIONS: partitions(),
  HEADRACE_RESPONSE_PARTITIONS: partitions(),
})

/** What the apps with these settings need of Kafka. Throws ConfigError, also for an option. */
export function planOf(env: Environment, options: Omit<PlanCommandOptions, 'json'>): KafkaPlan {
  const values = parseConfig(settings, env)
  const plan: KafkaPlanOptions = {
    prefix: values.HEADRACE_PREFIX,
    streams: options.stream,
    queues: options.queue.length > 0 ? options.queue : ['default'],
    externalTopics: options.externalTopic,
    partitions: {
      streams: values.HEADRACE_STREAM_PARTITIONS,
      tasks: values.HEADRACE_TASK_PARTITIONS,
      responses: values.HEADRACE_RESPONSE_PARTITIONS,
    },
    replicationFactor: values.HEADRACE_KAFKA_REPLICATION_FACTOR,
    mayCreate: values.HEADRACE_KAFKA_TOPICS === 'create',
    principals: principalsOf(options.principal),
  }
  return kafkaPlan(plan)
}

function principalsOf(given: readonly string[]): Record<KafkaPart, string> {
  const named = given.map((text): [KafkaPart, string] => {
    const [name = '', ...rest] = text.split('=')
    const part = KAFKA_PARTS.find((known) => known === name)
    const principal = rest.join('=')
    if (part === undefined || !/^\w+:./.test(principal))
      throw new ConfigError([
        {
          variable: '--principal',
          message: `${text} must be one of ${KAFKA_PARTS.join(', ')}, then = and User:name`,
        },
      ])
    return [part, principal]
  })
  const usual = KAFKA_PARTS.map((part): [KafkaPart, string] => [part, `User:headrace-${part}`])
  return Object.fromEntries([...usual, ...named]) as Record<KafkaPart, string>
}

/** The plan as commands of Kafka's own tools, each line to be run by an administrator. */
export function planText({ topics, replicationFactor, groups, acls }: KafkaPlan): string {
  return [
    '# BOOTSTRAP: host:port of a broker; admin.properties: how an administrator reaches it. Safe to run again.',
    '# Topics',
    ...topics.map((topic) => topicCommand(topic, replicationFactor)),
    `# Consumer groups, which need no making: ${groups.join(', ')}`,
    '# No transactions. Producers are idempotent, which Write on a topic allows by itself.',
    '# ACLs',
    ...acls.map((acl) => aclCommand(acl)),
  ].join('\n')
}

/** Prints the plan and ends. Connects to nothing. */
export async function runKafkaPlan(env: Environment, options: PlanCommandOptions): Promise<never> {
  return await runMain({
    start: async () => {
      const plan = planOf(env, options)
      process.stdout.write(`${options.json ? JSON.stringify(plan, null, 2) : planText(plan)}\n`)
      return await Promise.resolve({
        stop: async () => await Promise.resolve('drained'),
        stopped: Promise.resolve('drained'),
      })
    },
  })
}
