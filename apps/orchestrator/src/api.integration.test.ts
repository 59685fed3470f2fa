import {
  limits,
  type Problem,
  type WireList,
  type WireRun,
  type WireStatus,
  type WireTrigger,
} from '@headrace/schemas'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FakeWorker, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
let worker: FakeWorker

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  worker = await headrace.worker({
    workflows: [workflowOf('a', 'orders/created'), workflowOf('b'), workflowOf('c', 'users/*')],
  })
})
afterAll(async () => await headrace.stop())

const post = async (body: unknown, path = '/v1/runs') =>
  await headrace.call<Omit<WireRun, 'status'> & Problem>(path, { method: 'POST', body })
const counts = async (): Promise<unknown> => {
  const { rows } = await headrace.store.general.query(
    `select (select count(*) from runs) as runs, (select count(*) from run_ids) as ids, (select count(*) from steps) as steps,
       (select count(*) from workers) as workers, (select count(*) from workflows) as workflows, (select count(*) from triggers) as triggers`,
  )
  return rows[0]
}

describe('starting runs', () => {
  test('the caller’s own id starts one run, however often it is sent', async () => {
    const body = { workflow: 'b', id: 'report-1', input: [1] }
    const [first, second] = await Promise.all([post(body), post(body)])
    expect(new Set([first.status, second.status])).toEqual(new Set([200, 201]))
    expect(first.body.id).toBe(second.body.id)
    expect(await post({ ...body, on_conflict: 'return' })).toMatchObject({
      status: 200,
      body: { existing: true },
    })
    expect(await post({ ...body, on_conflict: 'fail' })).toMatchObject({
      status: 409,
      body: { code: 'run_exists' },
    })
    expect(await post({ ...body, workflow: 'a' })).toMatchObject({ status: 201 })
  })

  test('payloads come back as they were sent', async () => {
    const input = { zero: '\u0000', half: '\ud800', deep: [[{ ключ: '✓' }]], number: 0.1, nothing: null }
    const { body } = await post({ workflow: 'b', input })
    expect(body.input).toEqual(input)
    expect((await headrace.call(`/v1/runs/${body.id}`)).body['input']).toEqual(input)
    expect((await post({ workflow: 'b' })).body.input).toBeNull()
  })
})

