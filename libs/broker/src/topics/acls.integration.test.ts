import kafkajs, { Kafka, logLevel } from 'kafkajs'
import { allow, eventually, type SecuredKafka, startSecuredKafka } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Broker, createBroker } from '../broker.ts'
import { securitySettings } from '../security/security-settings.ts'
import { KAFKA_PARTS, type KafkaPart, kafkaPlan, type PlannedAcl } from './kafka-plan.ts'

const { AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs
const prefix = 'acl'
const quiet = { debug() {}, info() {}, error() {}, warn() {} }
const plan = kafkaPlan({
  prefix,
  streams: ['orders'],
  queues: ['default'],
  externalTopics: ['prod.orders'],
  partitions: { streams: 1, tasks: 1, responses: 1 },
  replicationFactor: 1,
  mayCreate: true,
  principals: Object.fromEntries(KAFKA_PARTS.map((part) => [part, `User:${part}`])) as Record<
    KafkaPart,
    string
  >,
})

let kafka: SecuredKafka
let admin: Broker
const brokers = new Map<string, Broker>()
const said: string[] = []

beforeAll(async () => {
  const users = Object.fromEntries(KAFKA_PARTS.map((part) => [part, `${part}-secret`]))
  kafka = await startSecuredKafka({ users })
  admin = createBroker({ brokers: kafka.plain, clientId: 'admin', logger: quiet })
  const others = [{ name: 'prod.orders', config: {}, partitions: 1 }]
  await admin.topics.ensureTopics([...plan.topics, ...others])
  await admin.acls.create(plan.acls)
  const warn = (_: object, message: string) => void said.push(message)
  for (const part of KAFKA_PARTS) {
    const { security, problems } = securitySettings({
      HEADRACE_KAFKA_TLS_CA_FILE: kafka.authority.ca,
      HEADRACE_KAFKA_SASL_MECHANISM: 'scram-sha-512',
      HEADRACE_KAFKA_SASL_USERNAME: part,
      HEADRACE_KAFKA_SASL_PASSWORD: `${part}-secret`,
    })
    if (problems.length > 0) throw new Error(JSON.stringify(problems))
    const logger = { ...quiet, warn }
    brokers.set(`User:${part}`, createBroker({ brokers: kafka.sasl, clientId: part, security, logger }))
  }
})
afterAll(async () => {
  for (const broker of [...brokers.values(), admin]) await broker.close()
})

/** Takes one operation of a planned ACL away, as an administrator by mistake. */
async function takeAway(acl: PlannedAcl, operation: string): Promise<void> {
  const client = new Kafka({ clientId: 'acls', brokers: kafka.plain, logLevel: logLevel.NOTHING }).admin()
  await client.connect()
  const resourceType = acl.resource === 'topic' ? AclResourceTypes.TOPIC : AclResourceTypes.GROUP
  const resourcePatternType =
    acl.pattern === 'literal' ? ResourcePatternTypes.LITERAL : ResourcePatternTypes.PREFIXED
  await client.deleteAcls({
    filters: [
      {
        resourceType,
        resourceName: acl.name,
        resourcePatternType,
        principal: acl.principal,
        host: '*',
        operation: codes[operation] ?? 0,
        permissionType: AclPermissionTypes.ALLOW,
      },
    ],
  })
  await client.disconnect()
  const without = { ...acl, operations: [operation] }
  await eventually('the brokers know', async () => (await admin.acls.missing([without])).length === 1)
}

/** Of Kafka's protocol. */
const codes: Record<string, number> = {
  Read: 3,
  Write: 4,
  Create: 5,
  Delete: 6,
  Alter: 7,
  DescribeConfigs: 10,
  AlterConfigs: 11,
}

const topicOf = ({ name, pattern }: PlannedAcl): string =>
  pattern === 'literal' ? name : name.endsWith('.events.') ? `${name}orders` : `${name}default`

/** What needs the right, as the apps do it. Rejects, or returns what was said of it. */
const uses: Record<string, (broker: Broker, acl: PlannedAcl) => Promise<unknown>> = {
  Read: async (broker, acl) => {
    if (acl.resource === 'group') return await join(broker, acl.name)
    const range = broker.readRange({ topic: topicOf(acl), partition: 0, from: 0, to: null })
    for await (const chunk of range) if (chunk.end !== null) break
  },
  Write: async (broker, acl) => {
    const producer = broker.producer()
    const record = { topic: topicOf(acl), partition: 0, key: 'k', value: '{}', headers: {} }
    const [outcome] = await producer.produce([record])
    await producer.close()
    if (outcome?.status !== 'written') throw new Error(outcome?.message)
  },
  Create: async (broker, acl) => {
    // Of a literal name only that topic can be made.
    const name = acl.pattern === 'prefixed' ? `${acl.name}new-${acl.principal.slice(5)}` : acl.name
    await admin.topics.deleteTopic(name)
    await eventually('it is gone', async () => (await admin.topics.describe([name])).known.size === 0)
    const topic = { name, config: {}, partitions: 1 }
    try {
      await broker.topics.ensureTopics([topic])
    } finally {
      await admin.topics.ensureTopics([topic])
    }
  },
  DescribeConfigs: async (broker, acl) => await broker.topics.configs([topicOf(acl)]),
  AlterConfigs: async (broker, acl) =>
    await broker.topics.alterConfigs(topicOf(acl), { 'retention.ms': '86400000' }),
  Alter: async (broker, acl) => {
    const { known } = await admin.topics.describe([topicOf(acl)])
    await broker.topics.growTopic(topicOf(acl), (known.get(topicOf(acl))?.partitions ?? 0) + 1)
  },
  Delete: async (broker, acl) => {
    const topic = { name: `${acl.name}gone`, config: {}, partitions: 1 }
    await admin.topics.ensureTopics([topic])
    await broker.topics.deleteTopic(topic.name)
  },
}

/** A consumer tells in the log why it does not come to anything. */
async function join(broker: Broker, groupId: string): Promise<void> {
  const from = said.length
  const read = groupId.includes('.workers.') ? 'tasks.default' : 'events.orders'
  const consumer = broker.consumer({
    groupId,
    topics: [groupId.endsWith('.orchestrator') ? `${prefix}.responses` : `${prefix}.${read}`],
    fromBeginning: true,
    lane: () => ({ push: () => 'accepted', isFull: () => false }),
  })
  consumer.start()
  const outcome = await eventually('it is a member, or says why not', () =>
    consumer.state === 'running' ? 'joined' : said.slice(from).find((line) => line.includes(groupId)),
  )
  await consumer.stop()
  if (outcome !== 'joined') throw new Error(outcome)
}

describe('without one of the rights that the plan grants', () => {
  const rows = plan.acls.flatMap((acl) =>
    acl.operations.map((operation) => [acl.principal, operation, acl.resource, acl.name, acl] as const),
  )
  test.each(rows)(
    '%s to %s on %s %s, what needs it says which',
    async (principal, operation, _, name, acl) => {
      const use = uses[operation]
      const broker = brokers.get(principal)
      if (use === undefined || broker === undefined) throw new Error(`nothing uses ${operation}`)
      await use(broker, acl)
      await takeAway(acl, operation)
      const named = acl.pattern === 'literal' ? name : name.replace(/\.$/, '')
      await expect(use(broker, acl)).rejects.toThrow(
        new RegExp(
          `(?:${operation}|Describe|DescribeConfigs) on (?:${acl.resource} ${named}|any topic).*headrace kafka plan`,
        ),
      )
      await allow(kafka.plain, [{ ...acl, operations: [operation] }])
      await eventually('it is granted again', async () => (await admin.acls.missing([acl])).length === 0)
    },
  )
})
