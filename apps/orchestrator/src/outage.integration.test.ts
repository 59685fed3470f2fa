import type { HeartbeatReply, Problem, WireRun } from '@headrace/schemas'
import { eventually, infra, startOwnPostgres, type OwnPostgres } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  FakeWorker,
  lookCommand,
  publishCommand,
  request,
  stepCommand,
  suspendCommand,
  waitCommand,
  workflowOf,
} from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
let postgres: OwnPostgres
let headrace: Started

beforeAll(async () => {
  postgres = await startOwnPostgres()
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl: postgres.url })
})
afterAll(async () => await headrace.stop())

test('Postgres away is an answer, and when it is back the same process goes on', async () => {
  const worker = await headrace.worker({ workflows: [workflowOf('job')] })
  const { body: run } = await headrace.call<WireRun>('/v1/runs', {
    method: 'POST',
    body: { workflow: 'job' },
  })
  await worker.claim(run.id)
  await postgres.kill()
  await postgres.refused()

  const away = await Promise.all([
    worker.send([stepCommand(run.id, 'a'), { kind: 'steal', workflows: ['job'], limit: 1 }]),
    worker.send([{ kind: 'claim', run_id: run.id, epoch: 1, want_input: true }]),
    worker.send([waitCommand(run.id, 'answer', 'approvals/1'), lookCommand(run.id), suspendCommand(run.id)]),
    worker.send([publishCommand(run.id, 'ask', 'requests/1')]),
    worker.post<HeartbeatReply & Problem>('heartbeat', {
      worker_id: worker.id,
      status: 'live',
      partitions: [],
      runs: [],
      stealing: false,
      stalled_ms: 0,
    }),
    worker.register(),
    headrace.call<Problem>('/v1/runs', { method: 'POST', body: { workflow: 'job' } }),
    headrace.call<Problem>('/v1/runs'),
    headrace.call<Problem>(`/v1/runs/${run.id}?wait=5s`),
    headrace.call<Problem>('/v1/triggers'),
    headrace.call<Problem>('/v1/workflows'),
    headrace.call<Problem>('/v1/workers'),
    headrace.call<Problem>('/v1/queues'),
    headrace.call<Problem>('/v1/waits'),
    headrace.call<Problem>('/v1/waited-streams'),
  ])
  for (const { status, headers, body } of away) {
    expect({ status, code: body.code, retry: headers.get('retry-after') }).toEqual({
      status: 503,
      code: 'postgres_unavailable',
      retry: '1',
    })
  }
  expect((await headrace.call('/v1/status')).body).toMatchObject({
    status: 'degraded',
    postgres: { status: 'down' },
  })
  expect((await request(`${headrace.app.managementUrl}/readyz`)).status).toBe(503)

  await postgres.start()
  const replies = await eventually('commands are taken again', async () => {
    const { status, body } = await worker.send([
      stepCommand(run.id, 'a'),
      { kind: 'complete', run_id: run.id, epoch: 1, output: '1' },
    ])
    return status === 200 ? body.replies : null
  })
  expect(replies).toEqual([{ kind: 'stored' }, { kind: 'done' }])
  await eventually(
    'ready again',
    async () => (await request(`${headrace.app.managementUrl}/readyz`)).status === 200,
  )
  await eventually('duties go on', async () => {
    const { rowCount } = await headrace.store.general.query(
      `select 1 from instances where component = 'orchestrator' and last_beat_at > now() - interval '5 seconds'`,
    )
    return rowCount
  })
})

test('Kafka away: a worker cannot register a new trigger, everything else goes on', async () => {
  const away = await startedOrchestrator({
    brokers: ['127.0.0.1:1'],
    prefix: `${prefix}x`,
    databaseUrl: postgres.url,
  })
  try {
    const worker = new FakeWorker({ url: away.url, workflows: [workflowOf('job')], app: 'shop' })
    const { status, headers, body } = await worker.register()
    expect({ status, code: body.code }).toEqual({ status: 503, code: 'kafka_unavailable' })
    expect(headers.get('retry-after')).toBe('1')
    const run = await away.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow: 'job' } })
    expect(run.status).toBe(201)
    expect((await away.call('/v1/status')).body).toMatchObject({
      kafka: { status: 'down' },
      postgres: { status: 'ok' },
    })
  } finally {
    await away.stop()
  }
})
