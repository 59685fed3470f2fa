import { eventsTopic } from '@headrace/broker'
import { encodeEvent, setCheckpointHandler } from '@headrace/core'
import { createDatabase, eventually, infra, startOwnKafka } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
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

/** A stream with a Kafka topic of one partition, open for waits. */
async function stream(name: string): Promise<void> {
  await projection.broker.topics.ensureTopics([{ ...eventsTopic(prefix, name), partitions: 1 }])
  await projection.opened(name, 1)
}

/** An event is accepted: it lies on its stream. Returns its place. */
async function accepted(topic: string, data: string): Promise<{ sequenceId: number }> {
  const [name = ''] = topic.split('/')
  const event = projection.event(topic, data)
  const [outcome] = await projection.broker.producer().produce([
    {
      topic: eventsTopic(prefix, name).name,
      partition: 0,
      ...encodeEvent({ ...event, time: event.createdAt }),
    },
  ])
  if (outcome?.status !== 'written') throw new Error(`not written: ${JSON.stringify(outcome)}`)
  return { sequenceId: outcome.offset }
}

/** The wait's time was over so long ago, by Postgres's clock. */
async function overFor(runId: string, seconds: number): Promise<void> {
  await headrace.store.general.query(
    `update waits set expires_at = now() - make_interval(secs => $2) where run_id = $1`,
    [runId, seconds],
  )
}
const settings = { timeout_ms: 3_600_000 }

describe('a wait whose time is over', () => {
  test('times out once nothing can be on its way, and its run is queued with the error', async () => {
    await stream('quiet')
    const runId = await runs.parked('quiet/1', settings)
    const other = await runs.parked('quiet/1', settings)
    await overFor(runId, 0)
    expect(await runs.settled(runId)).toMatchObject({
      status: 'timed_out',
      unverified: false,
      error: {
        name: 'WaitTimeoutError',
        code: 'wait_timeout',
        topic: 'quiet/1',
        step_key: 'w',
        unverified: false,
      },
    })
    expect(await runs.run(runId)).toMatchObject({ status: 'queued', epoch: 2 })
    expect(await runs.state(other)).toMatchObject({ status: 'open' })
  })

  test('does not while an accepted answer waits for the projection', async () => {
    await stream('lagging')
    const runId = await runs.parked('lagging/1', settings)
    const { sequenceId } = await accepted('lagging/1', 'in time')
    await overFor(runId, 3_600)
    await lookedAgain(headrace, 'waits.time_out', eventually)
    expect(await runs.state(runId)).toMatchObject({ status: 'open' })

    await projection.project(projection.event('lagging/1', 'in time', { sequenceId }))
    await projection.passed('lagging', 0, sequenceId + 1)
    expect(await runs.settled(runId)).toMatchObject({ status: 'answered', output: { data: 'in time' } })
  })

  test('does not while its answer is in the hands of the correlator', async () => {
    await stream('held')
    const runId = await runs.parked('held/1', settings)
    const { sequenceId } = await accepted('held/1', 'in time')
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
    const { promise: letGo, resolve: go } = Promise.withResolvers<void>()
    setCheckpointHandler((name) => {
      if (name !== 'correlator.before-insert') return undefined
      reach()
      return letGo
    })
    await projection.project(projection.event('held/1', 'in time', { sequenceId }))
    await projection.passed('held', 0, sequenceId + 1)
    await reached
    await overFor(runId, 3_600)
    await lookedAgain(headrace, 'waits.time_out', eventually)
    expect(await runs.state(runId)).toMatchObject({ status: 'open' })
    go()
    expect(await runs.settled(runId)).toMatchObject({ status: 'answered', output: { data: 'in time' } })
  })

  test('with a filter that it has not tried on what is there does not before it has', async () => {
    await stream('filtered')
    const runId = await runs.parked('filtered/1', { ...settings, filter: 'event.data == "right"' })
    // As who died before the look left it, too short a while ago for it to be swept.
    await headrace.store.general.query(
      `update waits set checked_at = null, created_at = now() + interval '1 hour', expires_at = now() where run_id = $1`,
      [runId],
    )
    await lookedAgain(headrace, 'waits.time_out', eventually)
    expect(await runs.state(runId)).toMatchObject({ status: 'open' })
    await headrace.store.general.query(
      `update waits set created_at = now() - interval '1 hour' where run_id = $1`,
      [runId],
    )
    expect(await runs.settled(runId)).toMatchObject({ status: 'timed_out', unverified: false })
  })

  test('where its projection stands still, does so after the grace, and says that it is unverified', async () => {
    await stream('stopped')
    await accepted('stopped/1', 'never projected')
    await headrace.store.general.query(
      `update trigger_cursors set status = 'stopped' where stream = 'stopped'`,
    )
    const [open, late] = [await runs.parked('stopped/1', settings), await runs.parked('stopped/1', settings)]
    // What came before it was never made complete.
    await headrace.store.general.query(`delete from projections where stream = 'stopped'`)
    await headrace.store.general.query(`update waited_streams set open_from = null where stream = 'stopped'`)
    const pending = await runs.parked('stopped/1', settings)
    expect(await runs.state(pending)).toMatchObject({ status: 'pending' })
    await overFor(open, 30)
    await overFor(late, 61)
    await overFor(pending, 61)
    for (const runId of [late, pending])
      expect(await runs.settled(runId)).toMatchObject({
        status: 'timed_out',
        unverified: true,
        error: { code: 'wait_timeout', unverified: true },
      })
    await lookedAgain(headrace, 'waits.time_out', eventually)
    expect(await runs.state(open)).toMatchObject({ status: 'open' })
  })
})

test('with Kafka away a wait times out after the grace, and not before', async () => {
  const kafka = await startOwnKafka()
  const database = await createDatabase()
  const where = { brokers: kafka.brokers, prefix }
  const away = await startedOrchestrator({ ...where, databaseUrl: database.url })
  const theirs = fakeProjection(away.store, { ...where, eventually })
  try {
    const waiting = await waitingRuns(away, eventually)
    await theirs.opened('orders', 1)
    await theirs.broker.topics.ensureTopics([{ ...eventsTopic(prefix, 'orders'), partitions: 1 }])
    const [early, late] = [await waiting.parked('orders/1'), await waiting.parked('orders/1')]
    const over = async (runId: string, seconds: number): Promise<void> => {
      await away.store.general.query(
        `update waits set expires_at = now() - make_interval(secs => $2) where run_id = $1`,
        [runId, seconds],
      )
    }
    await kafka.stop()
    await over(late, 90)
    expect(await waiting.settled(late)).toMatchObject({ status: 'timed_out', unverified: true })
    await over(early, 0)
    await lookedAgain(away, 'waits.time_out', eventually)
    expect(await waiting.state(early)).toMatchObject({ status: 'open' })
    await kafka.start()
    // Its grace begins anew, so that a slow start of Kafka does not use it up; the proof can be had again.
    await over(early, 0)
    expect(await waiting.settled(early)).toMatchObject({ status: 'timed_out', unverified: false })
  } finally {
    await away.stop()
    await theirs.close()
  }
})
