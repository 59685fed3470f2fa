import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openStore } from './connection.ts'
import {
  completeOf,
  openScene,
  orderWorkflow,
  pauseOf,
  registerShop,
  releaseOf,
  type Scene,
  workerOf,
} from './fixtures/scene.ts'
import { notTakenReasons } from './queries/blocked-reasons.ts'
import { listBuilds, risenBuilds } from './queries/builds.ts'
import { createRun } from './queries/create-run.ts'
import { setWorkflowPaused } from './queries/pause-workflow.ts'
import { resumeUnfitRuns } from './queries/resume-unfit-runs.ts'
import { stealRuns } from './queries/steal-runs.ts'
import { pauseRuns, resumeRuns } from './queries/steer-runs.ts'
import { dispatchTargets, upsertWorker } from './queries/workers.ts'
import { newRunIds } from './run-id.ts'

let url: string
let scene: Scene
/** `w1` and `w2` are of build `b1`, `w3` of `b2`, registered later. */
beforeAll(async () => {
  ;({ url } = await createDatabase())
  scene = await openScene(url)
})
afterAll(async () => {
  await scene.close()
})
beforeEach(async () => {
  await scene.row(`delete from workers where id not in ('w1', 'w2', 'w3')`)
  await upsertWorker(scene.store, workerOf('w3', { build: 'b2' }))
  await scene.row(
    `update workers set status = 'live', died_at = null, last_heartbeat_at = now() + interval '1 day'`,
  )
  await scene.row(`update workflows set on_deploy = 'upgrade', paused_at = null`)
  await scene.row(`delete from runs`)
})

const pin = async (): Promise<void> => void (await scene.row(`update workflows set on_deploy = 'pin'`))
/** A worker that is not taken for dead, however slow the test is. */
async function come(id: string, build: string): Promise<void> {
  await upsertWorker(scene.store, workerOf(id, { build }))
  await scene.row(`update workers set last_heartbeat_at = now() + interval '1 day' where id = $1`, [id])
}
const leave = async (id: string): Promise<void> =>
  void (await scene.row(`update workers set status = 'dead', died_at = now() where id = $1`, [id]))
const age = async (): Promise<void> =>
  void (await scene.row(`update runs set queued_at = now() - interval '1 minute'`))
const steal = async (workerId: string): Promise<string[]> => {
  await age()
  const stolen = await stealRuns(scene.store, {
    workerId,
    queue: 'default',
    workflows: ['on_order'],
    limit: 10,
  })
  return stolen.map(({ run_id }) => run_id)
}
const read = async (id: string) =>
  await scene.row(
    'select status, epoch, build, blocked_reason, unfit_builds, error from runs where id = $1',
    [id],
  )
const reasonOf = async (id: string) => (await notTakenReasons(scene.store, [id])).get(id) ?? null

/** A run that has begun on `b1` and is queued again, at epoch 2. */
async function begunRun(): Promise<string> {
  const [id = ''] = await scene.startRuns(1)
  expect(await scene.claim(id)).toBe(true)
  expect(await scene.apply(releaseOf(id))).toEqual([{ kind: 'done' }])
  return id
}

describe('a run begins on the build of the worker that claims it first', () => {
  test('by a task, and keeps it', async () => {
    const [id = ''] = await scene.startRuns(1)
    expect(await scene.claim(id, 1, 'w3')).toBe(true)
    expect(await read(id)).toMatchObject({ build: 'b2' })
    await scene.apply(releaseOf(id, 1, 'w3'))
    expect(await scene.claim(id, 2, 'w1')).toBe(true)
    expect(await read(id)).toMatchObject({ status: 'running', build: 'b2' })
  })

  test('by stealing', async () => {
    const [id = ''] = await scene.startRuns(1)
    expect(await steal('w3')).toEqual([id])
    expect(await read(id)).toMatchObject({ build: 'b2' })
  })
})

