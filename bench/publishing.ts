import { CompressionTypes, Kafka, logLevel, Partitioners } from 'kafkajs'
import { encodeEvent } from '@headrace/core'
import { eventually } from '@headrace/testing'
import { type AppProcess, publish, startApp } from '../tests/harness/platform.ts'
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
  /** Through a gateway that asks for a key ÷ through one that does not, in batches and one by one. */
  keyed_ratio: number
  keyed_single_ratio: number
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
  const keyed = await measureKeyed(stage)
  return {
    ...checked,
    ...keyed,
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
  const ratio = async (size: number): Promise<number> =>
    await ratioOf(sender(url, 'publishing/checked', size), sender(url, event.topic, size), size)
  return { checked_ratio: await ratio(batchSize), checked_single_ratio: await ratio(1) }
}

/** The same events through two gateways that begin alike, of which one asks each request for its key, in turns. */
async function measureKeyed({
  platform,
}: Stage): Promise<Pick<PublishingRow, 'keyed_ratio' | 'keyed_single_ratio'>> {
  const { options, gateway, orchestrators } = platform
  const made = await fetch(`${gateway.url}/v1/keys`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'bench', scopes: ['events:write:publishing/**'] }),
  })
  if (!made.ok) throw new Error(`the key was refused: ${made.status}`)
  const { key } = (await made.json()) as { key: string }
  const headers = { authorization: `Bearer ${key}` }
  const start = async (auth: 'on' | 'off'): Promise<AppProcess> =>
    await startApp('gateway', options, {
      HEADRACE_AUTH: auth,
      HEADRACE_ORCHESTRATOR_URL: orchestrators[0]?.url ?? '',
    })
  const [keyed, plain] = [await start('on'), await start('off')]
  const { topic } = event
  await eventually('the gateway knows the key', async () => {
    const answer = await publish(keyed.url, { topic, data: {} }, headers)
    return answer.status === 200
  })
  const ratio = async (size: number): Promise<number> => {
    const [one, other] = [sender(keyed.url, topic, size, headers), sender(plain.url, topic, size)]
    // Not counted: both are new.
    await ratioOf(one, other, size)
    return await ratioOf(one, other, size)
  }
  const measured = { keyed_ratio: await ratio(batchSize), keyed_single_ratio: await ratio(1) }
  for (const app of [keyed, plain]) await app.process.kill('SIGTERM')
  return measured
}

/** Sends a request of so many events. */
const sender =
  (url: string, topic: string, size: number, headers: Record<string, string> = {}) =>
  async (): Promise<void> => {
    const events = Array.from({ length: size }, (_, n) => ({ ...event, topic, key: `k${n}` }))
    const { status } = await publish(url, size === 1 ? events[0] : { events }, headers)
    if (status !== 200) throw new Error(`publishing answered ${status}`)
  }

/** In turns, so that both meet the same machine. */
async function ratioOf(one: () => Promise<void>, other: () => Promise<void>, size: number): Promise<number> {
  const requests = size === 1 ? singles : batches
  const ratios: number[] = []
  for (let n = 0; n < rounds; n += 1) {
    const base = await eventsPerSecond(other, requests)
    ratios.push((await eventsPerSecond(one, requests)) / base)
  }
  return round(median(ratios))
}

async function eventsPerSecond(sendBatch: () => Promise<void>, requests = batches): Promise<number> {
  let left = requests
  const startMs = performance.now()
  const lane = async (): Promise<void> => {
    for (; left > 0;) {
      left -= 1
      await sendBatch()
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  return (requests * batchSize) / ((performance.now() - startMs) / 1_000)
}
