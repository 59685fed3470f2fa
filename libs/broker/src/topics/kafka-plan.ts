import { CONFIG_PARTITIONS } from '../config-topic/setting.ts'
import { minInsyncReplicas, type WantedTopic } from './topic-admin.ts'
import { configTopic, deadLettersTopic, eventsTopic, responsesTopic, tasksTopic } from './topic-plan.ts'

/** Who works with Kafka: each may have a principal of its own. */
export const KAFKA_PARTS = ['gateway', 'trigger-service', 'orchestrator', 'worker'] as const
export type KafkaPart = (typeof KAFKA_PARTS)[number]

export interface KafkaPlanOptions {
  readonly prefix: string
  readonly streams: readonly string[]
  readonly queues: readonly string[]
  /** Topics of other people's that streams are bound to: they are read, and never made here. */
  readonly externalTopics: readonly string[]
  readonly partitions: { readonly streams: number; readonly tasks: number; readonly responses: number }
  /** -1: the brokers' own default. */
  readonly replicationFactor: number
  /** Whether the apps make topics themselves (`HEADRACE_KAFKA_TOPICS=create`), which takes more rights. */
  readonly mayCreate: boolean
  /** As Kafka names them: `User:headrace-gateway`. */
  readonly principals: Readonly<Record<KafkaPart, string>>
}

export interface PlannedAcl {
  readonly principal: string
  readonly resource: 'topic' | 'group'
  readonly name: string
  readonly pattern: 'literal' | 'prefixed'
  /** As `kafka-acls` names them. Describe comes with any of Read, Write, Alter and Delete. */
  readonly operations: readonly string[]
}

/** Everything of Kafka's that one Headrace needs. No transactions; idempotent producers, which Write allows by itself. */
export interface KafkaPlan {
  readonly topics: readonly WantedTopic[]
  readonly replicationFactor: number
  readonly groups: readonly string[]
  readonly acls: readonly PlannedAcl[]
}

/** From the table that the apps make their topics by. */
export function kafkaPlan(options: KafkaPlanOptions): KafkaPlan {
  const { prefix, streams, queues, partitions, replicationFactor } = options
  const own = minInsyncReplicas(replicationFactor)
  const wanted: WantedTopic[] = [
    ...streams.map((stream) => ({ ...eventsTopic(prefix, stream), partitions: partitions.streams })),
    { ...responsesTopic(prefix), partitions: partitions.responses },
    ...queues.map((queue) => ({ ...tasksTopic(prefix, queue), partitions: partitions.tasks })),
    { ...deadLettersTopic(prefix), partitions: partitions.streams },
    { ...configTopic(prefix), partitions: CONFIG_PARTITIONS },
  ]
  return {
    topics: wanted.map((topic) => ({ ...topic, config: { ...topic.config, ...own } })),
    replicationFactor,
    groups: [
      `${prefix}.trigger-service`,
      `${prefix}.orchestrator`,
      ...queues.map((queue) => `${prefix}.workers.${queue}`),
    ],
    acls: aclsOf(options),
  }
}

type Grant = readonly [part: KafkaPart, name: string, operations: readonly string[], pattern?: 'prefixed']

function aclsOf(options: KafkaPlanOptions): PlannedAcl[] {
  const { principals } = options
  const acl =
    (resource: 'topic' | 'group') =>
    ([part, name, operations, pattern]: Grant): PlannedAcl => ({
      principal: principals[part],
      resource,
      name,
      pattern: pattern ?? 'literal',
      operations,
    })
  return [...topicGrants(options).map(acl('topic')), ...groupGrants(options).map(acl('group'))]
}

function topicGrants({ prefix, queues, externalTopics, mayCreate }: KafkaPlanOptions): Grant[] {
  const events = eventsTopic(prefix, '').name
  const tasks = tasksTopic(prefix, '').name
  const responses = responsesTopic(prefix).name
  const deadLetters = deadLettersTopic(prefix).name
  const config = configTopic(prefix).name
  const look = ['DescribeConfigs']
  const make = mayCreate ? ['Create'] : []
  // What `PUT` and `DELETE /v1/streams` do. DescribeConfigs comes with AlterConfigs.
  const change = mayCreate ? ['Create', 'Alter', 'AlterConfigs', 'Delete'] : look
  return [
    ['gateway', events, ['Read', 'Write', ...change], 'prefixed'],
    ['gateway', config, ['Read']],
    ['trigger-service', events, ['Read'], 'prefixed'],
    ['trigger-service', responses, ['Write']],
    ['trigger-service', deadLetters, ['Write', ...look, ...make]],
    ['trigger-service', tasks, ['Write'], 'prefixed'],
    ['orchestrator', events, ['Read', 'Write', ...look, ...make], 'prefixed'],
    ['orchestrator', responses, ['Read', ...look, ...make]],
    ['orchestrator', deadLetters, ['Read', 'Write', ...look, ...make]],
    ['orchestrator', tasks, ['Write', ...look, ...make], 'prefixed'],
    ['orchestrator', config, ['Read', 'Write', ...look, ...make]],
    ...queues.map((queue): Grant => ['worker', tasksTopic(prefix, queue).name, ['Read']]),
    ...externalTopics.flatMap((topic): Grant[] => [
      ['gateway', topic, ['Read', ...look]],
      ['trigger-service', topic, ['Read']],
      ['orchestrator', topic, ['Read', ...look]],
    ]),
  ]
}

const groupGrants = ({ prefix, queues }: KafkaPlanOptions): Grant[] => [
  ['trigger-service', `${prefix}.trigger-service`, ['Read']],
  ['orchestrator', `${prefix}.orchestrator`, ['Read']],
  ...queues.map((queue): Grant => ['worker', `${prefix}.workers.${queue}`, ['Read']]),
]
