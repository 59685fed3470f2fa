import { createBroker } from '@headrace/broker'
import { setCheckpointHandler } from '@headrace/core'
import type { Problem, PublishedEvent, WireRun } from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { createDatabase, infra, type LogRecord, readTopic } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type FakeWorker, publishCommand, stepCommand, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
const accepted: string[] = []
let headrace: Started
let worker: FakeWorker

beforeAll(async () => {
  headrace = await startedOrchestrator({
    brokers,
    prefix,
    databaseUrl,
    activity: { eventAccepted: ({ id }) => accepted.push(id) },
  })
})
beforeEach(async () => {
  worker = await headrace.lastingWorker({ workflows: [workflowOf('shop')] })
})
afterEach(() => setCheckpointHandler(null))
afterAll(async () => {
  await headrace.stop()
  await broker.close()
})

async function claimed(more: Record<string, string> = {}): Promise<string> {
  const { body } = await headrace.call<WireRun>('/v1/runs', {
    method: 'POST',
    body: { workflow: 'shop' },
    headers: more,
  })
  await worker.claim(body.id)
  return body.id
}
const eventsOf = async (stream: string): Promise<LogRecord[]> =>
  await readTopic(brokers, `${prefix}.events.${stream}`)

async function published(...commands: Parameters<FakeWorker['do']>): Promise<PublishedEvent[]> {
  return (await worker.do(...commands)).map((reply) => {
    if (reply.kind !== 'published') throw new Error(JSON.stringify(reply))
    return reply.event
  })
}

describe('an event of a run', () => {
  test('is on its stream when the command is answered, under an id that names run and step', async () => {
    const traceparent = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`
    const run = await claimed({ traceparent })
    const [event] = await published(
      publishCommand(run, 'ask', 'requests/42', { data: '{"n":1}', event_type: 'request', event_key: 'k' }),
    )
    const [record] = await eventsOf('requests')
    expect(event).toEqual({
      id: `${run}/ask`,
      topic: 'requests/42',
      stream: 'requests',
      partition: record?.partition,
      sequence_id: record?.offset,
      created_at: new Date(record?.timestamp ?? 0).toISOString(),
    })
    expect(record).toMatchObject({
      key: 'k',
      value: '{"n":1}',
      headers: {
        ce_id: `${run}/ask`,
        ce_source: 'headrace:run',
        ce_type: 'request',
        ce_subject: 'requests/42',
        traceparent,
        'headrace-dedup': '1',
      },
    })
    expect(accepted).toContain(`${run}/ask`)
  })

  test('makes its stream, with as many partitions as the gateway would give it', async () => {
    const run = await claimed()
    const events = await published(
      ...Array.from({ length: 30 }, (_, n) => publishCommand(run, `k${n}`, 'fresh/x', { event_key: `${n}` })),
    )
    // HEADRACE_STREAM_PARTITIONS of the test's orchestrator.
    expect(new Set(events.map(({ partition }) => partition))).toEqual(new Set([0, 1, 2]))
  })

  test('of which the answer was lost is published again under the same id', async () => {
    const run = await claimed()
    let deaths = 0
    setCheckpointHandler((name) => {
      if (name !== 'publish.after-send-before-reply' || deaths > 0) return undefined
      deaths += 1
      return Promise.reject(new Error('died before the reply'))
    })
    const command = publishCommand(run, 'ask', 'twice/x', { data: '1' })
    expect((await worker.send([command])).status).toBe(500)
    await published(command)
    await published(command)
    const records = await eventsOf('twice')
    expect(new Set(records.map(({ headers, value }) => `${headers['ce_id']} ${value}`))).toEqual(
      new Set([`${run}/ask 1`]),
    )
    expect(records.every(({ headers }) => headers['headrace-dedup'] === '1')).toBe(true)
  })

  test('waits for Kafka alone: the steps of other requests, of the same run too, go on meanwhile', async () => {
    const run = await claimed()
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    setCheckpointHandler((name) => {
      if (name !== 'publish.after-send-before-reply') return undefined
      reach()
      return released
    })
    const publishing = published(publishCommand(run, 'slow', 'slow/x'))
    await reached
    expect(await worker.do(stepCommand(run, 'beside'))).toEqual([{ kind: 'stored' }])
    release()
    await publishing
    expect(
      await worker.do(stepCommand(run, 'slow', { n: 1 }), {
        kind: 'complete',
        run_id: run,
        epoch: 1,
        output: '1',
      }),
    ).toEqual([{ kind: 'stored' }, { kind: 'done' }])
  })
})

describe('nothing is published', () => {
  test('for who is not the holder of the run at that epoch', async () => {
    const other = await headrace.lastingWorker({ workflows: [workflowOf('shop')] })
    const run = await claimed()
    const lost = [{ kind: 'lost' }]
    expect(await other.do(publishCommand(run, 'a', 'lost/x'))).toEqual(lost)
    expect(await worker.do(publishCommand(run, 'a', 'lost/x', { epoch: 2 }))).toEqual(lost)
    await worker.do({ kind: 'complete', run_id: run, epoch: 1, output: '1' })
    expect(await worker.do(publishCommand(run, 'a', 'lost/x'))).toEqual(lost)
    expect(await worker.do(publishCommand(crypto.randomUUID(), 'a', 'lost/x'))).toEqual(lost)
    expect(await broker.topics.list(`${prefix}.events.lost`)).toEqual([])
  })

  test('of what the gateway would refuse, while its neighbours in the request are', async () => {
    const run = await claimed()
    expect(
      await worker.do(
        publishCommand(run, 'ok1', 'mixed/x'),
        publishCommand(run, 'nul', 'mixed/x', { event_key: 'a\u0000' }),
        publishCommand(run, 'large', 'mixed/x', { data: JSON.stringify('x'.repeat(1_000_000)) }),
        publishCommand(run, 'bad\ud800', 'mixed/x'),
        publishCommand(run, 'ok2', 'mixed/x'),
      ),
    ).toMatchObject([
      { kind: 'published' },
      { kind: 'refused', code: 'contains_nul' },
      { kind: 'refused', code: 'event_too_large' },
      { kind: 'refused', code: 'invalid_field' },
      { kind: 'published' },
    ])
    expect(new Set((await eventsOf('mixed')).map(({ headers }) => headers['ce_id']))).toEqual(
      new Set([`${run}/ok1`, `${run}/ok2`]),
    )
  })

  test('to a stream that does not exist, where publishing makes none', async () => {
    const strict = await startedOrchestrator({
      brokers,
      prefix,
      databaseUrl,
      env: { HEADRACE_STREAM_AUTOCREATE: 'off' },
    })
    try {
      const strictWorker = await strict.lastingWorker({ workflows: [workflowOf('shop')] })
      const { body: run } = await strict.call<WireRun>('/v1/runs', {
        method: 'POST',
        body: { workflow: 'shop' },
      })
      await strictWorker.claim(run.id)
      expect(
        await strictWorker.do(
          publishCommand(run.id, 'a', 'neverland/x'),
          publishCommand(run.id, 'b', 'requests/x'),
        ),
      ).toMatchObject([{ kind: 'refused', code: 'stream_autocreate_off' }, { kind: 'published' }])
    } finally {
      await strict.stop()
    }
  })
})

test('a command that is none is told by its place', async () => {
  const run = await claimed()
  const { status, body } = await worker.send([{ ...publishCommand(run, 'a', '*/x') }])
  expect({ status, code: (body as Problem).code }).toEqual({ status: 422, code: 'invalid_topic' })
})
