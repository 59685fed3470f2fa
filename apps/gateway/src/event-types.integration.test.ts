import { createBroker, writeSettings } from '@headrace/broker'
import { createSchemaRegistry, openRegistry } from '@headrace/registry'
import type { EventTypeSetting, FieldFault, Problem, PublishedEvent } from '@headrace/schemas'
import { type RunningApp, silentLogger } from '@headrace/service'
import { eventually, infra, startOwnSchemaRegistry } from '@headrace/testing'
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseGatewayConfig, startGateway } from './index.ts'

const { brokers, prefix } = await infra()
const registry = await startOwnSchemaRegistry()
const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
let gateway: RunningApp

const ORDER = {
  type: 'object',
  properties: { id: { type: 'string' }, total: { type: 'number' } },
  required: ['id'],
  additionalProperties: false,
} as const
const PAID = {
  type: 'record',
  name: 'Paid',
  fields: [
    { name: 'cents', type: 'long' },
    { name: 'note', type: ['null', 'string'], default: null },
  ],
} as const

async function eventType(
  pattern: string,
  schemaType: 'json' | 'avro',
  more: Partial<EventTypeSetting> = {},
): Promise<EventTypeSetting> {
  const name = pattern.replaceAll('/', '.')
  const schema: EventTypeSetting['schema'] =
    schemaType === 'json' ? { ...ORDER, required: ['id'] } : (PAID as never)
  const { id, url } = await createSchemaRegistry(openRegistry(registry.url)).register({
    subject: name,
    type: schemaType === 'json' ? 'JSON' : 'AVRO',
    schema: JSON.stringify(schema),
    level: 'BACKWARD',
    owned: true,
  })
  const registered = { schema_id: id, subject: name, dataschema: url }
  return { name, pattern, schema_type: schemaType, schema, mode: 'enforce', ...registered, ...more }
}

beforeAll(async () => {
  const types = [
    await eventType('orders/created', 'json'),
    await eventType('orders/paid', 'avro'),
    await eventType('orders/old', 'json', { mode: 'warn' }),
  ]
  await broker.topics.ensureTopics([
    { name: `${prefix}.config`, partitions: 1, config: { 'cleanup.policy': 'compact' } },
  ])
  const producer = broker.producer()
  await writeSettings(
    producer,
    prefix,
    types.map((value, index) => ({ kind: 'event_type', name: value.name, revision: index + 1, value })),
  )
  await producer.close()
  gateway = await startGateway({
    config: parseGatewayConfig({
      HEADRACE_AUTH: 'off',
      HEADRACE_KAFKA_BROKERS: brokers.join(','),
      HEADRACE_PREFIX: prefix,
      HEADRACE_PORT: '0',
      HEADRACE_MANAGEMENT_PORT: '0',
      HEADRACE_STREAM_PARTITIONS: '1',
      HEADRACE_SCHEMA_REGISTRY_URL: registry.url,
      HEADRACE_ORCHESTRATOR_URL: 'http://127.0.0.1:1',
    }),
    log: silentLogger,
  })
})
afterAll(async () => {
  await gateway.stop()
  await broker.close()
})

interface Answer {
  status: number
  body: { events: PublishedEvent[]; warnings: FieldFault[] } & Problem
}

async function post(body: string, contentType: string, headers: object = {}): Promise<Response> {
  const sent = { 'content-type': contentType, ...headers }
  return await fetch(`${gateway.url}/v1/events`, { method: 'POST', headers: sent, body })
}
async function publish(...events: object[]): Promise<Answer> {
  const answer = await post(JSON.stringify({ events }), 'application/json')
  return { status: answer.status, body: (await answer.json()) as Answer['body'] }
}
const created = (data: unknown) => ({ topic: 'orders/created', data })

