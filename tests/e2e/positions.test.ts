import { createDatabase, infra, readTopic } from '@headrace/testing'
import { expect, test } from 'vitest'
import { publish, startApp } from '../harness/platform.ts'

/** P1: an id that was answered is the record's own place, as any Kafka consumer sees it. */

test('each answer’s partition and sequence id are those of a CloudEvent in binary mode that a plain consumer reads', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const gateway = await startApp('gateway', { brokers, prefix, databaseUrl })
  const events = Array.from({ length: 500 }, (_, n) => ({
    topic: `shop/${n % 7}`,
    event_type: 'sold',
    source: 'till',
    id: `sale-${n}`,
    key: `k${n % 13}`,
    data: { n, text: 'é\u0000', deep: [[n]] },
  }))
  const answer = await publish(
    gateway.url,
    { events },
    { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
  )
  expect(answer.status).toBe(200)

  const records = await readTopic(brokers, `${prefix}.events.shop`)
  expect(records).toHaveLength(events.length)
  const byPlace = new Map(records.map((record) => [`${record.partition}/${record.offset}`, record]))
  for (const [index, event] of events.entries()) {
    const answered = answer.body.events?.[index]
    expect(answered).toMatchObject({ id: event.id, topic: event.topic, stream: 'shop' })
    const record = byPlace.get(`${answered?.partition}/${answered?.sequence_id}`)
    expect(record?.key).toBe(event.key)
    expect(JSON.parse(record?.value ?? '')).toEqual(event.data)
    expect(record?.headers).toMatchObject({
      ce_specversion: '1.0',
      ce_id: event.id,
      ce_source: 'till',
      ce_type: 'sold',
      ce_subject: event.topic,
      'content-type': 'application/json',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    })
  }
})
