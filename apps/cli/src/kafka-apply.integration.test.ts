import { createBroker } from '@headrace/broker'
import { silentLogger } from '@headrace/service'
import { infra, startHeadrace, startSecuredKafka } from '@headrace/testing'
import { beforeAll, expect, test } from 'vitest'
import { planOf } from './kafka-plan.ts'

const prefix = 'applied'
const plan = planOf(
  { HEADRACE_PREFIX: prefix },
  { stream: ['orders'], queue: [], externalTopic: [], principal: [] },
)
let kafka: Awaited<ReturnType<typeof startSecuredKafka>>

beforeAll(async () => {
  kafka = await startSecuredKafka({ users: { nobody: 'nobody-secret' } })
})

async function apply(options: string[] = [], env: Record<string, string> = {}) {
  const process = await startHeadrace(['kafka', 'apply', '--stream', 'orders', ...options], {
    HEADRACE_PREFIX: prefix,
    HEADRACE_KAFKA_BROKERS: kafka.plain.join(','),
    HEADRACE_KAFKA_REPLICATION_FACTOR: '1',
    ...env,
  })
  const { code } = await process.exit
  return { code, lines: process.stdout, error: process.stderr.join('\n') }
}

const admin = () => createBroker({ brokers: kafka.plain, clientId: 'test', logger: silentLogger })

test('headrace kafka apply makes what is missing, corrects what differs, and then finds nothing to do', async () => {
  const broker = admin()
  const would = await apply(['--acls', '--dry-run'])
  expect(would.code).toBe(1)
  expect(would.lines).toContainEqual(
    expect.stringContaining(`topic ${prefix}.events.orders: would be made with 4`),
  )
  expect(would.lines.at(-1)).toBe(`${plan.topics.length + plan.acls.length} to do`)
  expect(await broker.topics.list(prefix)).toEqual([])

  const first = await apply(['--acls'])
  expect(first).toMatchObject({ code: 0, error: '' })
  expect(first.lines).toContainEqual(expect.stringContaining(`topic ${prefix}.responses: made with 4`))
  expect(first.lines).toContainEqual(`ACL of User:headrace-gateway: granted Read on topic ${prefix}.config`)
  const verifying = createBroker({
    brokers: kafka.plain,
    clientId: 'test',
    logger: silentLogger,
    topics: { mode: 'verify' },
  })
  expect((await verifying.topics.ensureTopics(plan.topics)).warnings).toEqual([])
  await verifying.close()
  expect(await broker.acls.missing(plan.acls)).toEqual([])
  expect((await apply(['--acls'])).lines).toEqual(['nothing done'])
  expect(await apply(['--acls', '--dry-run'])).toMatchObject({ code: 0, lines: ['nothing to do'] })

  await broker.topics.alterConfigs(`${prefix}.responses`, {
    'retention.ms': '60000',
    'segment.ms': '3600000',
  })
  const again = await apply([], { HEADRACE_STREAM_PARTITIONS: '6' })
  expect(again.lines).toContainEqual(`topic ${prefix}.responses: set retention.ms=2592000000, was 60000`)
  expect(again.lines).toContainEqual(
    expect.stringContaining(`topic ${prefix}.events.orders: left with 4 partitions, the settings say 6`),
  )
  expect(again.lines).toContainEqual(
    expect.stringMatching(/^ACL not looked at \(--acls does\): kafka-acls .*--topic applied\.config$/),
  )
  expect(again.lines.at(-1)).toBe('1 done')
  const config = (await broker.topics.configs([`${prefix}.responses`])).get(`${prefix}.responses`)
  expect(config?.get('segment.ms')).toEqual({ value: '3600000', own: true })
  await broker.close()
})

test('who may not is told what Kafka refused, and a wrong setting is named', async () => {
  const refused = await apply([], {
    HEADRACE_PREFIX: 'refused',
    HEADRACE_KAFKA_BROKERS: kafka.sasl.join(','),
    HEADRACE_KAFKA_TLS_CA_FILE: kafka.authority.ca,
    HEADRACE_KAFKA_SASL_MECHANISM: 'scram-sha-512',
    HEADRACE_KAFKA_SASL_USERNAME: 'nobody',
    HEADRACE_KAFKA_SASL_PASSWORD: 'nobody-secret',
  })
  expect(refused).toMatchObject({
    code: 1,
    error: expect.stringMatching(/authorization_failed: .*refused\.events\.orders/),
  })
  expect(await apply([], { HEADRACE_KAFKA_BROKERS: '' })).toMatchObject({
    code: 2,
    error: expect.stringContaining('HEADRACE_KAFKA_BROKERS'),
  })
})

test('ACLs of a Kafka that checks none are refused as such', async () => {
  const { brokers } = await infra()
  expect(await apply(['--acls', '--dry-run'], { HEADRACE_KAFKA_BROKERS: brokers.join(',') })).toMatchObject({
    code: 1,
    error: expect.stringContaining('security_disabled'),
  })
})
