import { randomUUID } from 'node:crypto'
import { limits } from '@headrace/schemas'
import { silentLogger, type RunningApp } from '@headrace/service'
import { infra, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseGatewayConfig, startGateway } from './index.ts'

const { brokers, prefix } = await infra()
let gateway: RunningApp
let before: number

beforeAll(async () => {
  const config = parseGatewayConfig({
    HEADRACE_AUTH: 'off',
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_PREFIX: prefix,
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_ORCHESTRATOR_URL: 'http://127.0.0.1:1',
  })
  gateway = await startGateway({ config, log: silentLogger })
  await send({ body: { topic: 'kept/x', data: 1 } })
  before = await written()
})
afterAll(async () => await gateway.stop())

const written = async (): Promise<number> => (await readTopic(brokers, `${prefix}.events.kept`)).length

interface Sent {
  method?: string
  path?: string
  /** A text or bytes as they are, anything else as JSON. */
  body?: unknown
  headers?: Record<string, string>
}

async function send({ method = 'POST', path = '/v1/events', body, headers = {} }: Sent) {
  const raw = typeof body === 'string' || body instanceof Uint8Array
  const answer = await fetch(`${gateway.url}${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: raw ? (body as string) : JSON.stringify(body) }),
  })
  return {
    status: answer.status,
    headers: answer.headers,
    body: (await answer.json()) as {
      code?: string
      request_id?: string
      errors?: { pointer: string; code: string }[]
    },
  }
}

const good = { topic: 'kept/x', data: 1 }
const huge = 'x'.repeat(limits.eventBytesMax)

type Case = [what: string, sent: Sent, status: number, code: string, pointers: string[]]
const cases: Case[] = [
  ['an unknown field', { body: { ...good, eventType: 't' } }, 422, 'unknown_field', ['/eventType']],
  [
    'an unknown field in a batch',
    { body: { events: [good, { ...good, x: 1 }] } },
    422,
    'unknown_field',
    ['/events/1/x'],
  ],
  ['a topic that is a number', { body: { topic: 7, data: 1 } }, 422, 'invalid_field', ['/topic']],
  ['an empty topic', { body: { ...good, topic: '' } }, 422, 'invalid_topic', ['/topic']],
  [
    'a topic with an empty segment',
    { body: { ...good, topic: 'kept//x' } },
    422,
    'invalid_topic',
    ['/topic'],
  ],
  [
    'a topic of nine segments',
    { body: { ...good, topic: 'kept/2/3/4/5/6/7/8/9' } },
    422,
    'invalid_topic',
    ['/topic'],
  ],
  [
    'a topic of 201 characters',
    { body: { ...good, topic: `kept/${'x'.repeat(196)}` } },
    422,
    'invalid_topic',
    ['/topic'],
  ],
  ['no data', { body: { topic: 'kept/x' } }, 422, 'required', ['/data']],
  ['an event that is too long', { body: { ...good, data: huge } }, 413, 'event_too_large', ['']],
  [
    'one of a batch that is too long',
    { body: { events: [good, { ...good, data: huge }] } },
    413,
    'event_too_large',
    ['/events/1'],
  ],
  [
    'too many events',
    { body: { events: Array.from({ length: limits.requestEventsMax + 1 }, () => good) } },
    413,
    'too_many_events',
    ['/events'],
  ],
  [
    'a body that is too large',
    { body: JSON.stringify({ ...good, data: ['x'.repeat(limits.requestBytesMax)] }) },
    413,
    'body_too_large',
    [],
  ],
  ['broken JSON', { body: '{"topic":"kept/x","data":' }, 400, 'invalid_json', []],
  [
    'bytes that are no UTF-8',
    { body: Buffer.from('{"topic":"kept/x","data":"\xff"}', 'latin1') },
    400,
    'invalid_json',
    [],
  ],
  ['an empty body', { body: '' }, 400, 'invalid_json', []],
  [
    'another content type',
    { body: 'x', headers: { 'content-type': 'text/plain' } },
    415,
    'unsupported_media_type',
    [],
  ],
  [
    'a body that is not gzip, as it says',
    { body: good, headers: { 'content-encoding': 'gzip' } },
    400,
    'invalid_encoding',
    [],
  ],
  [
    'a body that is packed otherwise',
    { body: good, headers: { 'content-encoding': 'br' } },
    415,
    'unsupported_media_type',
    [],
  ],
  [
    'ids twice in a batch',
    {
      body: {
        events: [
          { ...good, id: 'a' },
          { ...good, id: 'a' },
        ],
      },
    },
    422,
    'duplicate_event_id',
    ['/events/1/id'],
  ],
  [
    'an integer no double holds',
    { body: '{"topic":"kept/x","data":{"n":12345678901234567890}}' },
    422,
    'number_not_exact',
    ['/data/n'],
  ],
  [
    'a number beyond all',
    { body: '{"events":[{"topic":"kept/x","data":1e400}]}' },
    422,
    'number_not_exact',
    ['/events/0/data'],
  ],
  ['NUL in the id', { body: { ...good, id: 'a\u0000b' } }, 422, 'contains_nul', ['/id']],
  ['NUL in the key', { body: { ...good, key: '\u0000' } }, 422, 'contains_nul', ['/key']],
  ['NUL in the type', { body: { ...good, event_type: 'a\u0000' } }, 422, 'contains_nul', ['/event_type']],
  [
    '5,000 levels',
    { body: `{"topic":"kept/x","data":${'['.repeat(5_000)}${']'.repeat(5_000)}}` },
    422,
    'json_too_deep',
    [`/data${'/0'.repeat(63)}`],
  ],
  [
    '__proto__',
    { body: '{"topic":"kept/x","data":{"a":{"__proto__":{"x":1}}}}' },
    422,
    'forbidden_key',
    ['/data/a/__proto__'],
  ],
  ['a source of ours', { body: { ...good, source: 'headrace:run' } }, 422, 'reserved_source', ['/source']],
  [
    'an Idempotency-Key that is too long',
    { body: good, headers: { 'idempotency-key': 'k'.repeat(256) } },
    400,
    'invalid_header',
    [],
  ],
  [
    'a query parameter nobody knows',
    { path: '/v1/events?dryrun=true', body: good },
    422,
    'invalid_query',
    ['?dryrun'],
  ],
  ['history of nothing', { method: 'GET' }, 422, 'invalid_query', ['?topic']],
  [
    'history of two things',
    { method: 'GET', path: '/v1/events?topic=a&stream=a' },
    422,
    'invalid_query',
    ['?topic'],
  ],
  ['a bad pattern', { method: 'GET', path: '/v1/events?pattern=*/x' }, 422, 'invalid_query', ['?pattern']],
  [
    'a bad time',
    { method: 'GET', path: '/v1/events?stream=kept&from=yesterday' },
    422,
    'invalid_query',
    ['?from'],
  ],
  [
    'a limit of 0',
    { method: 'GET', path: '/v1/events?stream=kept&limit=0' },
    422,
    'invalid_query',
    ['?limit'],
  ],
  [
    'a limit of 201',
    { method: 'GET', path: '/v1/events?stream=kept&limit=201' },
    422,
    'invalid_query',
    ['?limit'],
  ],
  [
    'a cursor nobody made',
    { method: 'GET', path: '/v1/events?stream=kept&cursor=abc' },
    422,
    'invalid_cursor',
    ['?cursor'],
  ],
  [
    'a cursor of another query',
    { method: 'GET', path: '/v1/events?stream=kept&cursor=h1.abcdefghijkl.0-0-1' },
    422,
    'invalid_cursor',
    ['?cursor'],
  ],
  [
    'history of a stream that is not there',
    { method: 'GET', path: '/v1/events?stream=nowhere' },
    404,
    'stream_not_found',
    [],
  ],
  [
    'an event of a stream that is not there',
    { method: 'GET', path: '/v1/events/nowhere/0/0' },
    404,
    'stream_not_found',
    [],
  ],
  [
    'an event of a partition that is not there',
    { method: 'GET', path: '/v1/events/kept/77/0' },
    404,
    'event_not_found',
    [],
  ],
  ['a position that is none', { method: 'GET', path: '/v1/events/kept/0/-1' }, 404, 'event_not_found', []],
  ['a stream that is not there', { method: 'GET', path: '/v1/streams/nowhere' }, 404, 'stream_not_found', []],
  [
    'a stream with a name that none has',
    { method: 'GET', path: '/v1/streams/a%20b' },
    404,
    'stream_not_found',
    [],
  ],
  [
    'an event of a stream with such a name',
    { method: 'GET', path: '/v1/events/a%20b/0/0' },
    404,
    'stream_not_found',
    [],
  ],
  [
    'the deletion of a stream with such a name',
    { method: 'DELETE', path: '/v1/streams/a%20b?confirm=a%20b', body: {} },
    404,
    'stream_not_found',
    [],
  ],
  [
    'a stream with a bad name',
    { method: 'PUT', path: '/v1/streams/a.b', body: {} },
    422,
    'invalid_topic',
    [],
  ],
  [
    'a stream of no partitions',
    { method: 'PUT', path: '/v1/streams/new', body: { partitions: 0 } },
    422,
    'invalid_field',
    ['/partitions'],
  ],
  [
    'a stream with a bad retention',
    { method: 'PUT', path: '/v1/streams/new', body: { retention: '1 week' } },
    422,
    'invalid_field',
    ['/retention'],
  ],
  [
    'a list cursor nobody made',
    { method: 'GET', path: '/v1/streams?cursor=%00' },
    422,
    'invalid_cursor',
    ['?cursor'],
  ],
  ['an unknown path', { method: 'GET', path: '/v3' }, 404, 'not_found', []],
  ['a wrong method', { method: 'DELETE' }, 405, 'method_not_allowed', []],
  [
    'the orchestrator, which is away',
    { method: 'GET', path: '/v1/runs' },
    503,
    'orchestrator_unavailable',
    [],
  ],
]

describe('bad input', () => {
  test.each(cases)('%s: its own status, code and pointers', async (_what, sent, status, code, pointers) => {
    const requestId = `r-${randomUUID()}`
    const answer = await send({ ...sent, headers: { ...sent.headers, 'x-request-id': requestId } })
    expect([
      answer.status,
      answer.body.code,
      (answer.body.errors ?? []).map(({ pointer }) => pointer),
    ]).toEqual([status, code, pointers])
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
    expect([answer.headers.get('x-request-id'), answer.body.request_id]).toEqual([requestId, requestId])
  })

  test('wrote nothing, and made no stream', async () => {
    expect([before, await written()]).toEqual([1, 1])
    const { body } = (await send({ method: 'GET', path: '/v1/streams' })) as {
      body: { data?: { name: string }[] }
    }
    expect(body.data?.map(({ name }) => name)).toEqual(['kept'])
  })
})
