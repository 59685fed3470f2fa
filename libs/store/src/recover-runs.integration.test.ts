import { createDatabase, eventually } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { completeOf, openScene, type Scene, stepOf, workerOf } from './fixtures/scene.ts'
import {
  beatInstance,
  claimRuns,
  dispatchTargets,
  dropOldInstances,
  dropOldWorkers,
  getRun,
  type Heartbeat,
  heartbeatWorker,
  listInstances,
  listRunNotes,
  listWorkers,
  recoverDeadWorkers,
  replaceWorker,
  upsertWorker,
} from './index.ts'

let scene: Scene
let workers = 0
let worker: string
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  await judgeSince('judge', 60)
})
afterAll(async () => {
  await scene.close()
})
beforeEach(async () => {
  workers += 1
  worker = `worker${workers}`
  await upsertWorker(scene.store, workerOf(worker))
})

/** A judge whose heartbeats are unbroken for so many seconds. */
async function judgeSince(id: string, seconds: number): Promise<void> {
  await beatInstance(scene.store, { id, component: 'orchestrator', version: '1' })
  await scene.row(
    `update instances set unbroken_since = now() - make_interval(secs => $2), last_beat_at = now() where id = $1`,
    [id, seconds],
  )
}
const silentFor = async (id: string, seconds: number): Promise<void> => {
  await scene.row(`update workers set last_heartbeat_at = now() - make_interval(secs => $2) where id = $1`, [
    id,
    seconds,
  ])
}
/** The others of the scene stay alive however long the tests take. */
const recover = async (judge = 'judge', how: { everyDeath?: boolean } = {}) => {
  await scene.row(
    `update workers set last_heartbeat_at = now() where id in ('w1', 'w2') or (id <> $1 and status <> 'dead')`,
    [worker],
  )
  await scene.row(`update instances set last_beat_at = now()`)
  return await recoverDeadWorkers(scene.store, judge, how)
}
const inHand = async (epoch = 1): Promise<string> => {
  const [id] = await scene.startRuns(1)
  expect(await scene.claim(id!, epoch, worker)).toBe(true)
  return id!
}
const beat = async (changes: Partial<Heartbeat> = {}) =>
  await heartbeatWorker(scene.store, {
    workerId: worker,
    status: 'live',
    partitions: [],
    runs: [],
    stealing: false,
    stalledMs: 0,
    ...changes,
  })

test('a heartbeat that nobody waits for any more says nothing: its list is of long ago', async () => {
  const id = await inHand()
  await beat()
  const list = {
    workerId: worker,
    status: 'live' as const,
    partitions: [],
    runs: [],
    stealing: false,
    stalledMs: 0,
  }
  await expect(heartbeatWorker(scene.store, list, AbortSignal.abort(new Error('late')))).rejects.toThrow(
    'late',
  )
  expect(await getRun(scene.store, id)).toMatchObject({ status: 'running', epoch: 1 })
  expect(await beat({ runs: [{ runId: id, epoch: 1 }] })).toEqual({ status: 'ok', lost: [], requeued: [] })
})

