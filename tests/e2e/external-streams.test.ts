import { createBroker } from '@headrace/broker'
import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import { parseOrchestratorConfig, startOrchestrator } from '@headrace/orchestrator'
import type {
  Problem,
  WireDeadLetter,
  WireEvent,
  WireExplanation,
  WireList,
  WireRun,
  WireStream,
} from '@headrace/schemas'
import { workflow, Worker } from '@headrace/sdk'
import { type RunningApp, silentLogger } from '@headrace/service'
import { createDatabase, eventually, type ForeignRecord, infra, sendForeign } from '@headrace/testing'
import { parseTriggerServiceConfig, startTriggerService } from '@headrace/trigger-service'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { getJson, listRuns } from '../harness/platform.ts'
import { waitOn } from '../harness/waits.ts'

/** A Kafka topic that somebody else writes, bound to a stream: its records start runs, answer waits and are seen. */

const { brokers, prefix } = await infra()
const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
const theirs = `shop-${prefix}.orders.v1`
const apps: RunningApp[] = []
let url: string
let kafkaOnly: string
let worker: Worker
let working: Promise<void>

const env = (more: Record<string, string>): NodeJS.ProcessEnv => ({
  HEADRACE_KAFKA_BROKERS: brokers.join(','),
  HEADRACE_AUTH: 'off',
  HEADRACE_PREFIX: prefix,
  HEADRACE_PORT: '0',
  HEADRACE_MANAGEMENT_PORT: '0',
  HEADRACE_STREAM_PARTITIONS: '2',
  ...more,
})

async function gateway(orchestratorUrl: string): Promise<string> {
  const config = parseGatewayConfig(env({ HEADRACE_ORCHESTRATOR_URL: orchestratorUrl }))
  const app = await startGateway({ config, log: silentLogger })
  apps.push(app)
  return app.url ?? ''
}

const paid = workflow(
  { id: 'paid', triggerOnEvent: 'orders/**', if: 'event.tombstone || event.headers.region == "eu"' },
  async (_ctx, { events }) => await Promise.resolve(events),
)
const asks = workflow({ id: 'asks', triggerOnEvent: 'asks/**' }, async (ctx) => {
  return await ctx.step.waitForEvent('paid', { topic: 'orders/answered' })
})

const rule = {
  external: true,
  kafka_topic: theirs,
  topic: { header: 'event', prefix: 'orders/' },
  value_format: 'json',
  id: { pointer: '/no' },
  start: 'earliest',
}
/** What the routes that are asked here answer with, good or bad. */
type Answered = Omit<WireStream, 'status'> &
  Problem & { events: { sequence_id: number; partition: number }[] }

const put = async (stream: string, body: unknown, at = url) =>
  await call(`${at}/v1/streams/${stream}`, { method: 'PUT', body })