describe('bad input is told by its own code and changes nothing', () => {
  const valid = { workflow: 'b' }
  const large = 'x'.repeat(limits.runInputBytesMax)
  const cases: [string, () => Promise<{ status: number; body: Problem }>, number, string, string | null][] = [
    [
      'an unknown workflow',
      async () => await post({ workflow: 'none' }),
      404,
      'workflow_not_found',
      '/workflow',
    ],
    ['no workflow', async () => await post({}), 422, 'required', '/workflow'],
    [
      'a workflow of a wrong type',
      async () => await post({ workflow: 7 }),
      422,
      'invalid_field',
      '/workflow',
    ],
    ['an unknown field', async () => await post({ ...valid, inptu: 1 }), 422, 'unknown_field', '/inptu'],
    [
      'a NUL in a tag',
      async () => await post({ ...valid, tags: { a: '\u0000' } }),
      422,
      'contains_nul',
      '/tags/a',
    ],
    ['a NUL in an id', async () => await post({ ...valid, id: 'a\u0000' }), 422, 'contains_nul', '/id'],
    [
      'too many tags',
      async () =>
        await post({
          ...valid,
          tags: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`t${i}`, 'x'])),
        }),
      422,
      'invalid_field',
      '/tags',
    ],
    [
      'input over its limit',
      async () => await post({ ...valid, input: large }),
      413,
      'body_too_large',
      '/input',
    ],
    [
      'a body over its limit',
      async () => await post({ ...valid, input: large.repeat(3) }),
      413,
      'body_too_large',
      null,
    ],
    [
      'a number no double holds',
      async () => await post('{"workflow":"b","input":{"n":12345678901234567890}}'),
      422,
      'number_not_exact',
      '/input/n',
    ],
    [
      '__proto__',
      async () => await post('{"workflow":"b","input":{"__proto__":1}}'),
      422,
      'forbidden_key',
      '/input/__proto__',
    ],
    [
      '5,000 levels',
      async () => await post(`{"workflow":"b","input":${'['.repeat(5_000)}${']'.repeat(5_000)}}`),
      422,
      'json_too_deep',
      null,
    ],
    ['broken JSON', async () => await post('{"workflow":'), 400, 'invalid_json', null],
    [
      'text',
      async () =>
        await headrace.call('/v1/runs', {
          method: 'POST',
          body: 'x',
          headers: { 'content-type': 'text/plain' },
        }),
      415,
      'unsupported_media_type',
      null,
    ],
    [
      'an unknown run',
      async () => await headrace.call('/v1/runs/01a7b3c4-0000-7000-8000-000000000000'),
      404,
      'run_not_found',
      null,
    ],
    ['a run id that is none', async () => await headrace.call('/v1/runs/%00'), 404, 'run_not_found', null],
    [
      'an event type that cannot be',
      async () => await headrace.call('/v1/event-types/a%00', { method: 'DELETE' }),
      404,
      'event_type_not_found',
      null,
    ],
    ['a key that cannot be', async () => await headrace.call('/v1/keys/a%00'), 404, 'key_not_found', null],
    [
      'steps of an unknown run',
      async () => await headrace.call('/v1/runs/x/steps'),
      404,
      'run_not_found',
      null,
    ],
    ['a wait too long', async () => await headrace.call('/v1/runs/x?wait=2h'), 422, 'invalid_query', '?wait'],
    [
      'an unknown parameter',
      async () => await headrace.call('/v1/runs?statsu=queued'),
      422,
      'invalid_query',
      '?statsu',
    ],
    [
      'an unknown status',
      async () => await headrace.call('/v1/runs?status=done'),
      422,
      'invalid_query',
      '?status',
    ],
    ['a limit of 0', async () => await headrace.call('/v1/runs?limit=0'), 422, 'invalid_query', '?limit'],
    ['a limit of 201', async () => await headrace.call('/v1/runs?limit=201'), 422, 'invalid_query', '?limit'],
    [
      'a foreign cursor',
      async () => await headrace.call('/v1/runs?cursor=abc'),
      422,
      'invalid_cursor',
      '?cursor',
    ],
    [
      'half a position',
      async () => await headrace.call('/v1/runs?stream=orders'),
      422,
      'invalid_query',
      '?stream',
    ],
    [
      'a tag without a value',
      async () => await headrace.call('/v1/runs?tag=a'),
      422,
      'invalid_query',
      '?tag',
    ],
    [
      'a time that is none',
      async () => await headrace.call('/v1/runs?created_after=now'),
      422,
      'invalid_query',
      '?created_after',
    ],
    [
      'a pattern for a topic',
      async () => await headrace.call('/v1/runs?topic=orders/*'),
      422,
      'invalid_query',
      '?topic',
    ],
    [
      'an event without an id',
      async () => await headrace.call('/v1/runs?event_id='),
      422,
      'invalid_query',
      '?event_id',
    ],
    [
      'an unknown trigger',
      async () => await headrace.call('/v1/triggers/none'),
      404,
      'trigger_not_found',
      null,
    ],
    [
      'pausing an unknown trigger',
      async () => await headrace.call('/v1/triggers/none/pause', { method: 'POST' }),
      404,
      'trigger_not_found',
      null,
    ],
    ['an unknown queue', async () => await headrace.call('/v1/queues/none'), 404, 'queue_not_found', null],
    ['an unknown path', async () => await headrace.call('/v1/none'), 404, 'not_found', null],
    [
      'another method',
      async () => await headrace.call('/v1/runs', { method: 'DELETE' }),
      405,
      'method_not_allowed',
      null,
    ],
    [
      'no protocol',
      async () => await worker.post('heartbeat', {}, { 'headrace-protocol': '' }),
      400,
      'unsupported_protocol',
      null,
    ],
    [
      'another protocol',
      async () => await worker.post('commands', {}, { 'headrace-protocol': '2' }),
      400,
      'unsupported_protocol',
      null,
    ],
    ['no commands', async () => await worker.send([]), 422, 'invalid_field', '/commands'],
    [
      'a command of no kind',
      async () => await worker.send([{ kind: 'dance' } as never]),
      422,
      'invalid_field',
      '/commands/0/kind',
    ],
    [
      'a workflow twice',
      async () =>
        await worker.post('register', {
          ...worker.registration(),
          workflows: [workflowOf('x'), workflowOf('x')],
        }),
      422,
      'registration_conflict',
      '/workflows/1/id',
    ],
    [
      'another app’s workflow',
      async () => await worker.post('register', { ...worker.registration(), worker_id: 'w2', app: 'other' }),
      422,
      'registration_conflict',
      '/workflows/0/id',
    ],
    [
      'a bad pattern',
      async () =>
        await worker.post('register', { ...worker.registration(), workflows: [workflowOf('x', '*/y')] }),
      422,
      'invalid_pattern',
      '/workflows/0/triggers/0/pattern',
    ],
    [
      'an instance of no component',
      async () => await post({ id: 'x', component: 'toaster', version: '1' }, '/v1/instances'),
      422,
      'invalid_field',
      '/component',
    ],
  ]
  test.each(cases)('%s', async (_what, send, status, code, pointer) => {
    const before = await counts()
    const { status: answered, body } = await send()
    expect({ answered, code: body.code }).toEqual({ answered: status, code })
    expect(pointer === null || body.errors?.some((fault) => fault.pointer === pointer)).toBe(true)
    expect(await counts()).toEqual(before)
  })
})