describe('a worker without a heartbeat for 8 s', () => {
  test('is dead; its runs are queued at the next epoch with their steps, and its late commands are lost', async () => {
    const id = await inHand()
    await scene.apply(stepOf(id, 'a', {}, worker))
    await silentFor(worker, 9)
    expect(await recover()).toEqual({
      dead: [worker],
      left: [],
      requeued: [
        {
          runId: id,
          epoch: 2,
          workflow: 'on_order',
          queue: 'default',
          lost: 1,
          build: 'b1',
          input: '{"events":[]}',
        },
      ],
      failed: [],
      more: false,
    })
    expect(await scene.apply(stepOf(id, 'b', {}, worker), completeOf(id, 1, worker))).toEqual([
      { kind: 'lost' },
      { kind: 'lost' },
    ])
    expect(await beat()).toEqual({ status: 'unknown_worker' })
    expect(await upsertWorker(scene.store, workerOf(worker))).toBe(false)
    const [again] = await claimRuns(scene.store, {
      claims: [{ runId: id, epoch: 2, workerId: 'w1', wantInput: false }],
    })
    expect(again).toMatchObject({ lost: 1, steps: [{ key: 'a' }] })
    expect(await listRunNotes(scene.store, id)).toMatchObject([{ kind: 'lost', epoch: 1, workerId: worker }])
  })

  test('keeps what it had ended', async () => {
    const id = await inHand()
    await scene.apply(completeOf(id, 1, worker))
    await silentFor(worker, 9)
    expect(await recover()).toMatchObject({ dead: [worker], requeued: [] })
    expect(await getRun(scene.store, id)).toMatchObject({ status: 'completed' })
  })

  test('is dead once, however many judges look at once', async () => {
    const id = await inHand()
    await silentFor(worker, 9)
    const verdicts = await Promise.all(Array.from({ length: 5 }, async () => await recover()))
    expect(verdicts.flatMap(({ dead }) => dead)).toEqual([worker])
    expect(verdicts.flatMap(({ requeued }) => requeued.map(({ runId }) => runId))).toEqual([id])
  })

  test('that said it was leaving has left; what it left behind goes on elsewhere', async () => {
    await inHand()
    await beat({ status: 'draining' })
    await silentFor(worker, 9)
    expect(await recover()).toMatchObject({ dead: [], left: [worker], requeued: [{ lost: 1 }] })
  })

  test('and whose recovery nobody went on with loses its runs all the same, an hour later', async () => {
    const id = await inHand()
    await scene.row(`update workers set status = 'dead', died_at = now() - interval '1 hour' where id = $1`, [
      worker,
    ])
    expect(await recover()).toMatchObject({ requeued: [] })
    expect(await recover('judge', { everyDeath: true })).toMatchObject({
      requeued: [{ runId: id, epoch: 2 }],
    })
  })

  test('whose claim commits after the verdict loses that run too', async () => {
    await silentFor(worker, 9)
    await recover()
    const [id] = await scene.startRuns(1)
    await scene.row(
      `update runs set status = 'running', worker_id = $2, claimed_at = now(), started_at = now() where id = $1`,
      [id, worker],
    )
    expect(await recover()).toMatchObject({ dead: [], requeued: [{ runId: id, epoch: 2 }] })
  })

  test('is not judged while it lives, nor by one whose own heartbeats are broken or too short', async () => {
    await inHand()
    await silentFor(worker, 7)
    expect((await recover()).dead).toEqual([])
    await silentFor(worker, 9)
    expect((await recover('nobody')).dead).toEqual([])
    await judgeSince('fresh', 5)
    expect((await recover('fresh')).dead).toEqual([])
    // A judge that was silent for longer than its beats begins anew.
    await judgeSince('stuck', 60)
    await scene.row(`update instances set last_beat_at = now() - interval '6 s' where id = 'stuck'`)
    await beatInstance(scene.store, { id: 'stuck', component: 'orchestrator', version: '1' })
    expect((await recover('stuck')).dead).toEqual([])
    expect((await recover()).dead).toEqual([worker])
  })

  test('as the fifth that the run lost: the run fails, once and for all', async () => {
    const id = await inHand()
    await scene.row('update runs set lost = 4 where id = $1', [id])
    await silentFor(worker, 9)
    const { requeued, failed } = await recover()
    expect(requeued).toEqual([])
    expect(failed).toMatchObject([
      {
        runId: id,
        epoch: 1,
        lost: 5,
        workerId: worker,
        trigger: { id: 'on_order', stream: 'orders', partition: 0 },
      },
    ])
    const run = await getRun(scene.store, id)
    expect(run).toMatchObject({ status: 'failed', lost: 5, workerId: null })
    expect(JSON.parse(run!.error!)).toMatchObject({ name: 'WorkerLostError', code: 'worker_lost' })
    expect(await scene.apply(completeOf(id, 1, worker))).toEqual([{ kind: 'lost' }])
  })
})

