import { CompressionTypes, Kafka, logLevel, Partitioners } from 'kafkajs'
import { encodeEvent } from '@headrace/core'
import { eventually } from '@headrace/testing'
import { publish } from '../tests/harness/platform.ts'
import type { Stage } from './stage.ts'
import { median, round } from './statistics.ts'

const batchSize = 100
const batches = 400
/** Requests of one event each: a request costs more than an event. */
const singles = 4_000
const inFlight = 8
const rounds = 3

export interface PublishingRow {
  gateway_events_per_second: number
  kafkajs_events_per_second: number
  ratio: number
  /** Checked by an event type ÷ not, in batches and one by one. */
  checked_ratio: number
  checked_single_ratio: number
}

const event = { topic: 'publishing/bench', data: { order_id: 'o-000000', note: 'x'.repeat(140) } }

/** `POST /v1/events` in batches of 100, eight in flight ÷ a bare kafkajs producer that sends the same records the same way. */
export async function measurePublishing(stage: Stage): Promise<PublishingRow> {
  const { url } = stage.platform.gateway
  const throughGateway = async (): Promise<void> => {
    const { status } = await publish(url, {
      events: Array.from({ length: batchSize }, (_, n) => ({ ...event, key: `k${n}` })),
    })
    if (status !== 200) throw new Error(`publishing answered ${status}`)
  }
  await throughGateway()
  const kafka = new Kafka({ clientId: 'bench', brokers: stage.kafka.brokers, logLevel: logLevel.NOTHING })
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    allowAutoTopicCreation: false,
  })
  await producer.connect()
  const record = (key: string) =>
    encodeEvent({
      ...event,
      id: crypto.randomUUID(),
      source: 'bench',
      eventType: null,
      key,
      time: Date.now(),
      traceparent: null,
      dedup: false,
    })
  const bare = async (): Promise<void> => {
    const messages = Array.from({ length: batchSize }, (_, n) => record(`k${n}`))
    await producer.send({
      topic: 'headrace.events.publishing',
      acks: -1,
      compression: CompressionTypes.None,
      messages,
    })
  }
  const gateway: number[] = []
  const kafkajs: number[] = []
  for (let n = 0; n < rounds; n += 1) {
    gateway.push(await eventsPerSecond(throughGateway))
    kafkajs.push(await eventsPerSecond(bare))
  }
  await producer.disconnect()
  const checked = await measureChecked(url)
  return {
    ...checked,
    gateway_events_per_second: Math.round(median(gateway)),
    kafkajs_events_per_second: Math.round(median(kafkajs)),
    ratio: round(median(gateway.map((rate, n) => rate / (kafkajs[n] ?? Number.NaN)))),
  }
}

/** The same events on a topic with an event type and on one without, in turns. No registry: nothing is framed. */
async function measureChecked(
  url: string,
): Promise<Pick<PublishingRow, 'checked_ratio' | 'checked_single_ratio'>> {
  const schema = {
    type: 'object',
    properties: { order_id: { type: 'string', pattern: '^o-' }, note: { type: 'string' } },
    required: ['order_id'],
    additionalProperties: false,
  }
  const put = await fetch(`${url}/v1/event-types/publishing.checked`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ pattern: 'publishing/checked', schema_type: 'json', schema }),
  })
  if (!put.ok) throw new Error(`the event type was refused: ${put.status}`)
  await eventually('the gateway checks by the event type', async () => {
    const answer = await publish(url, { topic: 'publishing/checked', data: {} })
    return answer.status === 422
  })
  const send = (topic: string, size: number) => async (): Promise<void> => {
    const events = Array.from({ length: size }, (_, n) => ({ ...event, topic, key: `k${n}` }))
    const { status } = await publish(url, size === 1 ? events[0] : { events })
    if (status !== 200) throw new Error(`publishing answered ${status}`)
  }
  const ratio = async (size: number): Promise<number> => {
    const ratios: number[] = []
    for (let n = 0; n < rounds; n += 1) {
      const requests = size === 1 ? singles : batches
      const plain = await eventsPerSecond(send('publishing/bench', size), requests)
      ratios.push((await eventsPerSecond(send('publishing/checked', size), requests)) / plain)
    }
    return round(median(ratios))
  }
  return { checked_ratio: await ratio(batchSize), checked_single_ratio: await ratio(1) }
}

async function eventsPerSecond(sendBatch: () => Promise<void>, requests = batches): Promise<number> {
  let left = requests
  const startMs = performance.now()
  const sender = async (): Promise<void> => {
    for (; left > 0;) {
      left -= 1
      await sendBatch()
    }
  }
  await Promise.all(Array.from({ length: inFlight }, sender))
  return (requests * batchSize) / ((performance.now() - startMs) / 1_000)
}
