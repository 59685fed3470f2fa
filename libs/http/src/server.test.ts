import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { PassThrough, Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { ProblemError } from '@headrace/schemas'
import { createMetrics, silentLogger } from '@headrace/service'
import type { FastifyInstance } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { decodeBody } from './content-encoding.ts'
import {
  createAuthorize,
  createHttpServer,
  cursorParameter,
  encodeCursor,
  KeyRing,
  limitParameter,
  listenHttp,
  parseQuery,
} from './index.ts'

const open: FastifyInstance[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map(async (app) => await app.close()))
})

function server(access: 'open' | 'keys' = 'open', ring = new KeyRing(() => 0)): FastifyInstance {
  const app = createHttpServer({
    log: silentLogger,
    metrics: createMetrics(),
    name: 'test',
    bodyLimitBytes: 1_000,
    authorize: createAuthorize(access, ring),
    explain: (error) =>
      error instanceof RangeError ? new ProblemError('postgres_unavailable', 'Postgres is away') : null,
  })
  app.post('/v1/things', { config: { scope: 'runs:write' } }, (request) => ({ got: request.body }))
  app.get('/v1/things/:id', { config: { scope: 'public' } }, (request) => ({ params: request.params }))
  app.get('/v1/broken', { config: { scope: 'public' } }, () => {
    throw new TypeError('the secret is 42')
  })
  app.get('/v1/away', { config: { scope: 'public' } }, () => {
    throw new RangeError('connect ECONNREFUSED')
  })
  open.push(app)
  return app
}