describe('a heartbeat', () => {
  test('tells which listed runs are not its worker’s any more', async () => {
    const mine = await inHand()
    const [queued, others, recovered, ended] = await scene.startRuns(4)
    await scene.claim(others!, 1, 'w1')
    await scene.claim(recovered!, 1, worker)
    await scene.row(`update runs set status = 'queued', epoch = 2, worker_id = null where id = $1`, [
      recovered,
    ])
    await scene.claim(ended!, 1, worker)
    await scene.apply(completeOf(ended!, 1, worker))
    const gone = '01a00000-0000-7000-8000-000000000000'
    const list = [mine, queued!, others!, recovered!, ended!, gone].map((runId) => ({ runId, epoch: 1 }))
    const outcome = await beat({ runs: list })
    expect(outcome.status === 'ok' && new Set(outcome.lost.map(({ runId }) => runId))).toEqual(
      new Set([others, recovered, gone]),
    )
  })

  test('that leaves a run out twice in a row has forgotten it: the run goes back, and counts no loss', async () => {
    const id = await inHand()
    expect(await beat()).toEqual({ status: 'ok', lost: [], requeued: [] })
    expect(await beat({ runs: [{ runId: id, epoch: 1 }] })).toEqual({ status: 'ok', lost: [], requeued: [] })
    expect(await beat()).toMatchObject({ requeued: [] })
    expect(await beat()).toMatchObject({ requeued: [{ runId: id, epoch: 2, lost: 0 }] })
    expect(await listRunNotes(scene.store, id)).toMatchObject([{ kind: 'forgotten', epoch: 1 }])
  })

  test('with a steal in flight proves no absence, and breaks the row', async () => {
    const id = await inHand()
    await beat()
    expect(await beat({ stealing: true })).toMatchObject({ requeued: [] })
    expect(await beat()).toMatchObject({ requeued: [] })
    expect(await beat()).toMatchObject({ requeued: [{ runId: id }] })
  })

  test('makes its worker a target of dispatch, until it drains or falls silent', async () => {
    const targets = async () =>
      (await dispatchTargets(scene.store)).filter(({ workerId }) => workerId === worker)
    expect(await targets()).toEqual([])
    await beat({ partitions: [0, 3] })
    expect(await targets()).toEqual([
      {
        workerId: worker,
        queue: 'default',
        partitions: [0, 3],
        workflows: ['on_order'],
        build: 'b1',
        pinned: [],
        paused: [],
      },
    ])
    await silentFor(worker, 9)
    expect(await targets()).toEqual([])
    await beat({ status: 'draining', partitions: [0] })
    await beat({ status: 'live', partitions: [0] })
    expect(await targets()).toEqual([])
    expect((await listWorkers(scene.store)).find(({ id }) => id === worker)).toMatchObject({
      status: 'draining',
    })
  })
})

test('a worker that came back under a new id is retired and its runs queued at one moment: recovery counts no loss', async () => {
  const id = await inHand()
  const holder = await scene.store.general.connect()
  await holder.query('begin')
  await holder.query('select from runs where id = $1 for update', [id])
  const replacing = replaceWorker(scene.store, { ...workerOf(worker), workerId: worker })
  await eventually('it waits for the run', async () => {
    const { rows } = await scene.store.general.query<{ waiting: boolean }>(
      `select exists (select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock') as waiting`,
    )
    return rows[0]?.waiting
  })
  // Let go before anything is asserted: a failure must not leave the lock behind.
  const before = await scene.row('select status from workers where id = $1', [worker])
  await holder.query('commit')
  holder.release()
  expect(before).toMatchObject({ status: 'live' })
  expect(await replacing).toMatchObject([{ runId: id, epoch: 2, lost: 0 }])
  expect(await recover('judge', { everyDeath: true })).toMatchObject({ requeued: [] })
})

test('what died a day ago is forgotten, but never with a run in hand', async () => {
  const id = await inHand()
  await upsertWorker(scene.store, workerOf('ghost'))
  await scene.row(
    `update workers set status = 'dead', died_at = now() - interval '25 h' where id in ('ghost', $1)`,
    [worker],
  )
  expect(await dropOldWorkers(scene.store)).toBe(1)
  await scene.row(`update runs set worker_id = 'w1' where id = $1`, [id])
  expect(await dropOldWorkers(scene.store)).toBe(1)
  await beatInstance(scene.store, { id: 'old', component: 'gateway', version: '1' })
  await scene.row(`update instances set last_beat_at = now() - interval '25 h' where id = 'old'`)
  expect((await listInstances(scene.store)).map((instance) => instance.id)).not.toContain('old')
  expect(await dropOldInstances(scene.store)).toBe(1)
})
