import { once } from 'node:events'
import { type ClientRequest, request as httpRequest } from 'node:http'
import { setCheckpointHandler } from '@headrace/core'
import { silentLogger, type RunningApp } from '@headrace/service'
import { eventually, freePort, type OwnKafka, readTopic, startOwnKafka } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { parseGatewayConfig, startGateway } from './index.ts'

let kafka: OwnKafka
const running: RunningApp[] = []

beforeAll(async () => {
  kafka = await startOwnKafka()
})
afterEach(async () => {
  setCheckpointHandler(null)
  await Promise.all(running.splice(0).map(async (gateway) => await gateway.stop()))
})
afterAll(async () => await kafka.stop())

async function gatewayTo(brokers: string[]): Promise<RunningApp> {
  const config = parseGatewayConfig({
    HEADRACE_AUTH: 'off',
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_PREFIX: 'away',
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_ORCHESTRATOR_URL: 'http://127.0.0.1:1',
  })
  const gateway = await startGateway({ config, log: silentLogger })
  running.push(gateway)
  return gateway
}

interface Answer {
  status: number
  retryAfter: string | null
  body: { code?: string; events?: { id?: string; sequence_id?: number; problem?: { code: string } }[] }
}

async function post(gateway: RunningApp, body: unknown): Promise<Answer> {
  const answer = await fetch(`${gateway.url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return {
    status: answer.status,
    retryAfter: answer.headers.get('retry-after'),
    body: (await answer.json()) as Answer['body'],
  }
}
const ready = async (gateway: RunningApp): Promise<number> =>
  (await fetch(`${gateway.managementUrl}/readyz`)).status

interface Lines {
  outgoing: ClientRequest
  /** What was answered so far. */
  answers: () => { line?: number; sequence_id?: number; problem?: { code: string } }[]
  ended: Promise<void>
}

/** Lines of NDJSON, sent one by one. */
function lineStream(gateway: RunningApp): Lines {
  const headers = { 'content-type': 'application/x-ndjson' }
  const outgoing = httpRequest(`${gateway.url}/v1/events`, { method: 'POST', headers })
  let text = ''
  const read = async (): Promise<void> => {
    const [response] = (await once(outgoing, 'response')) as [AsyncIterable<Buffer>]
    for await (const chunk of response) text += String(chunk)
  }
  const answers = () =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as ReturnType<Lines['answers']>[number])
  return { outgoing, answers, ended: read() }
}
const lineOf = (data: number): string => `${JSON.stringify({ topic: 'lines/x', data, id: `l${data}` })}\n`

test('while Kafka is away publishers are told 503 with Retry-After, and lines under way each their fate; when it is back the gateway goes on by itself', async () => {
  const gateway = await gatewayTo(kafka.brokers)
  expect((await post(gateway, { topic: 'outage/x', data: 0 })).status).toBe(200)
  const lines = lineStream(gateway)
  lines.outgoing.write(lineOf(1))
  await eventually('a line is kept', () => lines.answers().length === 1)
  await kafka.kill()
  await kafka.refused()
  lines.outgoing.write(lineOf(2))
  await eventually('a line failed', () => lines.answers().length === 2)
  lines.outgoing.end(lineOf(3))
  await lines.ended
  const [kept, failed, behind] = lines.answers()
  expect(kept).toMatchObject({ line: 1, sequence_id: expect.any(Number) as number })
  expect(['kafka_unavailable', 'unknown']).toContain(failed?.problem?.code)
  expect(behind).toMatchObject({ line: 3, problem: { code: 'not_attempted' } })
  for (const body of [
    { topic: 'outage/x', data: 1, id: 'a' },
    { topic: 'unseen/x', data: 1, id: 'a' },
    { events: [1, 2, 3].map((n) => ({ topic: 'outage/x', data: n })) },
  ]) {
    const answer = await post(gateway, body)
    expect(answer.status).toBe(503)
    expect(answer.retryAfter).toBe('1')
    // The connection may have broken with the first of them under way; that one's fate Kafka alone knows.
    expect(['kafka_unavailable', 'unknown']).toContain(answer.body.code)
  }
  await kafka.refused()
  expect(await ready(gateway)).toBe(503)
  await kafka.start()
  await eventually('an event is accepted again', async () => {
    const answer = await post(gateway, { topic: 'outage/x', data: 'again', id: 'again' })
    return answer.status === 200
  })
  expect(await ready(gateway)).toBe(200)
})

test('when the gateway stops lines end with a problem that is no line’s own', async () => {
  const gateway = await gatewayTo(kafka.brokers)
  const { outgoing, answers, ended } = lineStream(gateway)
  outgoing.on('error', () => undefined)
  outgoing.write(lineOf(7))
  await eventually('the first line is kept', () => answers().length === 1)
  await Promise.all([gateway.stop(), ended])
  expect(answers()).toMatchObject([{ line: 1 }, { problem: { code: 'shutting_down' } }])
  outgoing.destroy()
})

test('a gateway that was started before Kafka serves as soon as Kafka is there', async () => {
  await kafka.stop()
  const gateway = await gatewayTo(kafka.brokers)
  expect(await post(gateway, { topic: 'early/x', data: 1 })).toMatchObject({
    status: 503,
    retryAfter: '1',
    body: { code: 'kafka_unavailable' },
  })
  await kafka.start()
  await eventually('an event is accepted', async () => {
    return (await post(gateway, { topic: 'early/x', data: 1 })).status === 200
  })
})

test('an address at which nobody listens is answered in time', async () => {
  const gateway = await gatewayTo([`127.0.0.1:${await freePort()}`])
  expect(await post(gateway, { topic: 'nobody/x', data: 1 })).toMatchObject({ status: 503 })
  for (const path of [
    '/v1/events?stream=nobody',
    '/v1/events/nobody/0/0',
    '/v1/streams',
    '/v1/streams/nobody',
  ]) {
    const answer = await fetch(`${gateway.url}${path}`)
    expect([path, answer.status, ((await answer.json()) as Answer['body']).code]).toEqual([
      path,
      503,
      'kafka_unavailable',
    ])
  }
})

test('P1: what was answered with a sequence id is in the log once, though Kafka is killed in the middle', async () => {
  const gateway = await gatewayTo(kafka.brokers)
  expect((await post(gateway, { topic: 'kill/x', data: 'first', id: 'first' })).status).toBe(200)
  const told = new Map<string, 'written' | 'unknown' | 'refused'>([['first', 'written']])
  let sent = 0
  const loading = new AbortController()
  const publisher = async (): Promise<void> => {
    while (!loading.signal.aborted) {
      const ids = Array.from({ length: 20 }, () => `e${sent++}`)
      const answer = await post(gateway, {
        events: ids.map((id) => ({ topic: 'kill/x', data: id, id, key: id })),
      })
      for (const [index, id] of ids.entries()) {
        const entry = answer.body.events?.[index]
        told.set(
          id,
          entry?.sequence_id !== undefined
            ? 'written'
            : entry?.problem?.code === 'unknown'
              ? 'unknown'
              : 'refused',
        )
      }
    }
  }
  const publishers = [publisher(), publisher(), publisher()]
  const count = (fate: string): number => [...told.values()].filter((each) => each === fate).length
  await eventually('some events are accepted', () => count('written') > 500)
  await kafka.kill()
  await kafka.refused()
  await eventually('some are not', () => count('written') < told.size)
  await kafka.start()
  const whenBack = count('written')
  await eventually('more events are accepted', () => count('written') > whenBack + 500)
  loading.abort()
  await Promise.all(publishers)

  const log = Map.groupBy(
    await readTopic(kafka.brokers, 'away.events.kill'),
    ({ headers }) => headers['ce_id'] ?? '',
  )
  const timesOf = (fate: string): Set<number> =>
    new Set([...told].filter(([, each]) => each === fate).map(([id]) => log.get(id)?.length ?? 0))
  expect(timesOf('written')).toEqual(new Set([1]))
  expect([...timesOf('refused')].filter((times) => times > 0)).toEqual([])
  expect([...timesOf('unknown')].filter((times) => times > 1)).toEqual([])
})

test('a stop lets the events in flight be written and answered', async () => {
  const gateway = await gatewayTo(kafka.brokers)
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  setCheckpointHandler((name) => {
    if (name !== 'gateway.before-produce') return undefined
    reach()
    return released
  })
  const answer = post(gateway, { topic: 'stopping/x', data: 1 })
  await reached
  const stopped = gateway.stop()
  await eventually('it takes no more requests', async () => {
    return await fetch(`${gateway.url}/v1/streams`).then(
      (refused) => refused.status === 503,
      () => true,
    )
  })
  release()
  expect((await answer).status).toBe(200)
  await stopped
  expect(await readTopic(kafka.brokers, 'away.events.stopping')).toHaveLength(1)
})
