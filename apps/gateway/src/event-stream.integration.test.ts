import type { Problem } from '@headrace/schemas'
import { type RunningApp, silentLogger } from '@headrace/service'
import { infra } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseGatewayConfig, startGateway } from './index.ts'

const { brokers, prefix } = await infra()
const started = async (): Promise<RunningApp> =>
  await startGateway({
    config: parseGatewayConfig({
      HEADRACE_AUTH: 'off',
      HEADRACE_KAFKA_BROKERS: brokers.join(','),
      HEADRACE_PREFIX: prefix,
      HEADRACE_PORT: '0',
      HEADRACE_MANAGEMENT_PORT: '0',
      HEADRACE_STREAM_PARTITIONS: '3',
      HEADRACE_ORCHESTRATOR_URL: 'http://127.0.0.1:1',
    }),
    log: silentLogger,
  })
let gateway: RunningApp
beforeAll(async () => {
  gateway = await started()
})
afterAll(async () => await gateway.stop())

async function publish(topic: string, ...data: unknown[]): Promise<void> {
  const events = data.map((each, n) => ({ topic, data: each, key: `k${n % 7}` }))
  const answer = await fetch(`${gateway.url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ events }),
  })
  expect(answer.status).toBe(200)
}

interface Block {
  id: string | null
  event: string | null
  data: { data: unknown; key: string; partition: number; sequence_id: number } & Record<string, unknown>
}

/** One connection, block by block as the bytes come; ends with it. */
async function* follow(
  query: string,
  { lastEventId, url = gateway.url ?? '' }: { lastEventId?: string | null; url?: string } = {},
): AsyncGenerator<Block, void, undefined> {
  const leaving = new AbortController()
  const answer = await fetch(`${url}/v1/events/stream?${query}`, {
    signal: leaving.signal,
    ...(lastEventId ? { headers: { 'last-event-id': lastEventId } } : {}),
  })
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
  try {
    let text = ''
    for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      const blocks = text.split('\n\n')
      text = blocks.pop() ?? ''
      for (const block of blocks) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? null
        yield {
          id: field('id'),
          event: field('event'),
          data: JSON.parse(field('data') ?? 'null') as Block['data'],
        }
      }
    }
  } finally {
    leaving.abort()
  }
}

async function takeEvents(blocks: AsyncGenerator<Block, void, undefined>, count: number): Promise<Block[]> {
  const taken: Block[] = []
  while (taken.length < count) {
    const { value, done } = await blocks.next()
    if (done === true) throw new Error(`ended after ${taken.length} events`)
    if (value.event === 'event') taken.push(value)
  }
  await blocks.return()
  return taken
}

const refused = async (query: string, headers: Record<string, string> = {}) => {
  const answer = await fetch(`${gateway.url}/v1/events/stream?${query}`, { headers })
  return { status: answer.status, body: (await answer.json()) as Problem }
}

describe('a reader', () => {
  test('that broke off again and again while events came has each once, in the order of its key', async () => {
    await publish('broken/off', -1)
    const all = Array.from({ length: 300 }, (_, n) => n)
    const seen: Block[] = []
    const first = follow('pattern=broken/**')
    // What names the place to come back to is there before the first event is.
    let lastEventId = (await first.next()).value!.id
    await first.return()
    const publishing = (async () => {
      for (let n = 0; n < all.length; n += 20) await publish('broken/off', ...all.slice(n, n + 20))
    })()
    for (const count of [1, 2, 40, 7, 100, 3, 147]) {
      const taken = await takeEvents(follow('pattern=broken/**', { lastEventId }), count)
      seen.push(...taken)
      lastEventId = taken.at(-1)!.id
    }
    await publishing
    expect(seen.map(({ data }) => data.data as number).toSorted((a, b) => a - b)).toEqual(all)
    for (const partition of [0, 1, 2]) {
      const offsets = seen
        .filter(({ data }) => data.partition === partition)
        .map(({ data }) => data.sequence_id)
      expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
    }
  })

  test('is told what the list tells, from where it asked for', async () => {
    await publish('begin/a', 'old')
    await publish('begin/a', 'new')
    const list = async () =>
      ((await (await fetch(`${gateway.url}/v1/events?topic=begin/a`)).json()) as { data: Block['data'][] })
        .data
    const events = await list()
    const earliest = await takeEvents(follow('topic=begin/a&from=earliest'), 2)
    expect(earliest.map(({ data }) => data)).toEqual(events)
    const [late] = await takeEvents(follow(`topic=begin/a&from=${String(events[1]!['created_at'])}`), 1)
    expect(late!.data.data).toBe('new')
    const latest = follow('stream=begin')
    await latest.next()
    await publish('begin/b', 'next')
    expect((await takeEvents(latest, 1))[0]!.data.data).toBe('next')
  })

  test('has only what its filter asks for', async () => {
    await publish('some/a', 1, 2)
    await publish('some/b', 3)
    await publish('some/a', 4)
    const taken = await takeEvents(follow('pattern=some/*&key=k0&from=earliest'), 3)
    expect(taken.map(({ data }) => data.data)).toEqual([1, 3, 4])
  })

  test('is told when its stream was removed, and let go', async () => {
    await publish('removed/a', 1)
    const blocks = follow('stream=removed')
    await blocks.next()
    const answer = await fetch(`${gateway.url}/v1/streams/removed?confirm=removed`, { method: 'DELETE' })
    expect(answer.status).toBe(204)
    const rest: Block[] = []
    for await (const block of blocks) rest.push(block)
    expect(rest).toMatchObject([{ event: 'problem', data: { code: 'stream_not_found' } }])
  })

  test('is let go when its gateway stops, and goes on at another', async () => {
    await publish('moved/a', 0)
    const other = await started()
    const blocks = follow('stream=moved', { url: other.url ?? '' })
    const { id } = (await blocks.next()).value!
    await other.stop()
    expect(await blocks.next()).toMatchObject({ done: true })
    await publish('moved/a', 1)
    const [event] = await takeEvents(follow('stream=moved', { lastEventId: id }), 1)
    expect(event!.data.data).toBe(1)
  })
})

describe('a reader is refused', () => {
  test.each([
    ['pattern=none/**', {}, 404, 'stream_not_found'],
    ['', {}, 422, 'invalid_query'],
    ['topic=a/b&pattern=a/*', {}, 422, 'invalid_query'],
    ['topic=a/b&from=yesterday', {}, 422, 'invalid_query'],
    ['topic=a/b&limit=5', {}, 422, 'invalid_query'],
    ['topic=a/b', { 'last-event-id': 's1.other.0-5' }, 400, 'invalid_header'],
  ])('%s %j: %i %s', async (query, headers, status, code) => {
    const answer = await refused(query, headers)
    expect([answer.status, answer.body.code]).toEqual([status, code])
  })
})