/** What a client of Confluent's kind reads of the stream, from its beginning; of records without a frame the text. */
async function readByOthers(count: number): Promise<unknown[]> {
  const kafka = new Kafka({ clientId: 'other', brokers, logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: `${prefix}-others`, maxWaitTimeInMs: 100 })
  const schemas = new SchemaRegistry({ host: registry.url })
  const found: unknown[] = []
  await consumer.connect()
  await consumer.subscribe({ topic: `${prefix}.events.orders`, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ message: { value } }) => {
      if (value !== null) found.push(value[0] === 0 ? await schemas.decode(value) : value.toString())
    },
  })
  await eventually('all records are read', () => found.length >= count)
  await consumer.disconnect()
  return found
}

test('what Confluent’s clients read is what was published, JSON, Avro and plain in one stream; what does not fit is refused or warned of in every format', async () => {
  const written = await publish(
    created({ id: 'a', total: 1.5 }),
    { topic: 'orders/paid', data: { cents: 250 } },
    { topic: 'orders/other', data: 'plain' },
    { topic: 'orders/old', data: { total: 1 } },
  )
  expect(written).toMatchObject({
    status: 200,
    body: { warnings: [{ pointer: '/events/3/data/id', code: 'schema_invalid', detail: 'is required' }] },
  })

  expect(await publish(created({ id: 'x' }), created({ id: 7, more: 1 }))).toMatchObject({
    status: 422,
    body: {
      code: 'schema_invalid',
      errors: [{ pointer: '/events/1/data/more' }, { pointer: '/events/1/data/id' }],
    },
  })
  expect(await publish({ topic: 'orders/paid', data: { cents: 'x' } })).toMatchObject({
    body: { errors: [{ pointer: '/events/0/data/cents' }] },
  })
  const ce = {
    'ce-specversion': '1.0',
    'ce-id': 'c1',
    'ce-source': '/s',
    'ce-type': 't',
    'ce-subject': 'orders/created',
  }
  const refused = await post('{"id":1}', 'application/json', ce)
  expect(await refused.json()).toMatchObject({ code: 'schema_invalid', errors: [{ pointer: '/id' }] })
  const structured = { specversion: '1.0', id: 'c2', source: '/s', type: 't', subject: 'orders/created' }
  const accepted = await post(
    JSON.stringify({ ...structured, data: { id: 'ce' } }),
    'application/cloudevents+json',
  )
  expect(accepted.status).toBe(200)

  const lines = [created({ id: 'l1' }), created({}), { topic: 'orders/old', data: {} }, created({ id: 'l4' })]
  const answer = await post(lines.map((line) => JSON.stringify(line)).join('\n'), 'application/x-ndjson')
  const told = (await answer.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { problem?: Problem; warnings?: FieldFault[] })
  expect(
    told.map(({ problem, warnings }) => problem?.errors?.[0]?.pointer ?? warnings?.[0]?.pointer),
  ).toEqual([undefined, '/data/id', '/data/id', undefined])

  expect(await readByOthers(8)).toEqual([
    { id: 'a', total: 1.5 },
    { cents: 250, note: null },
    '"plain"',
    '{"total":1}',
    { id: 'ce' },
    { id: 'l1' },
    '{}',
    { id: 'l4' },
  ])
})

test('a gateway that knows an event type goes on without its registry, for publishers and for readers', async () => {
  const history = async (): Promise<unknown[]> => {
    const answer = await fetch(`${gateway.url}/v1/events?stream=orders&limit=200`)
    return ((await answer.json()) as { data: { data: unknown }[] }).data.map(({ data }) => data)
  }
  expect(await history()).toContainEqual({ cents: 250, note: null })
  await registry.kill()
  const sent = Array.from({ length: 50 }, (_, n) => ({ topic: 'orders/paid', data: { cents: n, note: 'n' } }))
  expect((await publish(...sent)).status).toBe(200)
  expect((await publish(created({ id: 1 }))).body.code).toBe('schema_invalid')
  const found = await history()
  for (const { data } of sent) expect(found).toContainEqual(data)
})
