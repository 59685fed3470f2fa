import { createDatabase, infra } from '@headrace/testing'
import { limits } from '@headrace/schemas'
import { openStore } from '@headrace/store'
import { beforeAll, expect, test } from 'vitest'
import { getJson, type Platform, publish, startPlatform } from '../harness/platform.ts'

/** P8: over a limit, or malformed, is a clear error that names the place; and nothing is left behind by it. */

let platform: Platform
let databaseUrl: string
beforeAll(async () => {
  databaseUrl = (await createDatabase()).url
  platform = await startPlatform({ ...(await infra()), databaseUrl })
  // The stream is there before: what is looked at is what bad requests add.
  await publish(platform.gateway.url, { topic: 'orders/created', data: 1 })
})

interface Bad {
  name: string
  method?: string
  path?: string
  type?: string | null
  headers?: Record<string, string>
  body?: unknown
  /** Sent as it is. */
  text?: string
  status: number
  code: string
  pointer?: string
}
const ok = { topic: 'orders/created', data: 1 }
const long = 'x'.repeat(limits.eventBytesMax)

const bad: Bad[] = [
  {
    name: 'an unknown field',
    body: { ...ok, evnt_type: 'x' },
    status: 422,
    code: 'unknown_field',
    pointer: '/evnt_type',
  },
  {
    name: 'an unknown field in a batch',
    body: { events: [ok, { ...ok, x: 1 }] },
    status: 422,
    code: 'unknown_field',
    pointer: '/events/1/x',
  },
  {
    name: 'a topic that is a number',
    body: { ...ok, topic: 7 },
    status: 422,
    code: 'invalid_field',
    pointer: '/topic',
  },
  { name: 'no topic', body: { data: 1 }, status: 422, code: 'required', pointer: '/topic' },
  { name: 'no data', body: { topic: 'a' }, status: 422, code: 'required', pointer: '/data' },
  {
    name: 'an empty segment',
    body: { ...ok, topic: 'orders//x' },
    status: 422,
    code: 'invalid_topic',
    pointer: '/topic',
  },
  {
    name: 'nine segments',
    body: { ...ok, topic: 'a/b/c/d/e/f/g/h/i' },
    status: 422,
    code: 'invalid_topic',
    pointer: '/topic',
  },
  {
    name: 'a wildcard in a topic',
    body: { ...ok, topic: 'orders/*' },
    status: 422,
    code: 'invalid_topic',
    pointer: '/topic',
  },
  {
    name: 'a reserved source',
    body: { ...ok, source: 'headrace:run' },
    status: 422,
    code: 'reserved_source',
    pointer: '/source',
  },
  { name: 'NUL in an id', body: { ...ok, id: 'a\u0000' }, status: 422, code: 'contains_nul', pointer: '/id' },
  {
    name: 'NUL in a key',
    body: { ...ok, key: '\u0000' },
    status: 422,
    code: 'contains_nul',
    pointer: '/key',
  },
  {
    name: 'NUL in an event type',
    body: { ...ok, event_type: 'a\u0000' },
    status: 422,
    code: 'contains_nul',
    pointer: '/event_type',
  },
  {
    name: 'an id twice in a batch',
    body: {
      events: [
        { ...ok, id: 'a' },
        { ...ok, id: 'a' },
      ],
    },
    status: 422,
    code: 'duplicate_event_id',
    pointer: '/events/1/id',
  },
  { name: 'an event over its limit', body: { ...ok, data: long }, status: 413, code: 'event_too_large' },
  {
    name: 'an event over its limit in a batch',
    body: { events: [ok, { ...ok, data: long }] },
    status: 413,
    code: 'event_too_large',
    pointer: '/events/1',
  },
  {
    name: 'too many events',
    body: { events: Array.from({ length: limits.requestEventsMax + 1 }, () => ok) },
    status: 413,
    code: 'too_many_events',
  },
  { name: 'no events', body: { events: [] }, status: 422, code: 'invalid_field', pointer: '/events' },
  {
    name: 'a body over its limit',
    text: `{"topic":"a","data":"${'x'.repeat(limits.requestBytesMax)}"}`,
    status: 413,
    code: 'body_too_large',
  },
  { name: 'broken JSON', text: '{"topic":', status: 400, code: 'invalid_json' },
  { name: 'an empty body', text: '', status: 400, code: 'invalid_json' },
  { name: 'a list', body: [ok], status: 422, code: 'invalid_field', pointer: '' },
  {
    name: 'another content type',
    type: 'text/plain',
    text: 'hello',
    status: 415,
    code: 'unsupported_media_type',
  },
  {
    name: 'a number that a double cannot hold',
    text: '{"topic":"a","data":{"n":12345678901234567890}}',
    status: 422,
    code: 'number_not_exact',
    pointer: '/data/n',
  },
  {
    name: 'a number out of range',
    text: '{"events":[{"topic":"a","data":[1e400]}]}',
    status: 422,
    code: 'number_not_exact',
    pointer: '/events/0/data/0',
  },
  {
    name: '5,000 levels',
    text: `{"topic":"a","data":${'['.repeat(5000)}${']'.repeat(5000)}}`,
    status: 422,
    code: 'json_too_deep',
  },
  {
    name: '__proto__',
    text: '{"topic":"a","data":{"__proto__":{"x":1}}}',
    status: 422,
    code: 'forbidden_key',
    pointer: '/data/__proto__',
  },
  {
    name: 'an unknown query parameter',
    path: '/v1/events?dryrun=1',
    body: ok,
    status: 422,
    code: 'invalid_query',
    pointer: '?dryrun',
  },
  { name: 'an unknown path', method: 'GET', path: '/v1/evnts', status: 404, code: 'not_found' },
  { name: 'an unknown path outside /v1', method: 'GET', path: '/v2/events', status: 404, code: 'not_found' },
  {
    name: 'a method that the path does not take',
    method: 'DELETE',
    path: '/v1/events',
    status: 405,
    code: 'method_not_allowed',
  },
  {
    name: 'a method that a passed-on path does not take',
    method: 'DELETE',
    path: '/v1/runs',
    status: 405,
    code: 'method_not_allowed',
  },
  {
    name: 'an unknown workflow',
    path: '/v1/runs',
    body: { workflow: 'nope' },
    status: 404,
    code: 'workflow_not_found',
    pointer: '/workflow',
  },
  {
    name: 'a run with an unknown field',
    path: '/v1/runs',
    body: { workflow: 'nope', inptu: 1 },
    status: 422,
    code: 'unknown_field',
    pointer: '/inptu',
  },
  {
    name: 'a run with NUL in a tag',
    path: '/v1/runs',
    body: { workflow: 'nope', tags: { a: '\u0000' } },
    status: 422,
    code: 'contains_nul',
    pointer: '/tags/a',
  },
  {
    name: 'an unknown run',
    method: 'GET',
    path: '/v1/runs/0190a0a0-0000-7000-8000-000000000000',
    status: 404,
    code: 'run_not_found',
  },
  { name: 'a run id that is none', method: 'GET', path: '/v1/runs/%00', status: 404, code: 'run_not_found' },
  {
    name: 'an unknown trigger',
    method: 'GET',
    path: '/v1/triggers/nope',
    status: 404,
    code: 'trigger_not_found',
  },
  {
    name: 'an unknown trigger to pause',
    path: '/v1/triggers/nope/pause',
    text: '{}',
    status: 404,
    code: 'trigger_not_found',
  },
  {
    name: 'an unknown stream',
    method: 'GET',
    path: '/v1/streams/nope',
    status: 404,
    code: 'stream_not_found',
  },
  { name: 'an unknown queue', method: 'GET', path: '/v1/queues/nope', status: 404, code: 'queue_not_found' },
  {
    name: 'a cursor that is not ours',
    method: 'GET',
    path: '/v1/runs?cursor=abc',
    status: 422,
    code: 'invalid_cursor',
    pointer: '?cursor',
  },
  {
    name: 'a history cursor that is not ours',
    method: 'GET',
    path: '/v1/events?topic=orders/created&cursor=abc',
    status: 422,
    code: 'invalid_cursor',
    pointer: '?cursor',
  },
  {
    name: 'a limit over its limit',
    method: 'GET',
    path: '/v1/runs?limit=201',
    status: 422,
    code: 'invalid_query',
    pointer: '?limit',
  },
  {
    name: 'a limit that is no number',
    method: 'GET',
    path: '/v1/events?topic=orders/created&limit=x',
    status: 422,
    code: 'invalid_query',
    pointer: '?limit',
  },
  {
    name: 'a status that is none',
    method: 'GET',
    path: '/v1/runs?status=done',
    status: 422,
    code: 'invalid_query',
    pointer: '?status',
  },
  {
    name: 'a pattern that is none',
    method: 'GET',
    path: '/v1/events?pattern=**',
    status: 422,
    code: 'invalid_query',
    pointer: '?pattern',
  },
  {
    name: 'an Idempotency-Key over its limit',
    headers: { 'idempotency-key': 'x'.repeat(256) },
    body: ok,
    status: 400,
    code: 'invalid_header',
  },
  {
    name: 'a worker of another protocol',
    path: '/v1/worker/heartbeat',
    headers: { 'headrace-protocol': '9' },
    body: {},
    status: 400,
    code: 'unsupported_protocol',
  },
]

