import { deadLettersTopic, eventsTopic, responsesTopic, tasksTopic } from '@headrace/broker'
import { setCheckpointHandler } from '@headrace/core'
import { extendProjection, listProjectionGaps } from '@headrace/store'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type FakeProjection, fakeProjection } from '../fakes/fake-projection.ts'
import { type Started, startedOrchestrator } from '../fakes/started-orchestrator.ts'
import { lookedAgain, type WaitingRuns, waitingRuns } from '../fakes/waiting-runs.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
let projection: FakeProjection
let runs: WaitingRuns

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  projection = fakeProjection(headrace.store, { brokers, prefix, eventually })
  runs = await waitingRuns(headrace, eventually)
})
afterEach(() => setCheckpointHandler(null))
afterAll(async () => {
  await headrace.stop()
  await projection.close()
})

const partitionsOf = async (stream: string): Promise<number[]> =>
  await eventually(`stream ${stream} is made`, async () => [
    ...(await projection.broker.offsets(eventsTopic(prefix, stream).name)).keys(),
  ])
const hourMs = 3_600_000

/** Holds the correlator before it stores anything. */
function holdCorrelator(): { reached: Promise<void>; letGo: () => void } {
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: held, resolve: letGo } = Promise.withResolvers<void>()
  setCheckpointHandler((name) => {
    if (name !== 'correlator.before-insert') return undefined
    reach()
    return held
  })
  return { reached, letGo }
}

test('a stream that is waited on before it has a topic is made; its wait opens once it is projected', async () => {
  const runId = await runs.parked('fresh/1')
  expect(await runs.state(runId)).toMatchObject({ status: 'pending' })
  expect(await partitionsOf('fresh')).toHaveLength(3)
  await lookedAgain(headrace, 'waits.open', eventually)
  expect(await runs.state(runId)).toMatchObject({ status: 'pending' })

  await projection.begin('fresh', Date.now() - hourMs, [0, 0])
  await lookedAgain(headrace, 'waits.open', eventually)
  // One partition is missing.
  expect(await runs.state(runId)).toMatchObject({ status: 'pending' })
  await projection.begin('fresh', Date.now() - hourMs, [0, 0, 0])
  await eventually('the wait is open', async () => (await runs.state(runId)).status === 'open')
  const event = projection.event('fresh/1', 1)
  await projection.project(event)
  expect(await runs.settled(runId)).toMatchObject({ output: { sequence_id: event.sequenceId } })

  // The next wait finds the stream open.
  const next = await runs.parked('fresh/2')
  expect(await runs.state(next)).toMatchObject({ status: 'open' })
})

test('a first wait, a gap reader and a correlator that lags: the earliest event answers', async () => {
  // Waited on from now on, and so projected.
  const now = await runs.parked('gaps/other', { since: { ago_ms: 0 } })
  const partitions = await partitionsOf('gaps')
  await projection.begin(
    'gaps',
    Date.now() - hourMs / 4,
    partitions.map(() => 10),
  )
  await eventually('the stream is open', async () => (await runs.state(now)).status === 'open')

  // Somebody asks for an hour: the head has its event already, what lies before comes by the gap reader.
  const runId = await runs.parked('gaps/wanted', { since: { ago_ms: hourMs } })
  expect(await runs.state(runId)).toMatchObject({ status: 'pending' })
  const late = projection.event('gaps/wanted', 'late', { sequenceId: 10 })
  await projection.project(late)
  await projection.correlated()
  const early = projection.event('gaps/wanted', 'early', {
    sequenceId: 4,
    createdAt: Date.now() - hourMs / 2,
  })
  const hold = holdCorrelator()
  await projection.project(early)
  await hold.reached
  const gaps = (await listProjectionGaps(headrace.store)).filter(({ stream }) => stream === 'gaps')
  expect(gaps).toHaveLength(partitions.length)
  for (const gap of gaps) expect(await extendProjection(headrace.store, gap, { fromOffset: 0 })).toBe(true)
  await lookedAgain(headrace, 'waits.open', eventually)
  // All is on the response topic, and the correlator has not stored it.
  expect(await runs.state(runId)).toMatchObject({ status: 'pending' })
  hold.letGo()
  expect(await runs.settled(runId)).toMatchObject({ output: { data: 'early', sequence_id: 4 } })
})

test('a correlator that is beyond the end of a response topic made anew has passed nothing', async () => {
  const { rows } = await headrace.store.general.query<{ partition: number; next_offset: number }>(
    `update correlator_cursors c set next_offset = 1000000 from correlator_cursors old where old.partition = c.partition
     returning c.partition, old.next_offset`,
  )
  const runId = await runs.parked('anew/1')
  const partitions = await partitionsOf('anew')
  await projection.begin(
    'anew',
    Date.now() - hourMs,
    partitions.map(() => 0),
  )
  await lookedAgain(headrace, 'waits.open', eventually)
  expect(await runs.state(runId)).toMatchObject({ status: 'pending' })
  for (const { partition, next_offset: nextOffset } of rows)
    await headrace.store.general.query(
      'update correlator_cursors set next_offset = $2 where partition = $1',
      [partition, nextOffset],
    )
  await eventually('the wait is open', async () => (await runs.state(runId)).status === 'open')
})

test('where topics may not be made, a wait on a stream that does not exist opens, and can so time out', async () => {
  const other = `${prefix}-verify`
  const database = await createDatabase()
  await projection.broker.topics.ensureTopics([
    { ...responsesTopic(other), partitions: 1 },
    { ...deadLettersTopic(other), partitions: 1 },
    { ...tasksTopic(other, 'default'), partitions: 2 },
  ])
  const env = { HEADRACE_KAFKA_TOPICS: 'verify', HEADRACE_RESPONSE_PARTITIONS: '1' }
  const verifying = await startedOrchestrator({ brokers, prefix: other, databaseUrl: database.url, env })
  try {
    const waiting = await waitingRuns(verifying, eventually)
    const runId = await waiting.parked('nowhere/1', { timeout_ms: 1_000 })
    expect(await waiting.settled(runId)).toMatchObject({ status: 'timed_out', unverified: false })
  } finally {
    await verifying.stop()
  }
})

test('a stream that was opened by who then died has its waits opened by the next', async () => {
  const runId = await runs.parked('orphans/1', { since: { ago_ms: hourMs } })
  const event = projection.event('orphans/1', 1)
  await projection.project(event)
  await projection.correlated()
  expect(await runs.state(runId)).toMatchObject({ status: 'pending' })
  await headrace.store.general.query(
    `update waited_streams set open_from = projected_from where stream = 'orphans'`,
  )
  expect(await runs.settled(runId)).toMatchObject({ output: { sequence_id: event.sequenceId } })
})
