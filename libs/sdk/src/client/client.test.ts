import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ApiError } from '../errors/api-error.ts'
import { PublishError } from '../errors/publish-error.ts'
import { RunFailedError, RunNotEndedError } from '../errors/run-error.ts'
import { SchemaValidationError } from '../errors/step-error.ts'
import { defineEvent } from '../workflow/define-event.ts'
import { workflow } from '../workflow/workflow.ts'
import { Client } from './client.ts'
import { ulid } from './ulid.ts'

interface Seen {
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: { events?: { id: string; topic: string }[] } & Record<string, unknown>
}
type Answer = { status: number; body?: unknown; headers?: Record<string, string> } | 'hang_up' | 'silent'

let seen: Seen[]
let answers: ((request: Seen) => Answer)[]
let client: Client
let stop: () => Promise<void>

beforeEach(async () => {
  seen = []
  answers = []
  const server = createServer((request, response) => {
    respond(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  client = new Client({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    apiKey: 'hr_test',
    timeout: '20s',
  })
  stop = async () =>
    await new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
})
afterEach(async () => await stop())

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString('utf8')
  const one: Seen = {
    method: request.method ?? '',
    url: request.url ?? '',
    headers: request.headers,
    body: (text === '' ? {} : JSON.parse(text)) as Seen['body'],
  }
  seen.push(one)
  const answer = (answers.length > 1 ? answers.shift() : answers[0])?.(one) ?? { status: 500 }
  if (answer === 'silent') return
  if (answer === 'hang_up') return void request.socket.destroy()
  response.writeHead(answer.status, {
    'content-type': 'application/json',
    'x-request-id': 'req-1',
    ...answer.headers,
  })
  response.end(JSON.stringify(answer.body))
}

const written = ({ id, topic }: { id: string; topic: string }, sequence_id: number) => ({
  id,
  topic,
  stream: topic.split('/')[0],
  partition: 0,
  sequence_id,
  created_at: '2026-11-23T12:00:00.000Z',
})
const accept = ({ body }: Seen): Answer => ({
  status: 200,
  body: { events: body.events?.map((event, index) => written(event, index)), warnings: [] },
})
const problem = (status: number, code: string, retryable: boolean) => ({
  type: 't',
  title: 't',
  status,
  code,
  detail: `it is ${code}`,
  request_id: 'req-1',
  retryable,
})
const refuse =
  (status: number, code: string, retryable: boolean, headers = {}) =>
  (): Answer => ({
    status,
    headers,
    body: problem(status, code, retryable),
  })

describe('publishing', () => {
  const order = defineEvent('orders/created', {
    schema: z.object({ total: z.number() }),
    eventType: 'created',
  })

  test('sends a typed event with an id made here, and answers with its position', async () => {
    answers = [accept]
    const published = await client.events.publish(order, { data: { total: 5 }, key: 'k' })
    expect(published).toMatchObject({ topic: 'orders/created', partition: 0, sequenceId: 0 })
    expect(seen[0]).toMatchObject({
      method: 'POST',
      url: '/v1/events',
      headers: { authorization: 'Bearer hr_test' },
      body: { events: [{ topic: 'orders/created', event_type: 'created', key: 'k', data: { total: 5 } }] },
    })
    expect(published.id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/)
  })

  test('gives an event what its schema does not take, where that is only a warning', async () => {
    const warnings = [
      { pointer: '/events/1/data/total', code: 'schema_invalid', detail: 'must be number' },
      { pointer: '/events/1/data', code: 'schema_invalid', detail: 'must have a name' },
    ]
    answers = [({ body }) => ({ status: 200, body: { events: body.events?.map(written), warnings } })]
    const [first, second] = await client.events.publish([
      order.event({ data: { total: 1 } }),
      order.event({ data: { total: 2 } }),
    ])
    expect(first).not.toHaveProperty('warnings')
    expect(second?.warnings).toEqual([
      { path: '/data/total', message: 'must be number' },
      { path: '/data', message: 'must have a name' },
    ])
  })

  test.each([
    ['the connection breaks', (): Answer => 'hang_up'],
    ['the gateway is overloaded', refuse(429, 'overloaded', true, { 'retry-after': '0' })],
    ['Kafka is away', refuse(503, 'kafka_unavailable', true)],
  ])('sends the same ids again when %s', async (_name, failure) => {
    answers = [failure, accept]
    await client.events.publish([
      { topic: 'a', data: 1 },
      { topic: 'b', data: 2 },
    ])
    const ids = seen.map((request) => request.body.events?.map((event) => event.id))
    expect(ids).toHaveLength(2)
    expect(ids[1]).toEqual(ids[0])
  })

  test('sends again, by id, only what a 207 says was not written, and answers in the order given', async () => {
    answers = [
      ({ body }) => ({
        status: 207,
        body: {
          events: body.events?.map((event, index) =>
            index === 1 ? { id: event.id, problem: problem(503, 'unknown', true) } : written(event, index),
          ),
        },
      }),
      ({ body }) => ({ status: 200, body: { events: body.events?.map((event) => written(event, 9)) } }),
    ]
    const events = ['a', 'b', 'c'].map((topic) => ({ topic, data: null, id: `id-${topic}` }))
    const published = await client.events.publish(events)
    expect(published.map(({ id, sequenceId }) => [id, sequenceId])).toEqual([
      ['id-a', 0],
      ['id-b', 9],
      ['id-c', 2],
    ])
    expect(seen[1]?.body.events?.map((event) => event.id)).toEqual(['id-b'])
  })

  test('tells which events were not accepted when no further attempt can help', async () => {
    answers = [
      ({ body }) => ({
        status: 207,
        body: {
          events: body.events?.map((event, index) =>
            index === 0
              ? { id: event.id, problem: problem(413, 'event_too_large', false) }
              : written(event, 1),
          ),
        },
      }),
    ]
    const failed = client.events.publish([
      { topic: 'a', data: 1, id: 'big' },
      { topic: 'b', data: 1 },
    ])
    await expect(failed).rejects.toMatchObject({
      code: 'event_too_large',
      published: 1,
      retryable: false,
      failures: [{ index: 0, id: 'big' }],
    })
    await expect(failed).rejects.toBeInstanceOf(PublishError)
  })

  test('gives up at its timeout with what stands', async () => {
    answers = [refuse(503, 'kafka_unavailable', true)]
    await expect(client.events.publish({ topic: 'a', data: 1 }, { timeout: '300ms' })).rejects.toMatchObject({
      status: 503,
      code: 'kafka_unavailable',
      retryable: true,
      requestId: 'req-1',
    })
  })

  test('says so when there is no answer in time', async () => {
    answers = [() => 'silent']
    const failed = client.events.publish({ topic: 'a', data: 1 }, { timeout: '200ms' })
    await expect(failed).rejects.toMatchObject({ status: 0, code: 'timeout' })
  })

  test('is refused at once, with the place, when the request is wrong', async () => {
    answers = [
      () => ({
        status: 422,
        body: {
          ...problem(422, 'invalid_topic', false),
          errors: [{ pointer: '/events/0/topic', code: 'x', detail: 'y' }],
        },
      }),
    ]
    const failed = client.events.publish({ topic: 'a//b', data: 1 })
    await expect(failed).rejects.toMatchObject({
      code: 'invalid_topic',
      errors: [{ pointer: '/events/0/topic' }],
    })
    await expect(failed).rejects.toBeInstanceOf(ApiError)
    expect(seen).toHaveLength(1)
  })

  test('of data that does not pass its schema sends nothing', async () => {
    const failed = client.events.publish(order, { data: { total: 'x' as unknown as number } })
    await expect(failed).rejects.toMatchObject({ issues: [{ path: '/data/total' }] })
    await expect(failed).rejects.toBeInstanceOf(SchemaValidationError)
    expect(seen).toEqual([])
  })

  test('ends with the reason of its signal', async () => {
    const controller = new AbortController()
    answers = [
      () => {
        controller.abort(new Error('enough'))
        return 'silent'
      },
    ]
    const failed = client.events.publish({ topic: 'a', data: 1 }, { signal: controller.signal })
    await expect(failed).rejects.toThrow('enough')
  })
})

describe('runs', () => {
  const run = { id: 'r1', workflow: 'w', status: 'running', tags: {}, waiting_for: [], trigger: null }
  const ok =
    (body: object, status = 200) =>
    (): Answer => ({ status, body: { ...run, ...body } })

  test('starting is repeatable: it carries an id of its own', async () => {
    answers = [() => 'hang_up', ok({ existing: true }, 200)]
    const handle = await client.runs.start('w', { a: 1 })
    expect(handle).toMatchObject({ id: 'r1', existing: false })
    expect(seen[1]?.body).toEqual(seen[0]?.body)
    expect(seen[0]?.body).toMatchObject({ workflow: 'w', input: { a: 1 }, on_conflict: 'return' })
  })

  test('a triggered workflow is started with events as its handler gets them', async () => {
    answers = [ok({}, 201)]
    const triggered = workflow({ id: 'w', triggerOnEvent: 'orders/created' }, () => 1)
    await client.runs.start(triggered, {
      events: [{ topic: 'orders/created', data: { a: 1 }, eventType: 'created' }],
    })
    expect(seen[0]?.body).toMatchObject({
      input: {
        events: [{ topic: 'orders/created', event_type: 'created', data: { a: 1 }, stream: 'orders' }],
      },
    })
  })

  test('a result is waited for until the run ends', async () => {
    answers = [ok({}), ok({ status: 'completed', output: { rows: 3 } })]
    await expect(client.runs.result('r1')).resolves.toEqual({ rows: 3 })
    expect(seen.map((one) => one.url)).toEqual(['/v1/runs/r1?wait=30000ms', '/v1/runs/r1?wait=30000ms'])
  })

  test('a run that failed throws what it failed with', async () => {
    const error = { name: 'Error', message: 'card declined', code: null, stack: null, step_key: 'charge' }
    answers = [ok({ status: 'failed', error })]
    const failed = client.runs.result('r1')
    await expect(failed).rejects.toMatchObject({ runId: 'r1', status: 'failed', error })
    await expect(failed).rejects.toBeInstanceOf(RunFailedError)
  })

  test('a run that has not ended in time says so', async () => {
    answers = [ok({})]
    await expect(client.runs.result('r1', { wait: 0 })).rejects.toBeInstanceOf(RunNotEndedError)
  })

  test.each([
    ['cancel', 'cancelled'],
    ['pause', 'paused'],
    ['resume', 'queued'],
  ] as const)('%s answers the run, also when its first answer was lost', async (action, status) => {
    answers = [() => 'hang_up', ok({ status, run_at: null, expires_at: '2026-11-23T12:00:00.000Z' })]
    const steered = await client.runs[action]('r/1')
    expect(steered).toMatchObject({ status, runAt: null, expiresAt: '2026-11-23T12:00:00.000Z' })
    expect(seen.map(({ method, url }) => `${method} ${url}`)).toEqual(
      Array.from({ length: 2 }, () => `POST /v1/runs/r%2F1/${action}`),
    )
  })

  test('of a run that has ended are refused by name', async () => {
    answers = [refuse(409, 'run_ended', false)]
    await expect(client.runs.pause('r1')).rejects.toMatchObject({ status: 409, code: 'run_ended' })
  })

  test('a retry is a run of its own, to be waited for', async () => {
    answers = [ok({ id: 'r2', existing: true }), ok({ id: 'r2', status: 'completed', output: 7 })]
    const handle = await client.runs.retry<number>('r1')
    expect(handle).toMatchObject({ id: 'r2', existing: true })
    expect(await handle.result()).toBe(7)
    expect(seen.map(({ url }) => url)).toEqual(['/v1/runs/r1/retry', '/v1/runs/r2?wait=30000ms'])
  })

  test('whose step waits for somebody are resumed, also when the first answer was lost', async () => {
    answers = [() => 'hang_up', ok({}), ok({}), refuse(409, 'wait_settled', false)]
    await client.runs.resumeStep('r1', 'ask/ann', { ok: true })
    await client.runs.resumeStep('r1', 'ask', undefined)
    await expect(client.runs.resumeStep('r1', 'ask', 2)).rejects.toMatchObject({ code: 'wait_settled' })
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['POST', '/v1/runs/r1/steps/ask%2Fann/resume', { data: { ok: true } }],
      ['POST', '/v1/runs/r1/steps/ask%2Fann/resume', { data: { ok: true } }],
      ['POST', '/v1/runs/r1/steps/ask/resume', { data: null }],
      ['POST', '/v1/runs/r1/steps/ask/resume', { data: 2 }],
    ])
  })

  test('may be started with a delay', async () => {
    answers = [ok({}, 201)]
    await client.runs.start('w', null, { delay: '10m' })
    expect(seen[0]?.body).toMatchObject({ delay: '10m' })
  })

  test('are listed by what is asked for', async () => {
    answers = [() => ({ status: 200, body: { data: [run], next_cursor: 'c' } })]
    const page = await client.runs.list({
      workflow: 'w',
      status: 'running',
      topic: 'orders/created',
      eventId: 'e1',
      createdAfter: new Date(0),
      createdBefore: '2026-11-23T12:00:00Z',
      limit: 1,
    })
    expect(page).toMatchObject({ data: [{ id: 'r1', waitingFor: [] }], nextCursor: 'c' })
    expect(seen[0]?.url).toBe(
      '/v1/runs?workflow=w&status=running&topic=orders%2Fcreated&event_id=e1' +
        '&created_after=1970-01-01T00%3A00%3A00.000Z&created_before=2026-11-23T12%3A00%3A00Z&limit=1',
    )
  })
})

