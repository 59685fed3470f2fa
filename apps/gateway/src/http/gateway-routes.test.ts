import { BoundStreams } from '@headrace/broker'
import { createHttpServer, createAuthorize, KeyRing } from '@headrace/http'
import { ProblemError } from '@headrace/schemas'
import { createMetrics, silentLogger, systemClock } from '@headrace/service'
import { describe, expect, test } from 'vitest'
import { READERS_MAX } from './event-stream-route.ts'
import { createGatewayMetrics } from '../gateway-metrics.ts'
import { createAdmission } from '../ingest/admission.ts'
import { createRateLimit } from '../ingest/rate-limit.ts'
import { gatewayRoutes, type GatewayParts } from './gateway-routes.ts'

const absent = () => expect.unreachable()

/** The routes without anything behind them: what is asked here is answered before Kafka or the orchestrator is. */
function gatewayWithout(access: 'open' | 'keys', stableEnds: () => unknown = absent) {
  const metrics = createMetrics()
  const admission = createAdmission({ bytesMax: 1_000, eventsMax: 10 })
  const routes: [string, string][] = []
  const app = createHttpServer({
    log: silentLogger,
    metrics,
    name: 'gateway',
    authorize: createAuthorize(access, new KeyRing(() => 0)),
  })
  app.addHook('onRoute', ({ url, method, config }) => {
    for (const each of [method].flat())
      if (each !== 'HEAD') routes.push([`${each} ${url}`, String(config?.scope)])
  })
  const broker = {
    topics: {},
    readRange: absent,
    offsets: absent,
    offsetsForTime: absent,
    stableEnds,
    ping: absent,
  }
  const catalog = new BoundStreams('p')
  const ask = { get: absent, post: absent }
  gatewayRoutes(app, {
    publish: {
      admission,
      rate: createRateLimit(() => 0),
      streams: { knowsAll: absent, ensure: absent, forget: absent },
      publish: absent,
      metrics: createGatewayMetrics(metrics, admission),
      ask,
      rules: { types: { of: () => null }, isFramed: false, bindingOf: () => null },
      whenKnown: () => null,
      traces: null,
      now: () => 0,
      stopping: new AbortController().signal,
    },
    history: { broker, prefix: 'p', catalog },
    eventStream: {
      broker,
      prefix: 'p',
      catalog,
      clock: systemClock,
      log: silentLogger,
      stopping: new AbortController().signal,
    },
    streams: {
      broker,
      prefix: 'p',
      partitions: 1,
      topics: 'create',
      ask,
      log: silentLogger,
      directory: {},
      bindings: {},
    },
    status: { broker, ask, version: '0' },
    passThrough: { link: { send: absent, close: absent }, stopping: new AbortController().signal },
  } as unknown as GatewayParts)
  return { app, routes, admission }
}

test('every route of the gateway declares its scope', async () => {
  const { app, routes } = gatewayWithout('open')
  await app.ready()
  const own = routes.filter(([route]) => !route.endsWith('/v1/*'))
  expect(Object.fromEntries(own)).toEqual({
    'POST /v1/events': 'events:write',
    'GET /v1/events': 'events:read',
    'GET /v1/events/stream': 'events:read',
    'GET /v1/events/:stream/:partition/:sequence_id': 'events:read',
    'GET /v1/streams': 'events:read',
    'GET /v1/streams/:stream': 'events:read',
    'PUT /v1/streams/:stream': 'admin',
    'DELETE /v1/streams/:stream': 'admin',
    'GET /v1/status': 'public',
    'GET /openapi.json': 'public',
    'GET /docs': 'public',
    'GET /docs/:file': 'public',
  })
  expect(new Set(routes.filter(([route]) => route.endsWith('/v1/*')).map(([, scope]) => scope))).toEqual(
    new Set(['passed_on']),
  )
})

test('with HEADRACE_AUTH=on nobody passes, and nobody is told no, before the keys are known', async () => {
  const { app } = gatewayWithout('keys')
  const answer = await app.inject({ method: 'POST', url: '/v1/events', payload: { topic: 'a', data: 1 } })
  expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([503, 'keys_not_known'])
})

describe('a request that fits no route of the gateway', () => {
  test.each([
    ['DELETE', '/v1/events', 405, 'method_not_allowed', 'GET, HEAD, POST'],
    ['POST', '/v1/streams/orders', 405, 'method_not_allowed', 'DELETE, GET, HEAD, PUT'],
    ['PATCH', '/v1/status', 405, 'method_not_allowed', 'GET, HEAD'],
    ['GET', '/v1/events/orders/0/1/explained', 404, 'not_found', undefined],
    ['GET', '/v1/events/orders', 404, 'not_found', undefined],
    ['GET', '/v2/events', 404, 'not_found', undefined],
    ['GET', '/', 404, 'not_found', undefined],
  ] as const)('%s %s: %i %s', async (method, url, status, code, allow) => {
    const { app } = gatewayWithout('open')
    const answer = await app.inject({ method, url })
    expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([status, code])
    expect(answer.headers.allow).toBe(allow)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.headers['x-request-id']).toBe(answer.json<{ request_id: string }>().request_id)
  })
})

describe('a request that is too much', () => {
  test('is refused with 429 and Retry-After before its body is read, while others are in flight', async () => {
    const { app, admission } = gatewayWithout('open')
    const other = admission.admit(990)
    const payload = JSON.stringify({ topic: 'a', data: 1 })
    const headers = { 'content-type': 'application/json' }
    const answer = await app.inject({ method: 'POST', url: '/v1/events', headers, payload })
    expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([429, 'overloaded'])
    expect(answer.headers['retry-after']).toBe('1')
    other.release()
    expect(admission.inFlight).toEqual({ bytes: 0, events: 0, requests: 0 })
  })

  test('is refused with 429 while all places for readers of streams are taken', async () => {
    const { promise: ends, reject } = Promise.withResolvers<never>()
    const { app } = gatewayWithout('open', () => ends)
    const follow = async () => await app.inject({ method: 'GET', url: '/v1/events/stream?stream=a' })
    const readers = Array.from({ length: READERS_MAX }, follow)
    const answer = await follow()
    expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([429, 'overloaded'])
    reject(new ProblemError('kafka_unavailable', 'away'))
    expect(new Set((await Promise.all(readers)).map(({ statusCode }) => statusCode))).toEqual(new Set([503]))
    // Whoever could not begin has left its place.
    expect((await follow()).statusCode).toBe(503)
  })
})