describe('a pinned run', () => {
  beforeEach(pin)

  test('is claimed and stolen by workers of its build only', async () => {
    const id = await begunRun()
    expect(await scene.claim(id, 2, 'w3')).toBe(false)
    expect(await steal('w3')).toEqual([])
    expect(await steal('w2')).toEqual([id])
    expect(await scene.apply(completeOf(id, 2, 'w2'))).toEqual([{ kind: 'done' }])
  })

  test('that has not begun is taken by any build', async () => {
    const [id = ''] = await scene.startRuns(1)
    expect(await scene.claim(id, 1, 'w3')).toBe(true)
    expect(await read(id)).toMatchObject({ build: 'b2' })
  })

  test('says that it waits for a worker of its build, and goes on when one comes', async () => {
    const id = await begunRun()
    await leave('w1')
    await leave('w2')
    expect(await reasonOf(id)).toBe('no_worker_of_build')
    await come('w4', 'b1')
    expect(await reasonOf(id)).toBeNull()
    expect(await steal('w4')).toEqual([id])
    await leave('w4')
  })

  test('goes on with any build once its workflow is registered with upgrade', async () => {
    const id = await begunRun()
    await scene.row(`update workflows set on_deploy = 'upgrade'`)
    expect(await scene.claim(id, 2, 'w3')).toBe(true)
    expect(await read(id)).toMatchObject({ build: 'b1' })
  })

  test('is counted by its build', async () => {
    await begunRun()
    await registerShop(scene.store, { build: 'b1' })
    await pin()
    const [build] = (await listBuilds(scene.store)).filter(({ id }) => id === 'b1')
    expect(build).toMatchObject({
      app: 'shop',
      inForce: true,
      workflows: ['on_order'],
      workers: 2,
      pinnedRuns: 1,
    })
  })

  test('is told to the dispatcher by its build', async () => {
    await scene.row(`update workers set partitions = '{0}'`)
    const targets = await dispatchTargets(scene.store)
    expect(targets.map(({ workerId, build, pinned }) => [workerId, build, pinned])).toEqual(
      expect.arrayContaining([
        ['w1', 'b1', ['on_order']],
        ['w3', 'b2', ['on_order']],
      ]),
    )
  })
})

describe('a run that code does not fit', () => {
  test('is paused with what its worker says, and its build remembered', async () => {
    const id = await begunRun()
    await scene.claim(id, 2, 'w3')
    expect(await scene.apply(pauseOf(id, 'replay_mismatch', 2, 'w3'))).toEqual([{ kind: 'done' }])
    expect(await read(id)).toMatchObject({
      status: 'paused',
      epoch: 2,
      build: 'b1',
      blocked_reason: 'replay_mismatch',
      unfit_builds: ['b2'],
      error: expect.stringContaining('ReplayMismatchError') as string,
    })
  })

  test('is paused by a resend too, also when it was resumed meanwhile; and not by another worker', async () => {
    const id = await begunRun()
    await scene.claim(id, 2, 'w3')
    expect(await scene.apply(pauseOf(id, 'replay_mismatch', 2, 'w1'))).toEqual([{ kind: 'lost' }])
    await scene.apply(pauseOf(id, 'replay_mismatch', 2, 'w3'))
    expect(await scene.apply(pauseOf(id, 'replay_mismatch', 2, 'w3'))).toEqual([{ kind: 'done' }])
    await resumeRuns(scene.store, [id])
    expect(await scene.apply(pauseOf(id, 'replay_mismatch', 2, 'w3'))).toEqual([{ kind: 'done' }])
    expect(await read(id)).toMatchObject({ status: 'queued', epoch: 3 })
  })

  test('goes on by itself with a build on which it was not tried, and never again with one on which it was', async () => {
    const id = await begunRun()
    await scene.claim(id, 2, 'w3')
    await leave('w1')
    await leave('w2')
    await scene.apply(pauseOf(id, 'duplicate_step_key', 2, 'w3'))
    expect(await resumeUnfitRuns(scene.store)).toEqual({ queued: [], more: false })

    await come('w5', 'b3')
    const { queued } = await resumeUnfitRuns(scene.store)
    expect(queued).toMatchObject([{ runId: id, epoch: 3, build: 'b1' }])
    expect(await read(id)).toMatchObject({
      status: 'queued',
      blocked_reason: null,
      error: null,
      unfit_builds: ['b2'],
    })
    expect(
      await scene.row(`select detail from run_notes where run_id = $1 and kind = 'resumed'`, [id]),
    ).toEqual({
      detail: 'for build b3',
    })
    expect(await scene.claim(id, 3, 'w3')).toBe(false)
    expect(await steal('w3')).toEqual([])
    await leave('w5')
    expect(await reasonOf(id)).toBe('no_worker_of_build')
    await come('w6', 'b3')
    expect(await steal('w6')).toEqual([id])
    await leave('w6')
  })

  test('does not go on by itself where it is pinned, or where its retries are used up', async () => {
    const pinned = await begunRun()
    const exhausted = await begunRun()
    await scene.claim(pinned, 2, 'w1')
    await scene.claim(exhausted, 2, 'w1')
    await scene.apply(pauseOf(pinned, 'replay_mismatch', 2), pauseOf(exhausted, 'retries_exhausted', 2))
    expect(await read(exhausted)).toMatchObject({ blocked_reason: 'retries_exhausted', unfit_builds: null })
    await pin()
    expect((await resumeUnfitRuns(scene.store)).queued).toEqual([])
  })

  test('does not go on by itself once a person has paused it, too; its error still says why', async () => {
    const id = await begunRun()
    await scene.claim(id, 2, 'w1')
    await scene.apply(pauseOf(id, 'replay_mismatch', 2))
    expect(await pauseRuns(scene.store, [id])).toEqual([id])
    expect(await pauseRuns(scene.store, [id])).toEqual([])
    expect((await resumeUnfitRuns(scene.store)).queued).toEqual([])
    expect(await read(id)).toMatchObject({ status: 'paused', blocked_reason: null, unfit_builds: ['b1'] })
    expect(await read(id)).toMatchObject({ error: expect.stringContaining('ReplayMismatchError') as string })
    expect((await resumeRuns(scene.store, [id])).queued).toMatchObject([{ runId: id, epoch: 3 }])
    expect(await read(id)).toMatchObject({ unfit_builds: null, error: null })
  })

  test('is tried again on the same build when a person resumes it', async () => {
    const id = await begunRun()
    await scene.claim(id, 2, 'w3')
    await scene.apply(pauseOf(id, 'replay_mismatch', 2, 'w3'))
    expect((await resumeRuns(scene.store, [id])).queued).toMatchObject([{ runId: id, epoch: 3 }])
    expect(await read(id)).toMatchObject({ unfit_builds: null, blocked_reason: null, error: null })
    expect(await scene.claim(id, 3, 'w3')).toBe(true)
  })
})