test('lists go on where the last page ended, each item once', async () => {
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push((await post({ workflow: 'c', tags: { page: 'x' } })).body.id)
  const seen: string[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const { body }: { body: WireList<WireRun> } = await headrace.call(
      `/v1/runs?workflow=c&tag=page:x&limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`,
    )
    seen.push(...body.data.map(({ id }) => id))
    cursor = body.next_cursor
  }
  expect(seen).toEqual(ids.toReversed())
  const pages = [await headrace.call<WireList<WireTrigger>>('/v1/triggers?limit=1')]
  pages.push(await headrace.call(`/v1/triggers?limit=1&cursor=${pages[0]!.body.next_cursor}`))
  expect(pages.map(({ body }) => [body.data.map(({ id }) => id), body.next_cursor === null])).toEqual([
    [['a'], false],
    [['c'], true],
  ])
})

test('a trigger shows where it stands on each partition, and is paused and resumed', async () => {
  const { body } = await headrace.call<WireTrigger>('/v1/triggers/a')
  expect(body).toMatchObject({
    workflow: 'a',
    pattern: 'orders/created',
    status: 'live',
    window: { size: 1 },
  })
  expect(body.cursors).toEqual(
    [0, 1, 2].map((partition) => ({
      stream: 'orders',
      partition,
      next_offset: 0,
      end_offset: 0,
      lag: 0,
      status: 'live',
      reason: null,
      lost: 0,
      open_window: null,
      retention_margin_seconds: null,
    })),
  )
  const pause = async (action: string) => await headrace.call(`/v1/triggers/a/${action}`, { method: 'POST' })
  expect((await pause('pause')).body).toMatchObject({ status: 'paused' })
  expect((await pause('pause')).body).toMatchObject({ status: 'paused' })
  expect((await pause('resume')).body).toMatchObject({ status: 'live' })
})

test('workflows, workers and queues tell what lives', async () => {
  await worker.beat({ partitions: [1] })
  expect((await headrace.call('/v1/workflows/a')).body).toMatchObject({
    id: 'a',
    app: 'shop',
    triggers: ['a'],
    workers: 1,
  })
  const { body: workers } = await headrace.call<WireList<unknown>>('/v1/workers')
  expect(workers.data).toEqual([
    expect.objectContaining({ id: worker.id, status: 'live', partitions: [1], concurrency: 10 }),
  ])
  expect((await headrace.call('/v1/queues/default')).body).toMatchObject({
    id: 'default',
    capacity: 10,
    running: 0,
  })
})

test('the status is ok, and a 200, as soon as each component lives', async () => {
  const status = async () => await headrace.call<WireStatus>('/v1/status')
  await eventually(
    'the orchestrator has said that it lives',
    async () => (await status()).body.components.orchestrator.instances === 1,
  )
  expect(await status()).toMatchObject({
    status: 503,
    body: { status: 'degraded', components: { gateway: { status: 'down' } } },
  })
  for (const component of ['gateway', 'trigger_service']) {
    const said = await fetch(`${headrace.url}/v1/instances`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ id: component, component, version: '1.0.0' }),
    })
    expect(said.status).toBe(204)
  }
  expect(await status()).toMatchObject({
    status: 200,
    body: { status: 'ok', kafka: { status: 'ok' }, postgres: { status: 'ok' } },
  })
})
