import { createBroker, writeSettings } from '@headrace/broker'
import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import type { PublishedEvent } from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { infra } from '@headrace/testing'
import { expect, test } from 'vitest'
import { javaClientJars, printRecords } from './java-client/print-records.ts'

const { brokers, prefix } = await infra()
const jars = await javaClientJars()

/** As an orchestrator tells gateways of event types whose schemas a registry has. */
async function tellEventTypes(): Promise<void> {
  const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
  await broker.topics.ensureTopics([
    { name: `${prefix}.config`, partitions: 1, config: { 'cleanup.policy': 'compact' } },
  ])
  const producer = broker.producer()
  const type = (name: string, schemaType: string, schema: object, id: number) => ({
    kind: 'event_type',
    name: `orders.${name}`,
    revision: id,
    value: {
      name: `orders.${name}`,
      pattern: `orders/${name}`,
      schema_type: schemaType,
      schema,
      mode: 'enforce',
      schema_id: id,
      subject: name,
      dataschema: `http://registry/${name}`,
    },
  })
  const n = { type: 'record', name: 'N', fields: [{ name: 'n', type: 'int' }] }
  await writeSettings(producer, prefix, [type('json', 'json', {}, 7), type('avro', 'avro', n, 8)])
  await producer.close()
  await broker.close()
}

test.skipIf(jars === null)(
  'Kafka’s own Java client reads what the gateway wrote: place, log time, key, headers and value, framed where its schema has an id',
  async () => {
    await tellEventTypes()
    const gateway = await startGateway({
      config: parseGatewayConfig({
        HEADRACE_AUTH: 'off',
        HEADRACE_KAFKA_BROKERS: brokers.join(','),
        HEADRACE_PREFIX: prefix,
        HEADRACE_PORT: '0',
        HEADRACE_MANAGEMENT_PORT: '0',
        HEADRACE_STREAM_PARTITIONS: '3',
        HEADRACE_ORCHESTRATOR_URL: 'http://127.0.0.1:1',
        // Publishing does not ask it.
        HEADRACE_SCHEMA_REGISTRY_URL: 'http://127.0.0.1:1',
      }),
      log: silentLogger,
    })
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const sent = [
      {
        topic: 'orders/created',
        id: 'first',
        source: 'shop',
        event_type: 'created',
        key: 'клиент-1',
        data: { total: 12.5, ключ: ['✓', null] },
      },
      { topic: 'orders/paid', id: 'second', data: 'only text' },
      { topic: 'orders/created', id: 'third', key: 'клиент-1', data: null },
    ]
    const framed = [
      { topic: 'orders/json', data: { n: 1 }, value: '\0\0\0\0\x07{"n":1}' },
      { topic: 'orders/avro', data: { n: 1 }, value: '\0\0\0\0\x08\x02' },
    ]
    try {
      const answer = await fetch(`${gateway.url}/v1/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', traceparent },
        body: JSON.stringify({ events: [...sent, ...framed.map(({ topic, data }) => ({ topic, data }))] }),
      })
      expect(answer.status).toBe(200)
      const { events } = (await answer.json()) as { events: PublishedEvent[] }
      const topic = `${prefix}.events.orders`
      const records = await printRecords({ jars: jars ?? '', brokers, topic })
      expect(records).toHaveLength(sent.length + framed.length)
      for (const [index, event] of sent.entries()) {
        const { partition, sequence_id: offset, created_at: createdAt } = events[index]!
        const record = records.find((each) => each.partition === partition && each.offset === offset)
        expect(record).toMatchObject({
          timestampType: 'LogAppendTime',
          timestamp: Date.parse(createdAt),
          key: event.key ?? event.topic,
          headers: {
            ce_specversion: '1.0',
            ce_id: event.id,
            ce_subject: event.topic,
            'content-type': 'application/json',
            ...(event.source === undefined ? {} : { ce_source: event.source }),
            ...(event.event_type === undefined ? {} : { ce_type: event.event_type }),
          },
        })
        expect(JSON.parse(record!.value ?? '')).toEqual(event.data)
      }
      for (const { topic, value } of framed) {
        const record = records.find(({ headers }) => headers['ce_subject'] === topic)
        expect(record).toMatchObject({
          value,
          headers: { ce_dataschema: expect.stringContaining('registry') },
        })
      }
      const [first, , third] = events
      expect(third!.partition).toBe(first!.partition)
    } finally {
      await gateway.stop()
    }
  },
)