describe('of a paused workflow', () => {
  test('no run begins, by claim or by stealing, and those that have begun go on', async () => {
    const begun = await begunRun()
    const [fresh = ''] = await scene.startRuns(1)
    expect(await setWorkflowPaused(scene.store, 'on_order', true)).toBe(true)
    expect(await scene.claim(fresh)).toBe(false)
    expect(await steal('w1')).toEqual([begun])
    expect(await reasonOf(fresh)).toBe('workflow_paused')

    await setWorkflowPaused(scene.store, 'on_order', false)
    expect(await reasonOf(fresh)).toBeNull()
    expect(await steal('w1')).toEqual([fresh])
  })

  test('the pause outlives that a build retires it and another brings it back', async () => {
    await setWorkflowPaused(scene.store, 'on_order', true)
    await registerShop(scene.store, { build: 'b5', workflows: [orderWorkflow('another')] })
    expect(await setWorkflowPaused(scene.store, 'on_order', false)).toBe(false)
    await registerShop(scene.store, { build: 'b6' })
    expect(
      await scene.row(`select status, paused_at is not null as paused from workflows where id = 'on_order'`),
    ).toEqual({ status: 'live', paused: true })
  })
})

test('the newest build with a living worker is to count, and none where no worker lives', async () => {
  const clean = await openScene((await createDatabase()).url)
  try {
    const register = async (build: string, worker: string, ids: string[]) => {
      await registerShop(clean.store, {
        build,
        workflows: ids.map((id) => orderWorkflow(id)),
        worker: workerOf(worker, { build }),
      })
      await clean.row(`update workers set last_heartbeat_at = now() + interval '1 day' where id = $1`, [
        worker,
      ])
    }
    await clean.row(`update workers set status = 'dead', died_at = now()`)
    await register('v1', 'old', ['a', 'b'])
    await register('v2', 'new', ['a'])
    expect(await risenBuilds(clean.store)).toEqual([])

    // A roll-back: the old build's workers come while the newer build's still live, and are all that is left.
    await register('v1', 'back', ['a', 'b'])
    expect(await clean.row('select current_build from apps')).toEqual({ current_build: 'v2' })
    await clean.row(`update workers set status = 'draining' where id = 'new'`)
    const [risen] = await risenBuilds(clean.store)
    expect(risen).toMatchObject({ app: 'shop', build: 'v1', workflows: [{ id: 'a' }, { id: 'b' }] })

    await registerShop(clean.store, { build: 'v1', workflows: risen!.workflows })
    expect(await clean.row(`select status from workflows where id = 'b'`)).toEqual({ status: 'live' })
    expect(await risenBuilds(clean.store)).toEqual([])

    await clean.row(`update workers set status = 'dead', died_at = now()`)
    expect(await risenBuilds(clean.store)).toEqual([])
  } finally {
    await clean.close()
  }
})

test("1,000 of the caller's own ids, each sent by two at once: 1,000 runs", async () => {
  await setWorkflowPaused(scene.store, 'on_order', false)
  const other = openStore({ url, applicationName: 'other' })
  try {
    const start = async (store: typeof other, id: number) => {
      const [runId = ''] = newRunIds(1, Date.now())
      const fresh = { runId, workflow: 'on_order', input: null, externalId: `order-${id}`, tags: {} }
      return await createRun(store, { ...fresh, traceparent: null, delayMs: null })
    }
    // Some at a time: callers wait no longer for a connection than a few seconds.
    for (let from = 0; from < 1_000; from += 50) {
      const ids = Array.from({ length: 50 }, (_, id) => from + id)
      const pairs = await Promise.all(
        ids.map(async (id) => await Promise.all([start(scene.store, id), start(other, id)])),
      )
      for (const pair of pairs) {
        expect(pair.map(({ status }) => status).toSorted()).toEqual(['created', 'existing'])
        expect(new Set(pair.map((each) => 'run' in each && each.run.id)).size).toBe(1)
      }
    }
    expect(await scene.row('select count(*)::int as runs from runs')).toEqual({ runs: 1_000 })
  } finally {
    await other.close()
  }
})
