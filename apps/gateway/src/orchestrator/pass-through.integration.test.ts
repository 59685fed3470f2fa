import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { silentLogger, type RunningApp } from '@headrace/service'
import { eventually, infra } from '@headrace/testing'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseGatewayConfig, startGateway } from '../index.ts'

const { brokers, prefix } = await infra()
type Handler = (request: IncomingMessage, response: ServerResponse) => void
let handler: Handler
let server: Server
let gateway: RunningApp

beforeEach(async () => {
  server = createServer((request, response) => handler(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const config = parseGatewayConfig({
    HEADRACE_AUTH: 'off',
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_PREFIX: prefix,
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_ORCHESTRATOR_URL: `http://127.0.0.1:${port}`,
  })
  handler = (_request, response) => response.end('{}')
  gateway = await startGateway({ config, log: silentLogger })
})
afterEach(async () => {
  await gateway.stop()
  server.closeAllConnections()
  await new Promise<void>((resolve) => server.close(() => resolve()))
})

async function textOf(request: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

test('the rest of /v1 goes on as it came, with the key of the caller, and its answer comes back', async () => {
  const seen: Record<string, unknown>[] = []
  handler = (request, response) => {
    if (request.url === '/v1/instances') {
      response.writeHead(204).end()
      return
    }
    const answer = (body: string): void => {
      const { method, url, headers } = request
      seen.push({
        method,
        url,
        body,
        key: headers.authorization,
        id: headers['x-request-id'],
        hop: headers['x-hop'],
      })
      response
        .writeHead(201, { 'content-type': 'application/json', location: '/v1/runs/1' })
        .end('{"id":"1"}')
    }
    textOf(request).then(answer, () => response.destroy())
  }
  const body = `{"workflow":"report","input":${JSON.stringify('x'.repeat(100_000))}}`
  const answer = await fetch(`${gateway.url}/v1/runs?a=b%20c`, {
    method: 'POST',
    headers: {
      authorization: 'Bearer hr_dev_1_s',
      'x-request-id': 'r-1',
      'content-type': 'application/json',
    },
    body,
  })
  expect([answer.status, answer.headers.get('location'), await answer.json()]).toEqual([
    201,
    '/v1/runs/1',
    { id: '1' },
  ])
  expect(seen).toEqual([
    { method: 'POST', url: '/v1/runs?a=b%20c', body, key: 'Bearer hr_dev_1_s', id: 'r-1', hop: undefined },
  ])
})

test('a body and an answer of unknown length are streamed, not gathered', async () => {
  handler = (request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain' })
    request.pipe(response)
  }
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  const first = writer.write(Buffer.from('one'))
  const answer = await fetch(`${gateway.url}/v1/anything`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body: readable,
    duplex: 'half',
  })
  const reader = answer.body!.getReader()
  await first
  expect(Buffer.from((await reader.read()).value).toString()).toBe('one')
  await writer.write(Buffer.from('two'))
  expect(Buffer.from((await reader.read()).value).toString()).toBe('two')
  await writer.close()
  expect((await reader.read()).done).toBe(true)
})

test('a caller who goes away takes the request behind the gateway with it', async () => {
  let arrived = 0
  let gone = 0
  handler = (request, response) => {
    if (request.url === '/v1/instances') {
      response.writeHead(204).end()
      return
    }
    arrived += 1
    response.once('close', () => (gone += 1))
  }
  const leaving = new AbortController()
  const answer = fetch(`${gateway.url}/v1/runs/1?wait=30s`, { signal: leaving.signal }).catch(() => null)
  await eventually('the request arrived', () => arrived === 1)
  leaving.abort()
  await answer
  await eventually('it was ended', () => gone === 1)
})

test('an orchestrator that breaks off is told as unavailable, and as soon as it answers again all goes on', async () => {
  handler = (_request, response) => response.destroy()
  const broken = await fetch(`${gateway.url}/v1/runs`)
  expect([
    broken.status,
    broken.headers.get('retry-after'),
    ((await broken.json()) as { code: string }).code,
  ]).toEqual([503, '1', 'orchestrator_unavailable'])
  handler = (_request, response) => response.end('{"data":[]}')
  expect((await fetch(`${gateway.url}/v1/runs`)).status).toBe(200)
})

test('a stop does not wait for those who only wait for a run', async () => {
  let arrived = 0
  handler = (request, response) => {
    if (request.url === '/v1/instances') response.writeHead(204).end()
    else arrived += 1
  }
  const waiting = fetch(`${gateway.url}/v1/runs/1?wait=30s`)
  await eventually('the request arrived', () => arrived === 1)
  const stopped = gateway.stop()
  const answer = await waiting
  expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([503, 'shutting_down'])
  await stopped
})

test('the instance tells the orchestrator that it lives', async () => {
  const told: unknown[] = []
  handler = (request, response) => {
    const answer = (body: string): void => {
      if (request.url === '/v1/instances') told.push(JSON.parse(body))
      response.writeHead(204).end()
    }
    textOf(request).then(answer, () => response.destroy())
  }
  const config = parseGatewayConfig({
    HEADRACE_AUTH: 'off',
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_ORCHESTRATOR_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  })
  const other = await startGateway({ config, log: silentLogger })
  await eventually('it was told', () => told.length > 0)
  await other.stop()
  expect(told[0]).toEqual({
    id: expect.stringMatching(/^gateway-/),
    component: 'gateway',
    version: expect.any(String),
  })
})

test('the status joins what the orchestrator knows with what the gateway sees', async () => {
  const up = { status: 'ok', instances: 2 }
  handler = (_request, response) =>
    response.end(
      JSON.stringify({
        status: 'ok',
        version: '0',
        kafka: { status: 'ok', brokers: [] },
        postgres: { status: 'ok' },
        components: { gateway: up, trigger_service: up, orchestrator: up },
      }),
    )
  const answer = await fetch(`${gateway.url}/v1/status`)
  expect(answer.status).toBe(200)
  expect(await answer.json()).toMatchObject({
    status: 'ok',
    kafka: { status: 'ok', brokers: [expect.any(String)] },
    components: { gateway: up, trigger_service: up },
  })
  handler = (_request, response) => response.destroy()
  const alone = await fetch(`${gateway.url}/v1/status`)
  expect(alone.status).toBe(503)
  expect(await alone.json()).toMatchObject({
    status: 'degraded',
    kafka: { status: 'ok' },
    postgres: { status: 'unknown' },
    components: { gateway: { status: 'ok', instances: 1 }, orchestrator: { status: 'down', instances: 0 } },
  })
})

test('a packed body is passed on packed: its limit is that of the route that takes it', async () => {
  const packed = gzipSync('{"workflow":"report"}')
  const seen: [encoding: string | undefined, bytes: number][] = []
  handler = (request, response) => {
    const chunks: Buffer[] = []
    request
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .on('end', () => {
        if (request.url === '/v1/runs')
          seen.push([request.headers['content-encoding'], Buffer.concat(chunks).length])
        response.end('{}')
      })
  }
  const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
  const answer = await fetch(`${gateway.url}/v1/runs`, { method: 'POST', headers, body: packed })
  expect(answer.status).toBe(200)
  expect(seen).toEqual([['gzip', packed.length]])
})
