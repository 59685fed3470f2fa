import { BoundStreams, type CoalescingProducer, createBroker, createStreamDirectory } from '@headrace/broker'
import type { Problem, WireRun } from '@headrace/schemas'
import { createMetrics, silentLogger, systemClock } from '@headrace/service'
import { createDatabase, eventually, type OwnKafka, readTopic, startOwnKafka } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type FakeWorker, publishCommand, stepCommand, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'
import { orchestratorMetrics } from './metrics.ts'
import { createPublisher } from './publish/publisher.ts'

const { url: databaseUrl } = await createDatabase()
const prefix = 'away'
let kafka: OwnKafka
let headrace: Started
let worker: FakeWorker

beforeAll(async () => {
  kafka = await startOwnKafka()
  headrace = await startedOrchestrator({ brokers: kafka.brokers, prefix, databaseUrl })
})
beforeEach(async () => {
  worker = await headrace.lastingWorker({ workflows: [workflowOf('shop')] })
})
afterAll(async () => {
  await headrace.stop()
  await kafka.stop()
})

async function claimed(): Promise<string> {
  const { body } = await headrace.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow: 'shop' } })
  await worker.claim(body.id)
  return body.id
}

test('a request of which some events could not be written writes the others once', async () => {
  const broker = createBroker({ brokers: kafka.brokers, clientId: 'test', logger: silentLogger })
  const real = broker.producer()
  const catalog = new BoundStreams(prefix)
  let away = true
  // Of two partitions one has no leader: as the real producer tells it.
  const producer: CoalescingProducer = {
    inFlight: real.inFlight,
    close: async () => await real.close(),
    produce: async (records, options) =>
      away && records.some(({ key }) => key === 'stuck')
        ? [{ status: 'refused', code: 'leader_not_available', message: 'no leader', retryable: true }]
        : await real.produce(records, options),
  }
  const shared = { log: silentLogger, clock: systemClock }
  const publisher = createPublisher({
    ...shared,
    store: headrace.store,
    producer,
    streams: createStreamDirectory({
      topics: broker.topics,
      prefix,
      catalog,
      streamsMax: 200,
      partitions: 2,
      autocreate: true,
      log: silentLogger,
    }),
    catalog,
    rules: { types: { of: () => null }, isFramed: false, bindingOf: () => null },
    whenKnown: () => null,
    metrics: orchestratorMetrics(createMetrics()),
    activity: {},
  })
  const run = await claimed()
  const commands = [
    publishCommand(run, 'a', 'partly/x', { event_key: 'free' }),
    publishCommand(run, 'b', 'partly/x', { event_key: 'stuck' }),
  ]
  for (const _ of [1, 2])
    await expect(publisher.answer(worker.id, commands)).rejects.toMatchObject({ code: 'kafka_unavailable' })
  away = false
  expect((await publisher.answer(worker.id, commands)).map(({ kind }) => kind)).toEqual([
    'published',
    'published',
  ])
  await publisher.idle()
  await broker.close()
  const ids = (await readTopic(kafka.brokers, 'away.events.partly')).map(({ headers }) => headers['ce_id'])
  expect(new Map([...new Set(ids)].map((id) => [id, ids.filter((each) => each === id).length]))).toEqual(
    new Map([
      [`${run}/a`, 1],
      [`${run}/b`, 1],
    ]),
  )
})

test('while Kafka is away a publish is answered with a problem in time, steps go on, and it passes when Kafka is back', async () => {
  const run = await claimed()
  expect(await worker.do(publishCommand(run, 'before', 'outage/x'))).toMatchObject([{ kind: 'published' }])
  await kafka.kill()
  await kafka.refused()
  let answers = 0
  const publishing = ['outage/x', 'unseen/x'].map(async (topic) => {
    const answer = await worker.send([publishCommand(run, topic, topic)])
    answers += 1
    return answer
  })
  expect(await worker.do(stepCommand(run, 'beside'))).toEqual([{ kind: 'stored' }])
  // At least the one for a stream that is known hangs on Kafka still.
  expect(answers).toBeLessThan(2)
  for (const answer of await Promise.all(publishing)) {
    const { status, headers, body } = answer as { status: number; headers: Headers; body: Problem }
    expect({ status, code: body.code, retryable: body.retryable, retry: headers.get('retry-after') }).toEqual(
      {
        status: 503,
        code: 'kafka_unavailable',
        retryable: true,
        retry: '1',
      },
    )
  }
  await kafka.start()
  await eventually('it is published', async () => {
    const { status } = await worker.send([
      publishCommand(run, 'outage/x', 'outage/x'),
      publishCommand(run, 'unseen/x', 'unseen/x'),
    ])
    return status === 200
  })
  expect(
    (await readTopic(kafka.brokers, 'away.events.unseen')).map(({ headers }) => headers['ce_id']),
  ).toContain(`${run}/unseen/x`)
})
