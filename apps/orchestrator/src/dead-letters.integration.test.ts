import { createBroker } from '@headrace/broker'
import type { Problem, WireDeadLetter, WireDeadLetterWhole, WireList, WireRun } from '@headrace/schemas'
import { createMetrics, silentLogger, systemClock } from '@headrace/service'
import { openStore } from '@headrace/store'
import { createDatabase, eventually, infra, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { deadLetterGauge } from './dead-letters/dead-letter-gauge.ts'
import { workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
const producer = broker.producer()
const topic = `${prefix}.dead-letters`
let headrace: Started

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  await headrace.lastingWorker({ workflows: [workflowOf('a', 'orders/created')] })
  await eventually('the topic of dead letters is made', async () => await broker.offsets(topic))
})
afterAll(async () => {
  await headrace.stop()
  await broker.close()
})

interface Letter {
  partition?: number
  value?: Buffer | string | null
  headers?: Record<string, string | Buffer>
}

/** Writes a dead letter as the trigger service does; answers its id. */
async function setAside({ partition = 0, value = '{"n":1}', headers = {} }: Letter): Promise<string> {
  const all = { detail: 'because', stream: 'orders', partition: '1', offset: '7', ...headers }
  const [outcome] = await producer.produce([{ topic, partition, key: 'k', value, headers: all }])
  if (outcome?.status !== 'written') throw new Error(JSON.stringify(outcome))
  return `${partition}.${outcome.offset}`
}

const inputOf = (...offsets: number[]): string =>
  JSON.stringify({
    events: offsets.map((offset) => ({
      sequence_id: offset,
      topic: 'orders/created',
      data: { offset },
      created_at: '2026-11-23T12:00:00.000Z',
      partition: 1,
    })),
  })

const windowLetter = async (headers: Record<string, string> = {}): Promise<string> =>
  await setAside({
    value: inputOf(7, 9),
    headers: { reason: 'filter_error', trigger_id: 'a', incarnation: '3', ...headers },
  })

const recordLetter = async (headers: Record<string, string> = {}, value: string | null = '{"n":1}') =>
  await setAside({
    value,
    headers: {
      reason: 'undecodable',
      record_key: 'orders/created',
      ce_id: 'first',
      ce_subject: 'orders/created',
      'content-type': 'application/json',
      ...headers,
    },
  })

const act = async (id: string, action: 'redrive' | 'discard', body?: unknown) =>
  await headrace.call<WireDeadLetter & Omit<Problem, 'status'>>(`/v1/dead-letters/${id}/${action}`, {
    method: 'POST',
    body,
  })
const shown = async (id: string) => (await headrace.call<WireDeadLetterWhole>(`/v1/dead-letters/${id}`)).body
const list = async (query: string) =>
  (await headrace.call<WireList<WireDeadLetter> & { scanned: number }>(`/v1/dead-letters?${query}`)).body
const republished = async (id: string) =>
  (await readTopic(brokers, `${prefix}.events.orders`)).filter(({ headers }) =>
    headers['ce_id']?.startsWith(`dead-letter/${id}/`),
  )

