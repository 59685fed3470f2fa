import type { PublishedEvent } from '@headrace/schemas'
import { silentLogger, type RunningApp } from '@headrace/service'
import { infra, type LogRecord, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseGatewayConfig, startGateway } from './index.ts'

const { brokers, prefix } = await infra()
let gateway: RunningApp

beforeAll(async () => {
  const config = parseGatewayConfig({
    HEADRACE_AUTH: 'off',
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_PREFIX: prefix,
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_STREAM_PARTITIONS: '3',
    HEADRACE_ORCHESTRATOR_URL: 'http://127.0.0.1:1',
  })
  gateway = await startGateway({ config, log: silentLogger })
})
afterAll(async () => await gateway.stop())

async function post(
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; body: { events: PublishedEvent[] } }> {
  const answer = await fetch(`${gateway.url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  return {
    status: answer.status,
    headers: answer.headers,
    body: (await answer.json()) as { events: PublishedEvent[] },
  }
}

async function get(path: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await fetch(`${gateway.url}${path}`)
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

const streamLog = async (stream: string): Promise<LogRecord[]> =>
  await readTopic(brokers, `${prefix}.events.${stream}`)

describe('an event that is accepted', () => {
  test('is at the partition and offset it was told, as a CloudEvent in binary mode', async () => {
    const { status, headers, body } = await post(
      { topic: 'orders/created', event_type: 'created', data: { total: 12.5, ключ: ['✓', null] } },
      { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'x-request-id': 'req-1' },
    )
    expect(status).toBe(200)
    expect(headers.get('x-request-id')).toBe('req-1')
    const [event] = body.events
    const record = (await streamLog('orders')).find(
      ({ partition, offset }) => partition === event!.partition && offset === event!.sequence_id,
    )
    expect(record).toMatchObject({
      key: 'orders/created',
      value: JSON.stringify({ total: 12.5, ключ: ['✓', null] }),
      timestamp: Date.parse(event!.created_at),
    })
    expect(record?.headers).toEqual({
      ce_specversion: '1.0',
      ce_id: event!.id,
      ce_source: 'headrace:local',
      ce_type: 'created',
      ce_subject: 'orders/created',
      ce_time: expect.stringMatching(/^\d{4}-.*Z$/),
      'content-type': 'application/json',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    })
  })

  test('keeps its place in a batch over several topics, and in its partition', async () => {
    const events = Array.from({ length: 40 }, (_, n) => ({
      topic: n % 2 === 0 ? 'batch/even' : 'batchodd/x',
      data: n,
      key: `k${n % 5}`,
    }))
    const { status, body } = await post({ events })
    expect(status).toBe(200)
    expect(body.events.map(({ topic }) => topic)).toEqual(events.map(({ topic }) => topic))
    const log = [
      ...(await streamLog('batch')).map((record) => ({ stream: 'batch', ...record })),
      ...(await streamLog('batchodd')).map((record) => ({ stream: 'batchodd', ...record })),
    ]
    for (const [index, event] of body.events.entries()) {
      const record = log.find(
        ({ stream, partition, offset }) =>
          stream === event.stream && partition === event.partition && offset === event.sequence_id,
      )
      expect(record).toMatchObject({ value: String(index), key: events[index]!.key })
    }
    const byPartition = Map.groupBy(body.events, ({ stream, partition }) => `${stream}/${partition}`)
    for (const told of byPartition.values()) {
      const offsets = told.map((event) => event.sequence_id)
      expect(offsets).toEqual([...offsets].sort((a, b) => a - b))
    }
  })

  test('is marked to be looked for when its id came from outside or from an Idempotency-Key, else not', async () => {
    const headers = { 'idempotency-key': 'order 17' }
    const body = {
      events: [
        { topic: 'marks/a', data: 1 },
        { topic: 'marks/a', data: 1, id: 'own', source: 'shop' },
      ],
    }
    const first = await post(body, headers)
    const again = await post(body, headers)
    const unmarked = await post({ topic: 'marks/a', data: 1 })
    const ids = first.body.events.map(({ id }) => id)
    expect(again.body.events.map(({ id }) => id)).toEqual(ids)
    expect(ids[1]).toBe('own')
    const marks = (await streamLog('marks')).map(({ headers: all }) => [
      all['ce_id'],
      all['ce_source'],
      all['headrace-dedup'] ?? null,
    ])
    expect(marks).toEqual(
      expect.arrayContaining([
        [ids[0], 'headrace:local', '1'],
        ['own', 'shop', '1'],
        [unmarked.body.events[0]!.id, 'headrace:local', null],
      ]),
    )
    expect(marks).toHaveLength(5)
  })
})

describe('the history of a stream', () => {
  test('is read page by page, every event once, in the order of time, up to its end at the first page', async () => {
    const sent = Array.from({ length: 25 }, (_, n) => ({
      topic: `history/${n % 2 ? 'a' : 'b'}`,
      data: n,
      key: `k${n}`,
    }))
    const { body } = await post({ events: sent })
    const seen: Record<string, unknown>[] = []
    let cursor: unknown = null
    let pages = 0
    do {
      const next = typeof cursor === 'string' ? `&cursor=${encodeURIComponent(cursor)}` : ''
      const page = await get(`/v1/events?stream=history&limit=10${next}`)
      expect(page.status).toBe(200)
      seen.push(...(page.body['data'] as Record<string, unknown>[]))
      cursor = page.body['next_cursor']
      pages += 1
    } while (cursor !== null)
    expect(pages).toBe(3)
    expect(new Set(seen.map(({ id }) => id))).toEqual(new Set(body.events.map(({ id }) => id)))
    expect(seen).toHaveLength(25)
    const times = seen.map((event) => Date.parse(String(event['created_at'])))
    expect(times).toEqual([...times].sort((a, b) => a - b))
  })

  test.each([
    ['topic=filtered/a/1', [0]],
    ['pattern=filtered/*/1', [0, 1]],
    ['pattern=filtered/**', [0, 1, 2]],
    ['stream=filtered&event_type=t', [1]],
    ['stream=filtered&key=k2', [2]],
    ['stream=filtered&to=2000-01-01T00:00:00Z', []],
    ['stream=filtered&from=2000-01-01T00:00:00Z', [0, 1, 2]],
    ['stream=filtered&from=2199-01-01T00:00:00Z', []],
  ])('?%s finds what it asks for', async (query, found) => {
    const events = [
      { topic: 'filtered/a/1', data: 0 },
      { topic: 'filtered/b/1', data: 1, event_type: 't' },
      { topic: 'filtered/b/2', data: 2, key: 'k2' },
    ].map((event, n) => ({ ...event, id: `f${n}` }))
    await post({ events })
    const { status, body } = await get(`/v1/events?limit=200&${query}`)
    expect(status).toBe(200)
    const data = body['data'] as { id: string; data: number }[]
    expect(new Set(data.map((event) => event.data))).toEqual(new Set(found))
  })

  test('shows one event by its position, with the headers of its record', async () => {
    const { body } = await post({ topic: 'single/x', data: { n: 1 }, id: 'one', key: 'k' })
    const { partition, sequence_id: sequenceId } = body.events[0]!
    const { status, body: event } = await get(`/v1/events/single/${partition}/${sequenceId}`)
    expect(status).toBe(200)
    expect(event).toMatchObject({
      id: 'one',
      topic: 'single/x',
      event_type: null,
      data: { n: 1 },
      key: 'k',
      stream: 'single',
      partition,
      sequence_id: sequenceId,
      headers: { ce_id: 'one', 'headrace-dedup': '1' },
    })
    expect(await get(`/v1/events/single/${partition}/999999`)).toMatchObject({
      status: 404,
      body: { code: 'event_not_found' },
    })
  })
})

describe('a stream', () => {
  test('is made, shown, given another retention and more partitions, and removed only when its name is repeated', async () => {
    const url = `${gateway.url}/v1/streams/ledger`
    const put = async (body: unknown) => {
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(url, { method: 'PUT', headers, body: JSON.stringify(body) })
      return { status: answer.status, body: await answer.json() }
    }
    expect(await put({ partitions: 2, retention: '1d' })).toEqual({
      status: 201,
      body: {
        name: 'ledger',
        kafka_topic: `${prefix}.events.ledger`,
        partitions: 2,
        begin: { 0: 0, 1: 0 },
        end: { 0: 0, 1: 0 },
        retention_ms: 86_400_000,
        triggers: null,
        waited: null,
        external: null,
        status: 'ok',
      },
    })
    expect(await put({ retention: '2d' })).toMatchObject({
      status: 200,
      body: { retention_ms: 172_800_000, partitions: 2 },
    })
    expect(await put({ partitions: 3 })).toMatchObject({
      status: 200,
      body: { partitions: 3, retention_ms: 172_800_000 },
    })
    expect(await put({ partitions: 2 })).toMatchObject({ status: 409, body: { code: 'stream_exists' } })
    expect((await get('/v1/streams?limit=200')).body['data']).toContainEqual(
      expect.objectContaining({ name: 'ledger' }),
    )
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(422)
    expect((await fetch(`${url}?confirm=ledger`, { method: 'DELETE' })).status).toBe(204)
    expect(await get('/v1/streams/ledger')).toMatchObject({ status: 404, body: { code: 'stream_not_found' } })
    expect((await post({ topic: 'ledger/again', data: 1 })).status).toBe(200)
  })

  test('that was deleted by another gateway is made again by publishing, at the second event at the latest', async () => {
    const body = { topic: 'vanished/x', data: 1 }
    expect((await post(body)).status).toBe(200)
    const other = await startGateway({
      config: parseGatewayConfig({
        HEADRACE_AUTH: 'off',
        HEADRACE_KAFKA_BROKERS: brokers.join(','),
        HEADRACE_PREFIX: prefix,
        HEADRACE_PORT: '0',
        HEADRACE_MANAGEMENT_PORT: '0',
      }),
      log: silentLogger,
    })
    await fetch(`${other.url}/v1/streams/vanished?confirm=vanished`, { method: 'DELETE' })
    await other.stop()
    const first = await post(body)
    expect([200, 503]).toContain(first.status)
    expect((await post(body)).status).toBe(200)
  })
})

describe('an event whose stream does not exist', () => {
  test('is refused whole with its batch where publishing makes no streams, with its place', async () => {
    const strict = await startGateway({
      config: parseGatewayConfig({
        HEADRACE_AUTH: 'off',
        HEADRACE_KAFKA_BROKERS: brokers.join(','),
        HEADRACE_PREFIX: prefix,
        HEADRACE_PORT: '0',
        HEADRACE_MANAGEMENT_PORT: '0',
        HEADRACE_STREAM_AUTOCREATE: 'off',
      }),
      log: silentLogger,
    })
    await post({ topic: 'known/x', data: 0 })
    const before = await streamLog('known')
    const answer = await fetch(`${strict.url}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        events: ['known/x', 'strange/x', 'strange/y'].map((topic) => ({ topic, data: 1 })),
      }),
    })
    await strict.stop()
    expect([answer.status, await answer.json()]).toMatchObject([
      422,
      {
        code: 'stream_autocreate_off',
        errors: [{ pointer: '/events/1/topic' }, { pointer: '/events/2/topic' }],
      },
    ])
    expect(await streamLog('known')).toEqual(before)
  })

  test('is refused where there are too many streams', async () => {
    const events = Array.from({ length: 201 }, (_, n) => ({ topic: `many${n}/x`, data: 1 }))
    expect(await post({ events })).toMatchObject({ status: 422, body: { code: 'too_many_streams' } })
  })
})

test('the metrics tell what was accepted, by stream', async () => {
  await post({ topic: 'counted/x', data: 1 })
  const text = await (await fetch(`${gateway.managementUrl}/metrics`)).text()
  expect(text).toContain('headrace_gateway_events_total{stream="counted"} 1')
  for (const name of [
    'requests_total',
    'request_seconds',
    'inflight_bytes',
    'inflight_events',
    'produce_seconds',
    'batch_events',
  ])
    expect(text).toContain(`headrace_gateway_${name}`)
  expect((await fetch(`${gateway.managementUrl}/readyz`)).status).toBe(200)
})
