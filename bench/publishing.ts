import { CompressionTypes, Kafka, logLevel, Partitioners } from 'kafkajs'
import { encodeEvent } from '@headrace/core'
import { publish } from '../tests/harness/platform.ts'
import type { Stage } from './stage.ts'
import { median, round } from './statistics.ts'

const batchSize = 100
const batches = 400
const inFlight = 8
const rounds = 3

export interface PublishingRow {
  gateway_events_per_second: number
  kafkajs_events_per_second: number
  ratio: number
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
  return {
    gateway_events_per_second: Math.round(median(gateway)),
    kafkajs_events_per_second: Math.round(median(kafkajs)),
    ratio: round(median(gateway.map((rate, n) => rate / (kafkajs[n] ?? Number.NaN)))),
  }
}

async function eventsPerSecond(sendBatch: () => Promise<void>): Promise<number> {
  let left = batches
  const startMs = performance.now()
  const sender = async (): Promise<void> => {
    for (; left > 0;) {
      left -= 1
      await sendBatch()
    }
  }
  await Promise.all(Array.from({ length: inFlight }, sender))
  return (batches * batchSize) / ((performance.now() - startMs) / 1_000)
}
