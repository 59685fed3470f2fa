import { setCheckpointHandler } from '@headrace/core'
import type { WireList, WireRun, WireTimelineEntry, WireWait } from '@headrace/schemas'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type FakeProjection, fakeProjection } from './fakes/fake-projection.ts'
import { workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'
import { lookedAgain } from './fakes/waiting-runs.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
let projection: FakeProjection

const byOrder = 'event.data.order == trigger.data.order'
const rule = { event: 'orders/stopped', if: byOrder }

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  projection = fakeProjection(headrace.store, { brokers, prefix, eventually })
  await projection.opened('orders')
  await headrace.lastingWorker({
    workflows: [
      { ...workflowOf('ship'), cancel_on: [rule] },
      { ...workflowOf('pack'), cancel_on: [rule], concurrency: { limit: 1, key: 'event.data.order' } },
      { ...workflowOf('late'), cancel_on: [{ event: 'closings/all' }] },
    ],
  })
})
afterEach(() => setCheckpointHandler(null))
afterAll(async () => {
  await headrace.stop()
  await projection.close()
})

let orders = 0
const newOrder = (): string => `o${(orders += 1)}`
const start = async (workflow: string, order: string): Promise<string> =>
  (await headrace.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow, input: { order } } })).body.id
const runOf = async (id: string): Promise<WireRun> => (await headrace.call<WireRun>(`/v1/runs/${id}`)).body
const until = async (id: string, status: WireRun['status']): Promise<WireRun> => {
  let run = await runOf(id)
  await eventually(`${id} is ${status}`, async () => (run = await runOf(id)).status === status)
  return run
}
/** Younger than all runs of these tests, however slow they are. */
const inAMinute = () => ({ createdAt: Date.now() + 60_000 })
const stop = async (order: string): Promise<number> => {
  const event = projection.event('orders/stopped', { order }, inAMinute())
  await projection.project(event)
  return event.sequenceId
}

describe('an event that a cancelOn names', () => {
  test('cancels the run for which its if is true, which says why', async () => {
    const [order, other] = [newOrder(), newOrder()]
    const [runId, otherId] = [await start('ship', order), await start('ship', other)]
    await lookedAgain(headrace, 'waits.cancel', eventually)
    const sequenceId = await stop(order)
    const run = await until(runId, 'cancelled')
    const event = `the event orders/stopped at orders/0/${sequenceId}`
    expect(run.error).toMatchObject({ code: 'cancelled_by_event', message: `${event} cancelled the run` })
    const { body: timeline } = await headrace.call<WireList<WireTimelineEntry>>(`/v1/runs/${runId}/timeline`)
    expect(timeline.data.at(-1)).toMatchObject({ kind: 'cancelled', detail: event })
    const { body: waits } = await headrace.call<WireList<WireWait>>(`/v1/waits?run_id=${otherId}`)
    expect(waits.data).toMatchObject([
      { kind: 'cancel', status: 'open', topic: 'orders/stopped', if: byOrder, expires_at: null },
    ])
    expect(await runOf(otherId)).toMatchObject({ status: 'queued', waiting_for: [] })
  })

  test('cancels it also when it was stored before the run was there', async () => {
    const order = newOrder()
    await stop(order)
    await projection.correlated()
    expect((await until(await start('ship', order), 'cancelled')).error?.code).toBe('cancelled_by_event')
  })

  test('cancels it also when it was copied before the run began to wait, and is correlated after', async () => {
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>()
    setCheckpointHandler((name) => {
      if (name !== 'correlator.before-insert') return undefined
      reach()
      return held
    })
    const order = newOrder()
    await stop(order)
    await reached
    const runId = await start('ship', order)
    await lookedAgain(headrace, 'waits.cancel', eventually)
    expect((await runOf(runId)).status).toBe('queued')
    letGo()
    await until(runId, 'cancelled')
  })

  test('lets the next run of a concurrency key in', async () => {
    const order = newOrder()
    const first = await start('pack', order)
    await eventually('the first is let in', async () => (await runOf(first)).blocked_reason === null)
    await headrace.call(`/v1/runs/${first}/pause`, { method: 'POST' })
    await stop(order)
    await until(first, 'cancelled')
    // Without the event, as if the next run began after it.
    await headrace.store.general.query(`delete from responses where topic = 'orders/stopped'`)
    const next = await start('pack', order)
    await eventually('the next is let in', async () => (await runOf(next)).blocked_reason === null)
  })

  test('of a stream that nobody waited on is found once that is copied from its past on', async () => {
    const runId = await start('late', newOrder())
    const { rows } = await headrace.store.general.query<{ projected_from: number }>(
      `select projected_from from waited_streams where stream = 'closings'`,
    )
    const event = projection.event('closings/all', null, inAMinute())
    const { body } = await headrace.call<WireList<WireWait>>(`/v1/waits?run_id=${runId}`)
    expect(body.data).toMatchObject([{ kind: 'cancel', status: 'pending' }])
    await projection.project(event)
    const partitions = await projection.broker.offsets(`${prefix}.events.closings`)
    await projection.begin(
      'closings',
      rows[0]?.projected_from ?? 0,
      [...partitions].map(() => 0),
    )
    expect((await until(runId, 'cancelled')).error?.message).toContain('closings/all')
  })
})

test('an if that is none is refused with its place', async () => {
  const registered = await headrace
    .lastingWorker({ workflows: [{ ...workflowOf('bad'), cancel_on: [{ event: 'a/b', if: 'input.x' }] }] })
    .catch((error: unknown) => String(error))
  expect(registered).toContain('/workflows/0/cancel_on/0/if')
})
