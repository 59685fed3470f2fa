import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ApiError } from '../errors/api-error.ts'
import { Client } from './client.ts'

let answers: ((request: IncomingMessage, response: ServerResponse) => void)[]
let asked: { url: string; lastId: string | undefined }[]
let client: Client
let stop: () => Promise<void>

beforeEach(async () => {
  answers = []
  asked = []
  const server = createServer((request, response) => {
    asked.push({ url: request.url ?? '', lastId: request.headers['last-event-id'] as string | undefined })
    const answer = answers.shift()
    if (answer === undefined) response.destroy()
    else answer(request, response)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  client = new Client({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  stop = async () =>
    await new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
})
afterEach(async () => await stop())

const event = (n: number): string =>
  `id: at-${n}\nevent: event\ndata: ${JSON.stringify({
    id: `e${n}`,
    source: 's',
    topic: 'orders/créé',
    event_type: null,
    data: { n },
    key: null,
    stream: 'orders',
    partition: 0,
    sequence_id: n,
    created_at: '2026-11-23T12:00:00.000Z',
  })}\n\n`

/** Sends these pieces of bytes, then breaks the connection, or leaves it open. */
const sending =
  (text: string, { stays = false, pieceBytes = 7 } = {}) =>
  (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const bytes = Buffer.from(text)
    const send = (at: number): void => {
      if (at < bytes.length) {
        response.write(bytes.subarray(at, at + pieceBytes), () => setImmediate(() => send(at + pieceBytes)))
      } else if (!stays) response.destroy()
    }
    send(0)
  }

const refusing =
  (status: number, code: string, retryable: boolean) =>
  (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/problem+json' })
    response.end(JSON.stringify({ code, status, detail: `it is ${code}`, retryable, request_id: 'r' }))
  }

async function take(count: number, options: Parameters<Client['events']['stream']>[0]): Promise<number[]> {
  const seen: number[] = []
  for await (const { sequenceId } of client.events.stream(options)) {
    seen.push(sequenceId)
    if (seen.length === count) break
  }
  return seen
}

test('a connection that breaks is begun again behind the last event, and an event cut in its midst comes whole', async () => {
  answers = [
    sending(`retry: 1000\nid: at-0\n\n${event(1)}${event(2)}${event(3).slice(0, -20)}`),
    refusing(503, 'kafka_unavailable', true),
    sending(`id: at-2\n\n${event(3)}: keep-alive\nid: at-8\n\n`),
    sending(event(9), { stays: true }),
  ]
  expect(await take(4, { pattern: 'orders/**', key: 'ключ', from: new Date(0) })).toEqual([1, 2, 3, 9])
  const [first] = asked
  expect(first!.url).toBe(
    '/v1/events/stream?pattern=orders%2F**&key=%D0%BA%D0%BB%D1%8E%D1%87&from=1970-01-01T00%3A00%3A00.000Z',
  )
  expect(asked.map(({ lastId }) => lastId)).toEqual([undefined, 'at-2', 'at-2', 'at-8'])
})

test('an event tells the place behind it, where another process goes on', async () => {
  answers = [sending(event(5), { stays: true })]
  for await (const { resumeId, topic, data } of client.events.stream({ stream: 'orders', after: 'at-4' })) {
    expect([resumeId, topic, data]).toEqual(['at-5', 'orders/créé', { n: 5 }])
    break
  }
  expect(asked[0]!.lastId).toBe('at-4')
})

test('what is refused for good is thrown, also in the midst of a stream', async () => {
  answers = [refusing(404, 'stream_not_found', false)]
  await expect(take(1, { stream: 'none' })).rejects.toMatchObject({ code: 'stream_not_found', status: 404 })
  const removed = JSON.stringify({
    code: 'stream_not_found',
    status: 404,
    detail: 'removed',
    retryable: false,
  })
  answers = [sending(`${event(1)}event: problem\ndata: ${removed}\n\n`)]
  await expect(take(2, { stream: 'orders' })).rejects.toBeInstanceOf(ApiError)
})

test('events that are gone are an error, unless somebody takes note', async () => {
  const gap = 'id: at-9\nevent: gap\ndata: {"partition":0,"from":2,"to":9}\n\n'
  answers = [sending(`${event(1)}${gap}${event(9)}`)]
  await expect(take(2, { stream: 'orders' })).rejects.toMatchObject({ code: 'event_gap' })
  answers = [sending(`${event(1)}${gap}${event(9)}`, { stays: true })]
  const gaps: unknown[] = []
  expect(await take(2, { stream: 'orders', onGap: (each) => gaps.push(each) })).toEqual([1, 9])
  expect(gaps).toEqual([{ partition: 0, from: 2, to: 9 }])
})

test('aborting ends the iteration with its reason', async () => {
  answers = [sending(event(1), { stays: true })]
  const leaving = new AbortController()
  const events = client.events.stream({ stream: 'orders', signal: leaving.signal })
  expect((await events.next()).value.sequenceId).toBe(1)
  const next = events.next()
  leaving.abort(new Error('enough'))
  await expect(next).rejects.toThrow('enough')
})
