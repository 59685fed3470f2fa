import type {
  Command,
  Problem,
  WireBuild,
  WireBulk,
  WireList,
  WireRun,
  WireTimelineEntry,
  WireWorkflow,
} from '@headrace/schemas'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type FakeWorker, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
/** Of build `v1`. */
let worker: FakeWorker
beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  worker = await headrace.lastingWorker({
    workflows: [workflowOf('report'), workflowOf('gone')],
    build: 'v1',
  })
})
afterAll(async () => await headrace.stop())

const get = async <Body>(path: string): Promise<Body> => (await headrace.call<Body>(path)).body
const post = async <Body = WireRun>(path: string, body?: unknown) =>
  await headrace.call<Body>(path, { method: 'POST', ...(body === undefined ? {} : { body }) })
const start = async (workflow = 'report'): Promise<WireRun> => (await post('/v1/runs', { workflow })).body
const misfit = (run_id: string, epoch = 1): Command => ({
  kind: 'pause',
  run_id,
  epoch,
  reason: 'replay_mismatch',
  error: JSON.stringify({
    name: 'ReplayMismatchError',
    message: 'step "charge" is another kind. It began on build v1, and this is build v1',
    code: 'replay_mismatch',
    stack: null,
    step_key: 'charge',
  }),
})

test('a run that code does not fit is paused, says why, and goes on when it is resumed, one or many', async () => {
  const runs = [await start(), await start()]
  for (const { id } of runs) {
    await worker.claim(id)
    expect(await worker.do(misfit(id))).toEqual([{ kind: 'done' }])
    expect(await get(`/v1/runs/${id}`)).toMatchObject({
      status: 'paused',
      blocked_reason: 'replay_mismatch',
      build: 'v1',
      unfit_builds: ['v1'],
      error: { code: 'replay_mismatch', step_key: 'charge' },
      finished_at: null,
    })
  }
  const [first, second] = runs.map(({ id }) => id)
  const { data } = await get<WireList<WireTimelineEntry>>(`/v1/runs/${first}/timeline`)
  expect(data.at(-1)).toMatchObject({
    kind: 'paused',
    worker_id: worker.id,
    build: 'v1',
    detail: 'step "charge" is another kind. It began on build v1, and this is build v1',
  })

  expect((await post(`/v1/runs/${first}/resume`)).body).toMatchObject({
    status: 'queued',
    epoch: 2,
    error: null,
    blocked_reason: null,
    unfit_builds: [],
  })
  const bulk = { action: 'resume', filter: { workflow: 'report', status: ['paused'] }, dry_run: false }
  expect((await post<WireBulk>('/v1/runs/bulk', bulk)).body).toMatchObject({ matched: 1, changed: 1 })
  for (const id of [first!, second!]) {
    await worker.claim(id, 2)
    expect(await worker.do({ kind: 'complete', run_id: id, epoch: 2, output: '1' })).toEqual([
      { kind: 'done' },
    ])
    expect(await get(`/v1/runs/${id}`)).toMatchObject({ status: 'completed', error: null })
  }
})

test('of a paused workflow no run begins until it is resumed; the request may be repeated', async () => {
  for (let twice = 0; twice < 2; twice += 1)
    expect(await post('/v1/workflows/report/pause')).toMatchObject({
      status: 200,
      body: { status: 'paused' },
    })
  const { data } = await get<WireList<WireWorkflow>>('/v1/workflows')
  expect(data.map(({ id, status }) => [id, status])).toEqual([
    ['gone', 'live'],
    ['report', 'paused'],
  ])
  const run = await start()
  expect(run).toMatchObject({ status: 'queued', blocked_reason: 'workflow_paused' })
  expect(await worker.do({ kind: 'claim', run_id: run.id, epoch: 1, want_input: true })).toEqual([
    { kind: 'lost' },
  ])

  expect(await post('/v1/workflows/report/resume')).toMatchObject({ status: 200, body: { status: 'live' } })
  expect(await get(`/v1/runs/${run.id}`)).toMatchObject({ blocked_reason: null })
  await worker.claim(run.id)
  for (const action of ['pause', 'resume'])
    expect(await post<Problem>(`/v1/workflows/none/${action}`)).toMatchObject({
      status: 404,
      body: { code: 'workflow_not_found' },
    })
  expect(await post<Problem>('/v1/workflows/report/pause', { until: 'noon' })).toMatchObject({ status: 422 })
})

test('a deployment and its roll-back: the set of the newest build with a living worker counts', async () => {
  const workflows = [workflowOf('report'), { ...workflowOf('pinned'), on_deploy: 'pin' as const }]
  const fresh = await headrace.lastingWorker({ workflows, build: 'v2' })
  const builds = async () =>
    (await get<WireList<WireBuild>>('/v1/builds')).data.map(({ id, in_force, workers }) => [
      id,
      in_force,
      workers,
    ])
  const statusOf = async (id: string) => (await get<WireWorkflow>(`/v1/workflows/${id}`)).status
  expect(await builds()).toEqual([
    ['v2', true, 1],
    ['v1', false, 1],
  ])
  expect(await statusOf('gone')).toBe('retired')

  const pinned = await start('pinned')
  await fresh.claim(pinned.id)
  const { data } = await get<WireList<WireBuild>>('/v1/builds?limit=1')
  expect(data).toMatchObject([{ id: 'v2', app: 'shop', workflows: ['report', 'pinned'], pinned_runs: 1 }])

  await fresh.do({ kind: 'release', run_id: pinned.id, epoch: 1 })
  await fresh.beat({ status: 'draining' })
  await eventually('the build counts whose workers are left', async () => (await statusOf('gone')) === 'live')
  expect(await builds()).toEqual([
    ['v2', false, 0],
    ['v1', true, 1],
  ])
  expect(await statusOf('pinned')).toBe('retired')
})
