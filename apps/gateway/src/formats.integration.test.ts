import { once } from 'node:events'
import { createServer, request as httpRequest, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { undocumented } from '@headrace/http'
import { limits, type PublishedEvent } from '@headrace/schemas'
import { silentLogger, type RunningApp } from '@headrace/service'
import { eventually, infra, type LogRecord, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseGatewayConfig, startGateway } from './index.ts'

const { brokers, prefix } = await infra()
let gateway: RunningApp
/** Stands where the orchestrator does; null: it says that Postgres is away. */
let triggers: object[] | null = null
let orchestrator: Server

beforeAll(async () => {
  orchestrator = createServer((request, response) => {
    const body = { data: triggers ?? [], next_cursor: null }
    const status = request.url?.startsWith('/v1/triggers') === true && triggers === null ? 503 : 200
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  orchestrator.listen(0, '127.0.0.1')
  await once(orchestrator, 'listening')
  const config = parseGatewayConfig({
    HEADRACE_AUTH: 'off',
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_PREFIX: prefix,
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_STREAM_PARTITIONS: '2',
    HEADRACE_ORCHESTRATOR_URL: `http://127.0.0.1:${(orchestrator.address() as AddressInfo).port}`,
  })
  gateway = await startGateway({ config, log: silentLogger })
})
afterAll(async () => {
  await gateway.stop()
  orchestrator.closeAllConnections()
  orchestrator.close()
})

interface Answer {
  status: number
  body: { events: PublishedEvent[]; code?: string; errors?: { pointer: string; code: string }[] }
}

async function post(
  body: string | Buffer<ArrayBuffer>,
  headers: Record<string, string>,
  query = '',
): Promise<Answer> {
  const url = `/v1/events${query}`
  const reply = await fetch(`${gateway.url}${url}`, { method: 'POST', headers, body })
  const answer = { status: reply.status, body: (await reply.json()) as Answer['body'] }
  expect(undocumented({ method: 'POST', url, ...answer })).toBe(null)
  return answer
}

async function get(url: string): Promise<{ status: number; body: unknown }> {
  const reply = await fetch(`${gateway.url}${url}`)
  const answer = { status: reply.status, body: await reply.json() }
  expect(undocumented({ method: 'GET', url, ...answer })).toBe(null)
  return answer
}

const streamLog = async (stream: string): Promise<LogRecord[]> =>
  await readTopic(brokers, `${prefix}.events.${stream}`)

const cloudEvent = {
  specversion: '1.0',
  type: 'com.example.created',
  source: 'https://shop.example/orders',
  id: 'A-1',
  time: '2018-04-05T17:31:00Z',
}

describe('a CloudEvent', () => {
  test('is on Kafka and in history what it was, in every mode', async () => {
    const more = { partitionkey: 'k', comexampleext: 'a value' }
    const data = { total: 7 }
    const json = (value: object): string => JSON.stringify(value)
    const binary = {
      ...Object.fromEntries(Object.entries({ ...cloudEvent, ...more }).map(([name, v]) => [`ce-${name}`, v])),
      'ce-subject': 'ce/binary',
      'ce-comexampleext': 'a%20value',
      'content-type': 'application/json',
    }
    const whole = { ...cloudEvent, ...more, datacontenttype: 'application/json', data }
    const answers = [
      await post(json(data), binary),
      await post(json({ ...whole, subject: 'ce/structured' }), {
        'content-type': 'application/cloudevents+json; charset=UTF-8',
      }),
      await post(json([{ ...whole, subject: 'ce/batch' }]), {
        'content-type': 'application/cloudevents-batch+json',
      }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    const log = await streamLog('ce')
    for (const [index, mode] of ['binary', 'structured', 'batch'].entries()) {
      const told = answers[index]!.body.events[0]!
      const found = log.find(({ headers }) => headers['ce_subject'] === `ce/${mode}`)
      const headers = {
        ce_specversion: '1.0',
        ce_id: 'A-1',
        ce_source: 'https://shop.example/orders',
        ce_type: 'com.example.created',
        ce_subject: `ce/${mode}`,
        ce_time: '2018-04-05T17:31:00Z',
        ce_partitionkey: 'k',
        ce_comexampleext: 'a value',
        'content-type': 'application/json',
        'headrace-dedup': '1',
      }
      expect(found).toMatchObject({ key: 'k', value: json(data), offset: told.sequence_id })
      expect(found?.headers).toEqual(headers)
      const shown = await get(`/v1/events/ce/${told.partition}/${told.sequence_id}`)
      expect(shown.body).toMatchObject({
        id: 'A-1',
        topic: `ce/${mode}`,
        event_type: 'com.example.created',
        data,
        key: 'k',
        headers,
      })
    }
  })

  test('that is wrong is told by the names of its own format, and nothing is written', async () => {
    const good = { ...cloudEvent, subject: 'cebad/x', data: 1 }
    const batch = await post(JSON.stringify([good, { ...good, id: 'A-2', subject: 'a b' }]), {
      'content-type': 'application/cloudevents-batch+json',
    })
    expect(batch).toMatchObject({ status: 422, body: { errors: [{ pointer: '/1/subject' }] } })
    const binary = await post('1', { 'ce-id': 'x', 'ce-type': 't', 'ce-specversion': '1.0' })
    expect(binary).toMatchObject({
      status: 422,
      body: { errors: [{ pointer: 'ce-source' }, { pointer: 'ce-subject' }] },
    })
    const xml = await post('<a/>', { 'content-type': 'application/cloudevents+xml' })
    expect(xml).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } })
    expect((await get('/v1/streams/cebad')).status).toBe(404)
  })
})

interface Line {
  line?: number
  id?: string
  topic?: string
  partition?: number
  sequence_id?: number
  problem?: { code: string; errors?: { pointer: string }[] }
}
const linesOf = (text: string): Line[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

async function publishLines(text: string | Buffer, headers: Record<string, string> = {}) {
  const answer = await fetch(`${gateway.url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', ...headers },
    body: typeof text === 'string' ? text : new Uint8Array(text),
  })
  return { status: answer.status, headers: answer.headers, lines: linesOf(await answer.text()) }
}

describe('NDJSON', () => {
  test('10,000 lines, bad ones among them: each is answered in its place, and the good ones are kept in order', async () => {
    const bad: Record<number, [text: string, code: string]> = {
      0: ['{"topic":', 'invalid_json'],
      1: [JSON.stringify({ topic: 'bulk//x', data: 1 }), 'invalid_topic'],
      2: [JSON.stringify({ topic: 'bulk/x', data: 1, extra: 1 }), 'unknown_field'],
      3: ['{"topic":"bulk/x","data":12345678901234567890}', 'number_not_exact'],
      4: [JSON.stringify({ topic: 'bulk/x', data: 1, id: 'e5' }), 'duplicate_event_id'],
    }
    const badAt = (n: number) => (n > 0 && n % 100 === 0 ? (bad[(n / 100) % 5] ?? null) : null)
    const texts = Array.from(
      { length: limits.requestEventsMax },
      (_, n) => badAt(n)?.[0] ?? JSON.stringify({ topic: 'bulk/x', data: n, key: `k${n % 7}`, id: `e${n}` }),
    )
    const { status, headers, lines } = await publishLines(texts.join('\n'))
    expect(status).toBe(207)
    expect(headers.get('content-type')).toBe('application/x-ndjson; charset=utf-8')
    expect(lines.map(({ line }) => line)).toEqual(texts.map((_, n) => n + 1))
    const log = new Map(
      (await streamLog('bulk')).map((record) => [`${record.partition}/${record.offset}`, record]),
    )
    const last = new Map<number, number>()
    expect(lines.map(({ problem }) => problem?.code)).toEqual(texts.map((_, n) => badAt(n)?.[1]))
    for (const [n, { partition = -1, sequence_id: offset = -1, problem }] of lines.entries()) {
      if (problem !== undefined) continue
      expect(log.get(`${partition}/${offset}`)?.headers['ce_id']).toBe(`e${n}`)
      expect(offset).toBeGreaterThan(last.get(partition) ?? -1)
      last.set(partition, offset)
    }
    expect(log.size).toBe(lines.filter(({ problem }) => problem === undefined).length)
  })

  test('is answered while it is sent, as it may go on for as long as its caller likes', async () => {
    const outgoing = httpRequest(`${gateway.url}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
    })
    let text = ''
    const read = async (): Promise<void> => {
      const [response] = (await once(outgoing, 'response')) as [AsyncIterable<Buffer>]
      for await (const chunk of response) text += String(chunk)
    }
    const ended = read()
    for (let n = 1; n <= 3; n += 1) {
      outgoing.write(`${JSON.stringify({ topic: 'live/x', data: n })}\n`)
      await eventually(`line ${n} is answered`, () => text.split('\n').length === n + 1)
    }
    outgoing.end()
    await ended
    expect(linesOf(text).map(({ line, topic }) => [line, topic])).toEqual([1, 2, 3].map((n) => [n, 'live/x']))
  })

  test('ends with an answer without a line where it is too much', async () => {
    const many = `${JSON.stringify({ topic: 'much/x', data: 1 })}\n`.repeat(limits.requestEventsMax + 1)
    const { lines } = await publishLines(many)
    expect(lines).toHaveLength(limits.requestEventsMax + 1)
    expect(lines.at(-1)).toMatchObject({ problem: { code: 'too_many_events' } })
    expect(lines.at(-1)).not.toHaveProperty('line')
    const long = JSON.stringify({ topic: 'much/x', data: 'x'.repeat(limits.lineBytesMax) })
    const answers = await publishLines(`${long}\n{"topic":"much/x","data":2}\n`)
    expect(answers.lines).toMatchObject([
      { line: 1, problem: { code: 'body_too_large' } },
      { line: 2, topic: 'much/x' },
    ])
  })

  test('whose caller goes away keeps what was answered, and leaves nothing in flight', async () => {
    const outgoing = httpRequest(`${gateway.url}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
    })
    outgoing.on('error', () => undefined)
    outgoing.write(`${JSON.stringify({ topic: 'gone/x', data: 1, id: 'kept' })}\n{"topic":"gone/x","da`)
    const [response] = (await once(outgoing, 'response')) as [AsyncIterable<Buffer>]
    for await (const chunk of response) {
      expect(linesOf(String(chunk))).toMatchObject([{ line: 1, id: 'kept' }])
      break
    }
    outgoing.destroy()
    await eventually('nothing is in flight', async () => {
      const text = await (await fetch(`${gateway.managementUrl}/metrics`)).text()
      return /gateway_inflight_events 0\n/.test(text) && /gateway_inflight_bytes 0\n/.test(text)
    })
    expect((await streamLog('gone')).map(({ headers }) => headers['ce_id'])).toEqual(['kept'])
  })

  test('has ids derived from its Idempotency-Key, the same when it is sent again', async () => {
    const text = '{"topic":"derived/x","data":1}\n\n{"topic":"derived/x","data":1}\n'
    const ids = async () =>
      (await publishLines(text, { 'idempotency-key': 'again' })).lines.map(({ id }) => id)
    const first = await ids()
    expect(new Set(first).size).toBe(2)
    expect(await ids()).toEqual(first)
  })
})

describe('a body packed with gzip', () => {
  const packed = { 'content-encoding': 'gzip' }
  test('is as good as one that is not, in every format', async () => {
    const event = { topic: 'packed/x', data: 'x'.repeat(1_000) }
    const json = await post(gzipSync(JSON.stringify(event)), {
      ...packed,
      'content-type': 'application/json',
    })
    expect(json).toMatchObject({ status: 200, body: { events: [{ topic: 'packed/x' }] } })
    const text = `${JSON.stringify(event)}\n`.repeat(500)
    const { lines } = await publishLines(gzipSync(text), packed)
    expect(lines.map(({ topic }) => topic)).toEqual(Array.from({ length: 500 }, () => 'packed/x'))
  })

  test('has the limits of what it holds, not of what it takes', async () => {
    const bomb = gzipSync(Buffer.alloc(limits.requestBytesMax + 1, ' '))
    const headers = { ...packed, 'content-type': 'application/json' }
    expect(await post(bomb, headers)).toMatchObject({ status: 413, body: { code: 'body_too_large' } })
    const { lines } = await publishLines(bomb, packed)
    expect(lines).toMatchObject([{ problem: { code: 'body_too_large' } }])
    const broken = Buffer.concat([gzipSync('{"topic":"packed/y","data":1}\n'), Buffer.from('no gzip')])
    const cut = await publishLines(broken.subarray(0, 30), packed)
    expect(cut.lines.at(-1)).toMatchObject({ problem: { code: 'invalid_encoding' } })
  })
})

describe('?dry_run=true', () => {
  const json = { 'content-type': 'application/json' }
  const trigger = (id: string, pattern: string, filter: string | null = null, status = 'live') => ({
    id,
    workflow: `w-${id}`,
    pattern,
    if: filter,
    status,
  })

  test('names the triggers that would match, their filters asked, and writes nothing', async () => {
    triggers = [
      trigger('all', 'dry/**', null, 'paused'),
      trigger('large', 'dry/created', 'event.data.total > 50 && event.event_type == "order"'),
      trigger('missing', 'dry/*', 'event.data.absent == 1'),
      trigger('other', 'dry/removed'),
      trigger('elsewhere', 'dried/created'),
    ]
    const event = { topic: 'dry/created', event_type: 'order', data: { total: 60 }, id: 'd1' }
    const body = JSON.stringify({ events: [event, { topic: 'dry/created', data: { total: 1 } }] })
    const { status, body: told } = await post(body, json, '?dry_run=true')
    expect(status).toBe(200)
    const told1 = (outcome: string) => [
      { trigger: 'all', workflow: 'w-all', status: 'paused', outcome: 'run', detail: null },
      { trigger: 'large', workflow: 'w-large', status: 'live', outcome, detail: null },
      {
        trigger: 'missing',
        workflow: 'w-missing',
        status: 'live',
        outcome: 'filtered',
        detail: expect.stringContaining('absent'),
      },
    ]
    expect(told).toEqual({
      dry_run: true,
      events: [
        { id: 'd1', topic: 'dry/created', stream: 'dry', triggers: told1('run') },
        { id: null, topic: 'dry/created', stream: 'dry', triggers: told1('filtered') },
      ],
      warnings: [],
    })
    expect((await get('/v1/streams/dry')).status).toBe(404)
  })

  test('refuses what publishing would refuse, and says so where nobody knows the triggers', async () => {
    const wrong = await post('{"topic":"dry/x"}', json, '?dry_run=true')
    expect(wrong).toMatchObject({ status: 422, body: { code: 'required' } })
    const lines = await post('{}', { 'content-type': 'application/x-ndjson' }, '?dry_run=true')
    expect(lines).toMatchObject({ status: 422, body: { errors: [{ pointer: '?dry_run' }] } })
    const unclear = await post('{}', json, '?dry_run=yes')
    expect(unclear).toMatchObject({ status: 422, body: { errors: [{ pointer: '?dry_run' }] } })
    triggers = null
    const away = await post('{"topic":"dry/x","data":1}', json, '?dry_run=true')
    expect(away).toMatchObject({ status: 503, body: { code: 'orchestrator_unavailable' } })
  })
})

test('what the gateway answers is what its OpenAPI document says', async () => {
  await post('{"topic":"shape/x","data":1}', { 'content-type': 'application/json' })
  for (const url of ['/v1/events?stream=shape', '/v1/streams', '/v1/streams/shape', '/v1/events?limit=1'])
    await get(url)
  expect((await get('/v1/status')).status).toBe(503)
})