async function send(
  one: Bad,
): Promise<{ status: number; type: string | null; problem: Record<string, unknown> }> {
  const text = one.text ?? (one.body === undefined ? undefined : JSON.stringify(one.body))
  const type = one.type === undefined ? 'application/json' : one.type
  const response = await fetch(`${platform.gateway.url}${one.path ?? '/v1/events'}`, {
    method: one.method ?? 'POST',
    headers: { ...(text === undefined || type === null ? {} : { 'content-type': type }), ...one.headers },
    ...(text === undefined ? {} : { body: text }),
  })
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    problem: (await response.json()) as Record<string, unknown>,
  }
}

async function snapshot(): Promise<unknown> {
  const store = openStore({ url: databaseUrl, applicationName: 'bad-input' })
  const { rows } = await store.general.query(
    'select (select count(*) from runs) runs, (select count(*) from steps) steps, (select count(*) from triggers) triggers, (select count(*) from workflows) workflows',
  )
  await store.close()
  const streams = await getJson<{ data: { name: string; end: unknown }[] }>(
    `${platform.gateway.url}/v1/streams`,
  )
  return { rows, ends: streams.data.map(({ name, end }) => ({ name, end })) }
}

test('each bad request has its own status, code and place, and leaves nothing behind', async () => {
  const before = await snapshot()
  const answers = []
  for (const one of bad) {
    const { status, type, problem } = await send(one)
    const errors = problem['errors'] as { pointer: string }[] | undefined
    answers.push({
      name: one.name,
      status,
      code: problem['code'],
      type: type?.split(';')[0],
      ...(one.pointer === undefined ? {} : { pointer: errors?.[0]?.pointer }),
      said:
        typeof problem['detail'] === 'string' &&
        problem['detail'] !== '' &&
        typeof problem['request_id'] === 'string',
    })
  }
  expect(answers).toEqual(
    bad.map((one) => ({
      name: one.name,
      status: one.status,
      code: one.code,
      type: 'application/problem+json',
      ...(one.pointer === undefined ? {} : { pointer: one.pointer }),
      said: true,
    })),
  )
  expect(await snapshot()).toEqual(before)
})