async function call(
  to: string,
  { method, body }: { method: string; body?: unknown },
): Promise<{ status: number; body: Answered }> {
  const answer = await fetch(to, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  const text = await answer.text()
  return { status: answer.status, body: (text === '' ? null : JSON.parse(text)) as Answered }
}

/** Their record: the event's name in a header, its number in the value. */
const record = (name: string, no: number, more: Partial<ForeignRecord> = {}): ForeignRecord => ({
  key: `order-${no}`,
  value: JSON.stringify({ no, amount: 12345678901234567890n.toString() })
    .replace('"1234', '1234')
    .replace('890"', '890'),
  partition: 0,
  headers: { event: name, region: 'eu' },
  ...more,
})

/** The events that runs of `paid` were started for, by offset. */
async function started(count: number): Promise<WireEvent[]> {
  return await eventually(`${count} runs of paid have ended`, async () => {
    const runs = (await listRuns(url, 'paid')).filter(({ status }) => status === 'completed')
    if (runs.length < count) return null
    const whole = await Promise.all(
      runs.map(async ({ id }) => await getJson<WireRun>(`${url}/v1/runs/${id}`)),
    )
    const events = whole.flatMap(({ input }) => (input as unknown as { events: WireEvent[] }).events)
    return events.sort((a, b) => a.partition - b.partition || a.sequence_id - b.sequence_id)
  })
}

beforeAll(async () => {
  const { url: databaseUrl } = await createDatabase()
  const database = { HEADRACE_DATABASE_URL: databaseUrl }
  const orchestrator = await startOrchestrator({
    config: parseOrchestratorConfig(env(database)),
    log: silentLogger,
  })
  const triggers = await startTriggerService({
    config: parseTriggerServiceConfig({
      ...env(database),
      HEADRACE_PORT: undefined,
      HEADRACE_STREAM_PARTITIONS: undefined,
    }),
    log: silentLogger,
  })
  apps.push(orchestrator, triggers)
  url = await gateway(orchestrator.url ?? '')
  kafkaOnly = await gateway('http://127.0.0.1:1')
  await broker.topics.ensureTopics([{ name: theirs, config: {}, partitions: 1 }])
})
afterAll(async () => {
  await worker?.stop()
  await working
  for (const app of apps.toReversed()) await app.stop()
  await broker.close()
})

describe('a binding', () => {
  test.each([
    [{ value_format: 'avro' }, 422, 'invalid_field', '/value_format', /schema registry/],
    [{ topic: { const: 'users/x' } }, 422, 'invalid_topic', '/topic/const', /orders/],
    [{ isolation: 'read_uncommitted' }, 422, 'invalid_field', '/isolation', /aborted/],
    [{ kafka_topic: `${prefix}.responses` }, 422, 'invalid_field', '/kafka_topic', /own/],
    [
      { kafka_topic: `${theirs}.none` },
      422,
      'kafka_topic_not_found',
      '/kafka_topic',
      /there is no Kafka topic/,
    ],
    [{ partitions: 3 }, 422, 'unknown_field', '/partitions', /unknown/],
  ])('with %j is refused: %i %s at %s', async (change, status, code, pointer, detail) => {
    const answer = await put('orders', { ...rule, ...change })
    expect([answer.status, answer.body.code]).toEqual([status, code])
    expect(answer.body.errors).toMatchObject([{ pointer, detail: expect.stringMatching(detail) as string }])
  })

  test('is refused for a stream that has events of its own', async () => {
    await call(`${url}/v1/events`, { method: 'POST', body: { topic: 'mine/x', data: 1 } })
    const answer = await put('mine', { ...rule, topic: { const: 'mine/x' } })
    expect([answer.status, answer.body.code]).toEqual([409, 'stream_exists'])
  })

  test('is made, shown, and made again as it is', async () => {
    const made = await put('orders', rule)
    expect(made).toMatchObject({
      status: 201,
      body: {
        name: 'orders',
        kafka_topic: theirs,
        partitions: 1,
        external: { writable: false, id: { pointer: '/no' } },
      },
    })
    expect((await put('orders', rule)).status).toBe(200)
    expect((await put('others', { ...rule, topic: { const: 'others/x' } })).body.code).toBe(
      'kafka_topic_taken',
    )
    const list = await getJson<WireList<WireStream>>(`${url}/v1/streams`)
    expect(list.data.map(({ name, external }) => [name, external !== null])).toContainEqual(['orders', true])
    expect((await put('orders', { partitions: 3 })).body.code).toBe('stream_exists')
  })

  test('is known to a gateway that has only Kafka, which refuses to publish there', async () => {
    const stream = await eventually('it has heard of the binding', async () => {
      const answer = await call(`${kafkaOnly}/v1/streams/orders`, { method: 'GET' })
      return answer.status === 200 ? answer.body : null
    })
    expect(stream.external).toMatchObject({ kafka_topic: theirs })
    for (const at of [url, kafkaOnly]) {
      const events = [
        { topic: 'fine/x', data: 1 },
        { topic: 'orders/mine', data: 1 },
      ]
      const answer = await call(`${at}/v1/events`, { method: 'POST', body: { events } })
      expect([answer.status, answer.body.code]).toEqual([403, 'stream_read_only'])
      expect(answer.body.errors).toMatchObject([{ pointer: '/events/1/topic' }])
    }
  })
})

describe('records of others', () => {
  test('start runs, whatever stood there before the trigger as its start says; broken ones alone are set aside', async () => {
    const bytes = Buffer.from([0xff, 0xfe])
    const records = [
      record('paid', 1),
      record('paid', 2, { value: '{"half":' }),
      record('paid', 3, { headers: { region: 'eu' } }),
      record('paid', 4, { headers: { event: 'paid', region: 'us' } }),
      record('paid', 5, { key: bytes, headers: { event: 'paid', region: 'eu', raw: bytes } }),
      record('paid', 5),
    ]
    await sendForeign(brokers, theirs, records, { gzip: true })
    worker = new Worker({ workflows: [paid, asks], url, app: 'external', build: 'b1' })
    working = worker.run()
    await sendForeign(brokers, theirs, [record('paid', 6)])
    const events = await started(3)
    expect(events.map(({ id, sequence_id: at }) => [id, at])).toEqual([
      ['1', 0],
      ['5', 4],
      ['6', 6],
    ])
    expect(events[0]).toMatchObject({
      topic: 'orders/paid',
      source: `kafka:${theirs}`,
      data: { no: 1, amount: '12345678901234567890' },
      key: 'order-1',
      key_base64: null,
      tombstone: false,
      headers: { event: 'paid', region: 'eu' },
    })
    expect(events[1]).toMatchObject({ key: null, key_base64: '//4=', headers_base64: { raw: '//4=' } })
    const letters = await getJson<WireList<WireDeadLetter>>(`${url}/v1/dead-letters`)
    const ours = letters.data.filter(({ source }) => source?.stream === 'orders')
    expect(
      ours
        .map(({ reason, source }) => [reason, source?.offset])
        .toSorted((a, b) => Number(b[1]) - Number(a[1])),
    ).toEqual([
      ['no_topic', 2],
      ['undecodable', 1],
    ])
    const [letter] = ours
    const redriven = await call(`${url}/v1/dead-letters/${letter?.id ?? ''}/redrive`, {
      method: 'POST',
    })
    expect(redriven.body.code).toBe('not_redrivable')
  })

  test('are seen by history, by followers and by explain, with the same mapping', async () => {
    const page = await getJson<WireList<WireEvent> & { unreadable: number }>(
      `${kafkaOnly}/v1/events?stream=orders`,
    )
    expect(page.data.map(({ id }) => id)).toEqual(['1', '4', '5', '5', '6'])
    expect(page.unreadable).toBe(2)
    const [run] = await started(3)
    expect(page.data[0]).toEqual(run)
    expect(await getJson(`${kafkaOnly}/v1/events/orders/0/0`)).toEqual(run)
    const explained = await getJson<WireExplanation>(`${url}/v1/events/orders/0/5/explain`)
    expect(explained.triggers).toMatchObject([{ trigger: 'paid', outcome: 'repeat' }])
    const gone = new AbortController()
    const followed = await fetch(`${kafkaOnly}/v1/events/stream?stream=orders&from=earliest`, {
      signal: gone.signal,
    })
    let text = ''
    for await (const chunk of followed.body ?? []) {
      text += new TextDecoder().decode(chunk as Uint8Array)
      if (text.includes('"sequence_id":6')) break
    }
    gone.abort()
    expect(text.match(/^data: .*"key_base64"/gm)).toHaveLength(5)
  })

  test('answer a wait, with what their headers say', async () => {
    await call(`${url}/v1/events`, { method: 'POST', body: { topic: 'asks/1', data: 1 } })
    await waitOn(url, 'orders/answered')
    await sendForeign(brokers, theirs, [
      record('answered', 7, { headers: { event: 'answered', by: 'till' } }),
    ])
    const run = await eventually('the run has its answer', async () => {
      const [first] = await listRuns(url, 'asks')
      return first?.status === 'completed' ? await getJson<WireRun>(`${url}/v1/runs/${first.id}`) : null
    })
    expect(run.output).toMatchObject({ id: '7', headers: { by: 'till' }, tombstone: false })
  })

  test('without a value are events, and those of new partitions are read from their beginning', async () => {
    await put('orders', { ...rule, id: 'offset' })
    await broker.topics.growTopic(theirs, 3)
    const sent = [1, 2].map((partition) =>
      record('deleted', 0, { partition, value: null, headers: { event: 'deleted' } }),
    )
    await sendForeign(brokers, theirs, sent)
    const events = await started(5)
    expect(events.slice(-2).map(({ id, data, tombstone }) => [id, data, tombstone])).toEqual([
      ['1-0', null, true],
      ['2-0', null, true],
    ])
  })

  test('stand beside those of Headrace where the stream is writable', async () => {
    expect((await put('orders', { ...rule, writable: true })).status).toBe(200)
    const sent = await call(`${url}/v1/events`, {
      method: 'POST',
      body: { topic: 'orders/ours/1', data: { own: true } },
    })
    expect(sent.status).toBe(200)
    const [{ partition, sequence_id: at } = { partition: 0, sequence_id: 0 }] = sent.body.events
    const event = await getJson<WireEvent>(`${url}/v1/events/orders/${partition}/${at}`)
    expect(event).toMatchObject({ topic: 'orders/ours/1', data: { own: true }, source: 'headrace:local' })
  })
})

test('a stream that is unbound is none any more, and its Kafka topic stays', async () => {
  const to = `${url}/v1/streams/orders`
  expect((await call(to, { method: 'DELETE' })).status).toBe(422)
  expect((await call(`${to}?confirm=orders`, { method: 'DELETE' })).status).toBe(204)
  expect((await call(to, { method: 'GET' })).body.code).toBe('stream_not_found')
  expect((await broker.topics.describe([theirs])).known.get(theirs)).toEqual({ partitions: 3 })
})