const json = { 'content-type': 'application/json' }
const gzip = { ...json, 'content-encoding': 'gzip' }
const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`

describe('whatever is wrong is told as a problem with its own code', () => {
  test.each([
    ['an unknown path', { method: 'GET', url: '/v1/nothing' }, 404, 'not_found'],
    ['a path that is no URL', { method: 'GET', url: '/v1/things/%zz' }, 404, 'not_found'],
    ['another method', { method: 'DELETE', url: '/v1/things/1' }, 405, 'method_not_allowed'],
    ['no JSON', { method: 'POST', url: '/v1/things', headers: json, payload: '{"a":' }, 400, 'invalid_json'],
    [
      'no UTF-8',
      { method: 'POST', url: '/v1/things', headers: json, payload: Buffer.from([34, 255, 34]) },
      400,
      'invalid_json',
    ],
    ['an empty body', { method: 'POST', url: '/v1/things', headers: json, payload: '' }, 400, 'invalid_json'],
    [
      'text',
      { method: 'POST', url: '/v1/things', headers: { 'content-type': 'text/plain' }, payload: 'a' },
      415,
      'unsupported_media_type',
    ],
    [
      'a body that is packed otherwise than by gzip',
      { method: 'POST', url: '/v1/things', headers: { ...json, 'content-encoding': 'br' }, payload: '{}' },
      415,
      'unsupported_media_type',
    ],
    [
      'a body that is not gzip, as it says',
      { method: 'POST', url: '/v1/things', headers: gzip, payload: '{}' },
      400,
      'invalid_encoding',
    ],
    [
      'a body of half a gzip',
      { method: 'POST', url: '/v1/things', headers: gzip, payload: gzipSync('{"a":1}').subarray(0, 15) },
      400,
      'invalid_encoding',
    ],
    [
      'a body over its limit once it is unpacked',
      { method: 'POST', url: '/v1/things', headers: gzip, payload: gzipSync(`"${'x'.repeat(1_000)}"`) },
      413,
      'body_too_large',
    ],
    [
      'a body over its limit',
      { method: 'POST', url: '/v1/things', headers: json, payload: JSON.stringify('x'.repeat(2_000)) },
      413,
      'body_too_large',
    ],
    [
      'a number no double holds',
      { method: 'POST', url: '/v1/things', headers: json, payload: '{"n":12345678901234567890}' },
      422,
      'number_not_exact',
    ],
    [
      '__proto__',
      { method: 'POST', url: '/v1/things', headers: json, payload: '{"__proto__":{}}' },
      422,
      'forbidden_key',
    ],
    [
      'deep JSON',
      { method: 'POST', url: '/v1/things', headers: json, payload: deep(100) },
      422,
      'json_too_deep',
    ],
    ['an unforeseen error', { method: 'GET', url: '/v1/broken' }, 500, 'internal'],
    ['an explained error', { method: 'GET', url: '/v1/away' }, 503, 'postgres_unavailable'],
  ] as const)('%s', async (_what, request, status, code) => {
    const reply = await server().inject(request as never)
    expect(reply.statusCode).toBe(status)
    expect(reply.headers['content-type']).toBe('application/problem+json')
    expect(reply.json()).toMatchObject({ code, status, request_id: reply.headers['x-request-id'] })
    expect(reply.body).not.toContain('secret')
  })

  test('a 405 names the methods of the path, a 503 says when to try again', async () => {
    const app = server()
    expect((await app.inject({ method: 'PUT', url: '/v1/things' })).headers['allow']).toBe('POST')
    expect((await app.inject({ method: 'DELETE', url: '/v1/things/7' })).headers['allow']).toBe('GET, HEAD')
    expect((await app.inject({ method: 'GET', url: '/v1/away' })).headers['retry-after']).toBe('1')
  })
})

test('a plain request id is echoed, any other is made anew', async () => {
  const app = server()
  const url = '/v1/things/1'
  const echoed = await app.inject({ url, headers: { 'x-request-id': 'abc-1' } })
  expect(echoed.headers['x-request-id']).toBe('abc-1')
  const made = await app.inject({ url, headers: { 'x-request-id': 'a b"c' } })
  expect(made.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
})

test('a route without a scope cannot be added', () => {
  const app = server()
  expect(() => app.get('/v1/open', () => ({}))).toThrow('declares no scope')
})

test('a server that listens tells its real port, and bytes that are no HTTP get a problem', async () => {
  const url = await listenHttp(server(), { host: '127.0.0.1', port: 0, change: 'HEADRACE_PORT' })
  expect((await fetch(`${url}/v1/things/1`)).status).toBe(200)
  const { connect } = await import('node:net')
  const answer = await new Promise<string>((resolve) => {
    let text = ''
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write('nonsense\r\n\r\n'))
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString()
    })
    socket.on('close', () => resolve(text))
  })
  expect(answer).toContain('"code":"invalid_header"')
})

test('a request that breaks while it is answered gets no second answer within the first', async () => {
  const app = server()
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  async function* parts(): AsyncGenerator<string> {
    yield 'first'
    await ended
  }
  await app.register((inner, _options, done) => {
    inner.removeAllContentTypeParsers()
    inner.addContentTypeParser('*', (_request, _body, parsed) => parsed(null))
    const config = { scope: 'runs:write' } as const
    inner.post('/v1/both-ways', { config }, (_request, reply) => reply.send(Readable.from(parts())))
    done()
  })
  const url = await listenHttp(app, { host: '127.0.0.1', port: 0, change: 'HEADRACE_PORT' })
  const { connect } = await import('node:net')
  const answer = await new Promise<string>((resolve) => {
    let text = ''
    const head = 'POST /v1/both-ways HTTP/1.1\r\nhost: x\r\ncontent-type: a/b\r\ntransfer-encoding: chunked'
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () =>
      socket.write(`${head}\r\n\r\n1\r\na\r\n`),
    )
    socket.on('data', (bytes: Buffer) => {
      const before = text.includes('first')
      text += bytes.toString()
      if (!before && text.includes('first')) socket.write('no chunk\r\n')
    })
    socket.on('close', () => resolve(text))
  })
  end()
  expect(answer).toContain('first')
  expect(answer.split('HTTP/1.1 ')).toHaveLength(2)
  expect(answer.endsWith('0\r\n\r\n')).toBe(false)
})

describe('a query', () => {
  const schema = z.strictObject({
    limit: limitParameter,
    cursor: cursorParameter(z.object({ id: z.string() })),
  })
  const code = (query: unknown): unknown => {
    try {
      return parseQuery(schema, query)
    } catch (error) {
      return error instanceof ProblemError ? [error.code, error.errors?.map((fault) => fault.pointer)] : error
    }
  }

  test('has defaults, and a cursor comes back as it was given', () => {
    expect(parseQuery(schema, {})).toEqual({ limit: 50 })
    expect(parseQuery(schema, { limit: '7', cursor: encodeCursor({ id: 'x' }) })).toEqual({
      limit: 7,
      cursor: { id: 'x' },
    })
  })

  test.each([
    [{ limit: '0' }, ['invalid_query', ['?limit']]],
    [{ limit: '201' }, ['invalid_query', ['?limit']]],
    [{ limit: ['1', '2'] }, ['invalid_query', ['?limit']]],
    [{ limti: '1' }, ['invalid_query', ['?limti']]],
    [{ cursor: 'nonsense' }, ['invalid_cursor', ['?cursor']]],
    [{ cursor: encodeCursor({ id: 1 }) }, ['invalid_cursor', ['?cursor']]],
    [{ cursor: 'x', limit: 'y' }, ['invalid_query', ['?limit', '?cursor']]],
  ])('%o is refused', (query, expected) => {
    expect(code(query)).toEqual(expected)
  })
})

test('a body may be packed with gzip, and reaches its route unpacked', async () => {
  const sent = { text: 'é'.repeat(100) }
  const [payload, url] = [gzipSync(JSON.stringify(sent)), '/v1/things']
  for (const encoding of ['gzip', 'x-gzip', 'GZIP']) {
    const headers = { ...json, 'content-encoding': encoding }
    const reply = await server().inject({ method: 'POST', url, headers, payload })
    expect([reply.statusCode, reply.json()]).toEqual([200, { got: sent }])
  }
})

test('a bomb is unpacked to the limit of its route and no further', async () => {
  const packed = Readable.from([gzipSync(Buffer.alloc(64 * 1024 * 1024)), Buffer.alloc(1)])
  const unpacked = decodeBody(packed, 'gzip', 100_000)
  let bytes = 0
  const read = async (): Promise<void> => {
    for await (const chunk of unpacked as AsyncIterable<Buffer>) bytes += chunk.length
  }
  await expect(read()).rejects.toMatchObject({ code: 'body_too_large' })
  expect(bytes).toBeLessThanOrEqual(100_000)
})

test('a server that stops serves who is connected once more, and that ends the connection', async () => {
  const app = server()
  const url = await listenHttp(app, { host: '127.0.0.1', port: 0, change: 'HEADRACE_PORT' })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ask = async (): Promise<[number | undefined, string | undefined]> => {
    const [answer] = (await once(get(`${url}/v1/things/1`, { agent }), 'response')) as [IncomingMessage]
    await answer.toArray()
    return [answer.statusCode, answer.headers.connection]
  }
  expect(await ask()).toEqual([200, 'keep-alive'])
  const closed = app.close()
  expect(await ask()).toEqual([200, 'close'])
  await closed
  await expect(ask()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('a packed body whose request is answered unread stays unread, whatever it holds, and its connection goes on', async () => {
  const body = new PassThrough()
  decodeBody(body, 'gzip', 1_000)
  body.end('no gzip')
  await new Promise(setImmediate)
  expect(body.readableLength).toBe(7)
  const url = await listenHttp(server(), { host: '127.0.0.1', port: 0, change: 'HEADRACE_PORT' })
  const send = async (headers: Record<string, string>, payload: Buffer): Promise<number> => {
    const answer = await fetch(`${url}/v1/things`, { method: 'POST', headers, body: new Uint8Array(payload) })
    await answer.arrayBuffer()
    return answer.status
  }
  const other = { ...gzip, 'content-type': 'text/plain' }
  expect(await send(other, Buffer.from('no gzip'))).toBe(415)
  expect(await send(gzip, Buffer.from('no gzip'))).toBe(400)
  expect(await send(gzip, gzipSync('{}'))).toBe(200)
})

test('a packed body that ends before anybody reads it is told as one that is not whole', async () => {
  const body = new PassThrough()
  const unpacked = decodeBody(body, 'gzip', 1_000)
  body.destroy()
  await new Promise((closed) => body.once('close', closed))
  await expect(unpacked.toArray()).rejects.toMatchObject({ code: 'invalid_encoding' })
})