test('ids are in the order of their making', () => {
  const ids = [1, 1_700_000_000_000, 1_700_000_000_001, 2 ** 47].map(ulid)
  expect(ids.toSorted()).toEqual(ids)
  for (const id of ids) expect(id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/)
})

test.each([
  [{ url: 'ftp://x' }, /HEADRACE_URL .* must be an http/],
  [{ url: 'http://x', timeout: 'soon' as '1s' }, /timeout must be/],
])('settings that are wrong are named: %j', (options, message) => {
  expect(() => new Client(options)).toThrow(message)
})

test('nothing that the client is made of imports Node', async () => {
  const checked = new Set<string>()
  const visit = async (file: URL): Promise<void> => {
    if (checked.has(file.href)) return
    checked.add(file.href)
    const source = await readFile(file, 'utf8')
    // Type imports are gone at run time.
    const imports = [...source.matchAll(/^(?:import|export) (?!type )[^'"]*?from '([^']+)'/gms)]
    for (const [, name = ''] of imports) {
      expect(name).not.toMatch(/^node:|kafkajs|@headrace\/(?!schemas$|core$)/)
      if (name.startsWith('.')) await visit(new URL(name, file))
    }
  }
  await visit(new URL('./index.ts', import.meta.url))
  expect(checked.size).toBeGreaterThan(10)
})