describe('a window that was set aside', () => {
  test('becomes one run when it is redriven 20 times at once, and again', async () => {
    const id = await windowLetter()
    const answers = await Promise.all(
      Array.from(
        { length: 20 },
        async () => await act(id, 'redrive', { reason: 'the filter is fixed', by: 'ann' }),
      ),
    )
    const [first] = answers
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.decision?.run_id ?? ''}`)).size).toBe(
      1,
    )
    expect(first).toMatchObject({
      status: 200,
      body: {
        id,
        status: 'redriven',
        decision: { reason: 'the filter is fixed', by: 'ann', event_id: null },
      },
    })
    const again = await act(id, 'redrive', { by: 'bob' })
    expect(again.body.decision).toEqual(first!.body.decision)
    const { body: runs } = await headrace.call<WireList<WireRun>>(
      '/v1/runs?trigger=a&stream=orders&partition=1&sequence_id=8',
    )
    expect(runs.data.map((run) => run.id)).toEqual([first!.body.decision!.run_id])
    const { body: run } = await headrace.call<WireRun>(`/v1/runs/${first!.body.decision!.run_id}`)
    expect(run).toMatchObject({
      workflow: 'a',
      input: JSON.parse(inputOf(7, 9)),
      trigger: { id: 'a', partition: 1, first_sequence_id: 7, last_sequence_id: 9, events: 2 },
    })
  })

  test.each([
    ['was cut', { truncated: '1' }, /cut/],
    ['has a trigger that is gone', { trigger_id: 'gone' }, /gone/],
    ['is the input of a run that failed', { run_id: '0190-run' }, /\/v1\/runs\/0190-run\/retry/],
  ])('is refused, and stays open, when it %s', async (_what, headers, detail) => {
    const id = await windowLetter(headers)
    const { status, body } = await act(id, 'redrive')
    expect([status, body.code]).toEqual([409, 'not_redrivable'])
    expect(body.detail).toMatch(detail)
    expect(await shown(id)).toMatchObject({ status: 'open', decision: null })
  })
})

test('a run that its worker sets aside is a dead letter with its input, and is retried by its own id', async () => {
  const worker = await headrace.lastingWorker({ app: 'checking', workflows: [workflowOf('checked')] })
  const started = await headrace.call<WireRun>('/v1/runs', {
    method: 'POST',
    body: { workflow: 'checked', input: { total: 'x' } },
  })
  const { id: runId } = started.body
  await worker.claim(runId)
  const error = JSON.stringify({ name: 'SchemaValidationError', message: '/total: must be a number' })
  const fail = { kind: 'fail', run_id: runId, epoch: 1, error, set_aside: 'schema_invalid' } as const
  expect(await worker.do(fail)).toEqual([{ kind: 'done' }])
  const letter = await eventually('its dead letter is written', async () => {
    const { data } = await list('reason=schema_invalid')
    return data[0]
  })
  expect(letter).toMatchObject({
    run_id: runId,
    detail: '/total: must be a number',
    source: null,
    status: 'open',
  })
  expect((await shown(letter.id)).value).toBe('{"total":"x"}')
  expect((await act(letter.id, 'redrive')).body.detail).toContain(`/v1/runs/${runId}/retry`)
  const retried = await headrace.call(`/v1/runs/${runId}/retry`, { method: 'POST' })
  expect(retried.status).toBe(201)
})

describe('a record that was set aside', () => {
  test('is published again as it was, under an id of its own that lanes look for', async () => {
    const id = await recordLetter()
    const { status, body } = await act(id, 'redrive')
    expect([status, body.status]).toEqual([200, 'redriven'])
    expect((await act(id, 'redrive')).body.decision).toEqual(body.decision)
    const records = await republished(id)
    expect(records).toHaveLength(1)
    expect(records[0]).toMatchObject({
      partition: 1,
      key: 'orders/created',
      value: '{"n":1}',
      headers: {
        ce_id: body.decision!.event_id,
        ce_source: 'headrace:dead-letter',
        ce_subject: 'orders/created',
        'headrace-dedup': '1',
        'content-type': 'application/json',
      },
    })
  })

  test('is published under the same id when who redrove it died before deciding', async () => {
    const id = await recordLetter()
    const { body } = await act(id, 'redrive')
    const [partition, offset] = id.split('.')
    await headrace.store.general.query(
      `update dead_letters set status = 'open', decided_at = null where partition = $1 and sequence_id = $2`,
      [partition, offset],
    )
    const again = await act(id, 'redrive')
    expect(again.body).toMatchObject({ status: 'redriven', decision: { event_id: body.decision!.event_id } })
    expect((await republished(id)).map(({ headers }) => headers['ce_id'])).toEqual([
      body.decision!.event_id,
      body.decision!.event_id,
    ])
  })

  test('is not published again once repeats of it may be forgotten', async () => {
    const id = await recordLetter()
    await act(id, 'redrive')
    const [partition, offset] = id.split('.')
    await headrace.store.general.query(
      `update dead_letters set status = 'open', decided_at = null, begun_at = now() - interval '24 h' where partition = $1 and sequence_id = $2`,
      [partition, offset],
    )
    const { status, body } = await act(id, 'redrive')
    expect([status, body.code]).toEqual([409, 'not_redrivable'])
    expect(await republished(id)).toHaveLength(1)
  })

  test.each([
    ['is still no event', {}, '{', /still no event/],
    ['has no value', {}, null, /still no event/],
    ['was cut', { truncated: '1' }, '{}', /cut/],
    [
      'belongs to a stream that is gone',
      { stream: 'gone', ce_subject: 'gone/x' },
      '{}',
      /stream does not exist/,
    ],
  ])('is refused, and stays open, when it %s', async (_what, headers, value, detail) => {
    const id = await recordLetter(headers, value)
    const { status, body } = await act(id, 'redrive')
    expect([status, body.code]).toEqual([409, 'not_redrivable'])
    expect(body.detail).toMatch(detail)
    expect(await shown(id)).toMatchObject({ status: 'open', decision: null })
  })
})

describe('a decision', () => {
  test('to discard holds against a later redrive, and the other way round', async () => {
    const discarded = await windowLetter()
    const { body } = await act(discarded, 'discard', { reason: 'a test', by: 'ann' })
    expect(body).toMatchObject({
      status: 'discarded',
      decision: { reason: 'a test', by: 'ann', run_id: null, event_id: null, at: expect.any(String) },
    })
    expect((await act(discarded, 'discard')).body.decision).toEqual(body.decision)
    expect((await act(discarded, 'redrive')).body.code).toBe('dead_letter_decided')
    const redriven = await windowLetter()
    await act(redriven, 'redrive')
    expect((await act(redriven, 'discard')).body.code).toBe('dead_letter_decided')
  })

  test.each([
    ['0.99999', undefined, 404, 'dead_letter_not_found'],
    ['99.0', undefined, 404, 'dead_letter_not_found'],
    ['first', undefined, 404, 'dead_letter_not_found'],
    ['0.0', { why: 'typo' }, 422, 'unknown_field'],
    ['0.0', { reason: 'a\u0000' }, 422, 'contains_nul'],
  ])('about %s with %j is refused: %i %s', async (id, body, status, code) => {
    const answer = await act(id, 'discard', body)
    expect([answer.status, answer.body.code]).toEqual([status, code])
  })
})

describe('the list', () => {
  test('has the newest first, over pages and partitions, each once, and only what its filter asks for', async () => {
    const ids = await Promise.all(
      Array.from({ length: 120 }, async (_, n) => {
        const reason = n % 10 === 0 ? 'rare' : 'plenty'
        return await setAside({ partition: n % 3, headers: { reason, trigger_id: 'pages' } })
      }),
    )
    const discarded = ids.filter((_, n) => n % 20 === 0)
    await Promise.all(discarded.map(async (id) => await act(id, 'discard')))
    const all = async (query: string) => {
      const found: WireDeadLetter[] = []
      for (let cursor: string | null = ''; cursor !== null;) {
        const page = await list(`${query}${cursor === '' ? '' : `&cursor=${cursor}`}`)
        found.push(...page.data)
        cursor = page.next_cursor
      }
      return found
    }
    const found = await all('trigger=pages&limit=25')
    expect(found.map(({ id }) => id).toSorted()).toEqual(ids.toSorted())
    const times = found.map((letter) => Date.parse(letter.created_at))
    expect(times).toEqual(times.toSorted((a, b) => b - a))
    const rare = await all('trigger=pages&reason=rare&limit=2')
    expect(rare.map(({ id }) => id).toSorted()).toEqual(ids.filter((_, n) => n % 10 === 0).toSorted())
    const open = await all('trigger=pages&reason=rare&status=open&limit=2')
    expect(open.map(({ id }) => id)).toEqual(rare.map(({ id }) => id).filter((id) => !discarded.includes(id)))
  })

  test('leaves out what was set aside, which one dead letter shows', async () => {
    const id = await setAside({
      value: Buffer.from([0xff, 0]),
      headers: { reason: 'undecodable', own: 'header' },
    })
    const [newest] = (await list('limit=1')).data
    expect(newest).toEqual({
      id,
      reason: 'undecodable',
      detail: 'because',
      source: { stream: 'orders', kafka_topic: null, partition: 1, offset: 7 },
      trigger: null,
      run_id: null,
      created_at: expect.any(String),
      status: 'open',
      decision: null,
    })
    expect(await shown(id)).toEqual({
      ...newest,
      value: null,
      value_base64: '/wA=',
      truncated: false,
      headers: { own: 'header' },
    })
  })

  test.each(['cursor=x', 'cursor=d1.other.0-5', 'status=gone', 'limit=0', 'colour=red'])(
    'refuses ?%s',
    async (query) => {
      expect((await headrace.call(`/v1/dead-letters?${query}`)).status).toBe(422)
    },
  )
})

test('dead letters are counted as open until something is decided about them', async () => {
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  const metrics = createMetrics()
  const counting = deadLetterGauge({ broker, store, prefix, log: silentLogger, clock: systemClock, metrics })
  const open = async (): Promise<number> => {
    await counting.runOnce()
    const text = await metrics.registry.getSingleMetricAsString('headrace_dead_letters_open')
    return Number(/^headrace_dead_letters_open (\d+)$/m.exec(text)?.[1])
  }
  const before = await open()
  const [one, other] = [await windowLetter(), await windowLetter()]
  expect(await open()).toBe(before + 2)
  await act(one, 'discard')
  await act(other, 'redrive')
  expect(await open()).toBe(before)
  await store.close()
})
