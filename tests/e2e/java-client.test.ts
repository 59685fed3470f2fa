import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import type { PublishedEvent } from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { infra } from '@headrace/testing'
import { expect, test } from 'vitest'
import { javaClientJars, printRecords } from './java-client/print-records.ts'

const { brokers, prefix } = await infra()
const jars = await javaClientJars()

test.skipIf(jars === null)(
  'Kafka’s own Java client reads what the gateway wrote: place, log time, key, headers and value',
  async () => {
    const gateway = await startGateway({
      config: parseGatewayConfig({
        HEADRACE_AUTH: 'off',
        HEADRACE_KAFKA_BROKERS: brokers.join(','),
        HEADRACE_PREFIX: prefix,
        HEADRACE_PORT: '0',
        HEADRACE_MANAGEMENT_PORT: '0',
        HEADRACE_STREAM_PARTITIONS: '3',
        HEADRACE_ORCHESTRATOR_URL: 'http://127.0.0.1:1',
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
    try {
      const answer = await fetch(`${gateway.url}/v1/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', traceparent },
        body: JSON.stringify({ events: sent }),
      })
      expect(answer.status).toBe(200)
      const { events } = (await answer.json()) as { events: PublishedEvent[] }
      const topic = `${prefix}.events.orders`
      const records = await printRecords({ jars: jars ?? '', brokers, topic })
      expect(records).toHaveLength(sent.length)
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
      const [first, , third] = events
      expect(third!.partition).toBe(first!.partition)
    } finally {
      await gateway.stop()
    }
  },
)
