import type { Problem, WireRun, WireTimelineEntry, WireWorkflow } from '@headrace/schemas'
import { countLiveRuns, createRun, newRunIds } from '@headrace/store'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type FakeWorker, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
let worker: FakeWorker

const concurrency = { limit: 1, key: 'event.data.order' }
beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  worker = await headrace.lastingWorker({ workflows: [{ ...workflowOf('in_turn'), concurrency }] })
})
afterAll(async () => await headrace.stop())

const post = async <Body = WireRun>(path: string, body?: unknown) =>
  await headrace.call<Body>(path, { method: 'POST', ...(body === undefined ? {} : { body }) })
const start = async (order: unknown): Promise<string> =>
  (await post('/v1/runs', { workflow: 'in_turn', input: { order } })).body.id
const read = async (id: string): Promise<WireRun> => (await headrace.call<WireRun>(`/v1/runs/${id}`)).body
const letIn = async (id: string): Promise<void> =>
  void (await eventually(`${id} is let in`, async () => (await read(id)).blocked_reason !== 'concurrency'))
const complete = (run_id: string, epoch = 1) => ({ kind: 'complete', run_id, epoch, output: '1' }) as const
const finish = async (id: string): Promise<void> => {
  await letIn(id)
  await worker.claim(id)
  expect(await worker.do(complete(id))).toEqual([{ kind: 'done' }])
}
test('runs of one key are let in one after the other, as each ends in its own way; those of another do not wait', async () => {
  const [first, second, third, fourth] = [
    await start('a'),
    await start('a'),
    await start('a'),
    await start('a'),
  ]
  await letIn(first)
  await letIn(await start('b'))
  expect(await read(second)).toMatchObject({ status: 'queued', blocked_reason: 'concurrency' })
  await finish(first)
  await letIn(second)
  await post(`/v1/runs/${second}/cancel`)
  await letIn(third)
  expect(await read(fourth)).toMatchObject({ blocked_reason: 'concurrency' })
  await worker.claim(third)
  await worker.do({ kind: 'fail', run_id: third, epoch: 1, error: '{"name":"Error","message":"no"}' })
  await finish(fourth)
  const { data } = (await headrace.call<{ data: WireTimelineEntry[] }>(`/v1/runs/${fourth}/timeline`)).body
  expect(data.map(({ kind }) => kind)).toEqual(['created', 'queued', 'claimed', 'completed'])
})

test('a run that is cancelled while it is held ends, and those behind it go on', async () => {
  const [first, second, third] = [await start('c'), await start('c'), await start('c')]
  await letIn(first)
  expect(await post(`/v1/runs/${second}/cancel`)).toMatchObject({
    status: 200,
    body: { status: 'cancelled' },
  })
  await finish(first)
  await finish(third)
})

test('a retry and a child wait for their turn like any other', async () => {
  const [parent, first] = [await start('parent'), await start('d')]
  await letIn(parent)
  await worker.claim(parent)
  await letIn(first)
  const [invoked] = await worker.do({
    kind: 'invoke',
    run_id: parent,
    epoch: 1,
    key: 'child',
    workflow: 'in_turn',
    input: '{"order":"d"}',
  })
  const child = invoked?.kind === 'invoked' ? invoked.run_id : ''
  expect(await read(child)).toMatchObject({ status: 'queued', blocked_reason: 'concurrency' })
  await post(`/v1/runs/${first}/cancel`)
  await letIn(child)
  const { body: retry } = await post(`/v1/runs/${first}/retry`)
  expect(await read(retry.id)).toMatchObject({ status: 'queued', blocked_reason: 'concurrency' })
  await finish(child)
  await letIn(retry.id)
})

test('what nobody has let in, since who was about to has died, is found by the sweep', async () => {
  const { store } = headrace
  const [runId = ''] = newRunIds(1, await store.serverNow())
  // Started by another instance, which dies behind its commit.
  const input = '{"order":"e"}'
  const fresh = {
    runId,
    workflow: 'in_turn',
    input,
    externalId: null,
    tags: {},
    traceparent: null,
    delayMs: null,
  }
  expect(await createRun(store, fresh)).toMatchObject({ seed: null, held: { workflow: 'in_turn' } })
  await letIn(runId)
  await finish(runId)
})

test('an input on which the key fails starts nothing, and a key that is no expression is not registered', async () => {
  const refused = await post<Problem>('/v1/runs', { workflow: 'in_turn', input: { order: ['a'] } })
  expect(refused).toMatchObject({ status: 422, body: { code: 'invalid_field' } })
  expect(refused.body.errors).toMatchObject([{ pointer: '/input' }])
  const wrong = { ...workflowOf('wrong'), concurrency: { limit: 1, key: 'event.data.' } }
  await expect(headrace.worker({ workflows: [wrong], app: 'other' })).rejects.toThrow(
    '/workflows/0/concurrency/key',
  )
})

test('a workflow shows its rule, and its held runs are among those that are queued', async () => {
  const { body } = await headrace.call<WireWorkflow>('/v1/workflows/in_turn')
  expect(body.concurrency).toEqual(concurrency)
  await start('shown')
  await start('shown')
  const held = (await countLiveRuns(headrace.store)).filter((count) => count.held)
  expect(held).toEqual([expect.objectContaining({ workflow: 'in_turn', status: 'queued' })])
})
