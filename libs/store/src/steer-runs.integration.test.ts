import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lockRun, inOrder } from './fixtures/in-order.ts'
import {
  completeOf,
  openScene,
  registerShop,
  orderWorkflow,
  type Scene,
  stepOf,
  suspendOf,
} from './fixtures/scene.ts'
import { eventWait, type WaitScene, waitScene } from './fixtures/waits.ts'
import {
  cancelRuns,
  createRun,
  getRun,
  listRunNotes,
  listSteps,
  newRunIds,
  pauseRuns,
  releaseDelayedRuns,
  resumeRuns,
  retryOf,
  retryRuns,
  stealRuns,
  sweepEndedWaits,
  timeOutRuns,
  timeOutWaits,
} from './index.ts'

let scene: Scene
let waits: WaitScene
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  waits = await waitScene(scene)
  await waits.openStreams('answers')
})
afterAll(async () => {
  await scene.close()
})

const claimed = async (): Promise<string> => await waits.claimed()
const started = async (): Promise<string> => (await scene.startRuns(1))[0]!
const read = async (id: string) => (await getRun(scene.store, id))!
const freshId = async (): Promise<string> => newRunIds(1, await scene.store.serverNow())[0]!
const retry = async (runId: string) => await retryRuns(scene.store, [{ runId, newRunId: await freshId() }])
const lost = { kind: 'lost' }

describe('cancel', () => {
  test('× complete: of the two the first counts, the other is told that it lost', async () => {
    const [one, other] = [await claimed(), await claimed()]
    const cancelled = await inOrder(
      scene.store,
      lockRun(one),
      async () => await cancelRuns(scene.store, [one]),
      async () => await scene.apply(stepOf(one, 'late'), completeOf(one)),
    )
    expect(cancelled).toMatchObject([[{ runId: one, status: 'cancelled' }], [lost, lost]])
    const completed = await inOrder(
      scene.store,
      lockRun(other),
      async () => await scene.apply(stepOf(other, 'in time'), completeOf(other)),
      async () => await cancelRuns(scene.store, [other]),
    )
    expect(completed).toEqual([[{ kind: 'stored' }, { kind: 'done' }], []])
    expect([(await read(one)).status, (await read(other)).status]).toEqual(['cancelled', 'completed'])
    expect(await listSteps(scene.store, one)).toEqual([])
  })

  test('× answer, in both orders: the run ends cancelled, without a deadlock, and its wait is swept', async () => {
    for (const answerFirst of [true, false]) {
      const id = await claimed()
      await waits.waiting(id, 'reply', { topic: `answers/${id}` })
      await scene.apply(suspendOf(id))
      await waits.store(waits.response(1, { topic: `answers/${id}` }))
      const answer = async () => (await waits.look([id, 'reply'])).answers.length
      const cancel = async () => (await cancelRuns(scene.store, [id])).length
      const outcome = answerFirst
        ? await inOrder(scene.store, lockRun(id), answer, cancel)
        : await inOrder(scene.store, lockRun(id), cancel, answer)
      expect(outcome).toEqual(answerFirst ? [1, 1] : [1, 0])
      expect((await read(id)).status).toBe('cancelled')
      await sweepEndedWaits(scene.store, { after: null, limit: 1_000 })
      expect((await waits.wait(id, 'reply'))['status']).toBe(answerFirst ? 'answered' : 'cancelled')
    }
  })

  test('says in whose hands the run was, and names each run once', async () => {
    const id = await claimed()
    expect(await cancelRuns(scene.store, [id, id, await freshId()])).toHaveLength(1)
    expect(await listRunNotes(scene.store, id)).toMatchObject([
      { kind: 'cancelled', workerId: 'w1', claimedAt: expect.any(Number) as number },
    ])
  })
})

describe('pause', () => {
  test('× claim: a claim that waited for it has lost, one that came first has the run taken from it', async () => {
    const [one, other] = [await started(), await started()]
    const pauseFirst = await inOrder(
      scene.store,
      lockRun(one),
      async () => await pauseRuns(scene.store, [one]),
      async () => await scene.claim(one),
    )
    const claimFirst = await inOrder(
      scene.store,
      lockRun(other),
      async () => await scene.claim(other),
      async () => await pauseRuns(scene.store, [other]),
    )
    expect([pauseFirst, claimFirst]).toEqual([
      [[one], false],
      [true, [other]],
    ])
    expect(await scene.apply(stepOf(other, 'late'))).toEqual([lost])
    expect(
      await stealRuns(scene.store, { workerId: 'w2', queue: 'default', workflows: ['on_order'], limit: 10 }),
    ).toEqual([])
  })

  test('keeps a parked run from its worker; an answer meanwhile is there when it is resumed', async () => {
    const id = await claimed()
    await waits.waiting(id, 'reply', { topic: `answers/${id}` })
    await scene.apply(suspendOf(id))
    await pauseRuns(scene.store, [id])
    await waits.store(waits.response(1, { topic: `answers/${id}` }))
    expect((await waits.look([id, 'reply'])).queued).toEqual([])
    expect(await read(id)).toMatchObject({ status: 'paused', epoch: 1, wake: 1 })
    const { resumed, queued } = await resumeRuns(scene.store, [id])
    expect([resumed, queued]).toMatchObject([[id], [{ runId: id, epoch: 2 }]])
    expect(await scene.claim(id, 2)).toBe(true)
    expect(await waits.answersOf(id, 0, 2)).toMatchObject([{ key: 'reply', seen: 1 }])
    expect((await listRunNotes(scene.store, id)).map(({ kind }) => kind).toSorted()).toEqual([
      'parked',
      'paused',
      'resumed',
    ])
  })
})

describe('a retry', () => {
  const failed = async (): Promise<string> => {
    const id = await claimed()
    await scene.apply(
      stepOf(id, 'a', { n: 0, output: '"a"' }),
      stepOf(id, 'gave up', { n: 1, output: null, error: '{"name":"Error"}' }),
      stepOf(id, 'b', { n: 2, output: '"b"' }),
    )
    await cancelRuns(scene.store, [id])
    return id
  }

  test('is a new run with the window, the input and the successful steps of the other', async () => {
    const id = await failed()
    const [retried] = await retry(id)
    const [old, fresh] = [await read(id), await read(retried!.newRunId)]
    expect(fresh).toMatchObject({
      status: 'queued',
      epoch: 2,
      attempt: 2,
      retryOf: id,
      input: old.input,
      trigger: old.trigger,
      workflow: old.workflow,
    })
    expect(
      await scene.row(
        'select (select since from runs where id = $1) = (select since from runs where id = $2) as same',
        [id, fresh.id],
      ),
    ).toEqual({ same: true })
    expect(
      (await listSteps(scene.store, fresh.id)).map(({ key, output, n, epoch }) => [key, output, n, epoch]),
    ).toEqual([
      ['a', '"a"', 0, 1],
      ['b', '"b"', 2, 1],
    ])
    expect(retried!.seed).toMatchObject({ runId: fresh.id, epoch: 2 })
    expect(await scene.claim(fresh.id, 2)).toBe(true)
    expect(
      await scene.apply(stepOf(fresh.id, 'gave up', { epoch: 2, n: 3 }), completeOf(fresh.id, 2)),
    ).toEqual([{ kind: 'stored' }, { kind: 'done' }])
  })

  test('is one, however often and however much at once it is asked for', async () => {
    const id = await failed()
    const all = await Promise.all(Array.from({ length: 6 }, async () => await retry(id)))
    const [only, ...more] = all.flat()
    expect(more).toEqual([])
    expect(await retryOf(scene.store, id)).toBe(only!.newRunId)
    expect(await retry(id)).toEqual([])
    expect(await scene.row('select count(*)::int as runs from runs where retry_of = $1', [id])).toEqual({
      runs: 1,
    })
  })

  test('of a run that lives or is completed starts nothing', async () => {
    const [live, completed] = [await claimed(), await claimed()]
    await scene.apply(completeOf(completed))
    expect([await retry(live), await retry(completed), await retry(await freshId())]).toEqual([[], [], []])
  })

  test('goes on behind the events that the other had received, and waits anew for what had timed out', async () => {
    const id = await claimed()
    const topic = `answers/${id}`
    await waits.waiting(id, 'first', { topic })
    await waits.store(waits.response(11, { topic }), waits.response(12, { topic }))
    await waits.look([id, 'first'])
    await waits.register(eventWait(id, 'never', { topic: 'answers/nobody', seen: 1, timeout_ms: 0 }))
    expect(
      (await timeOutWaits(scene.store, [{ runId: id, key: 'never', unverified: false }])).answers,
    ).toHaveLength(1)
    await cancelRuns(scene.store, [id])
    const [retried] = await retry(id)
    const fresh = retried!.newRunId
    expect(await scene.claim(fresh, 2)).toBe(true)
    expect(await waits.answersOf(fresh, 0, 2)).toMatchObject([{ key: 'first', seen: 1 }])
    expect(await waits.register(eventWait(fresh, 'second', { topic, seen: 1, epoch: 2 }))).toMatchObject([
      { kind: 'registered', status: 'open' },
    ])
    const { answers } = await waits.look([fresh, 'second'])
    expect(answers).toHaveLength(1)
    // 1 and 2 were the answer and the time-out of the run before.
    expect(
      await scene.row(`select answered_offset, wake from waits where run_id = $1 and key = 'second'`, [
        fresh,
      ]),
    ).toEqual({ answered_offset: 12, wake: 3 })
    expect((await listSteps(scene.store, fresh)).map(({ key }) => key)).not.toContain('never')
  })
})

describe('time-outs', () => {
  const timed = async (timeouts: { start_ms: number | null; run_ms: number | null }): Promise<string> => {
    await registerShop(scene.store, {
      build: `b-${JSON.stringify(timeouts)}`,
      workflows: [{ ...orderWorkflow(), timeouts }],
    })
    return await started()
  }
  const due = async (id: string) =>
    await scene.row(`update runs set expires_at = now() where id = $1 and expires_at is not null`, [id])

  test('of the start end a run that nobody claimed; a claim ends them', async () => {
    const [one, other] = [await timed({ start_ms: 60_000, run_ms: null }), await started()]
    const expiry = (await read(one)).expiresAt! - (await read(one)).createdAt
    expect(expiry).toBe(60_000)
    await scene.claim(other)
    expect((await read(other)).expiresAt).toBeNull()
    await due(one)
    await due(other)
    const { ended } = await timeOutRuns(scene.store, { limit: 10 })
    expect(ended).toMatchObject([{ runId: one, status: 'timed_out' }])
    const { error } = await read(one)
    expect(JSON.parse(error!)).toMatchObject({ code: 'run_timed_out' })
    expect(await scene.claim(one)).toBe(false)
  })

  test('of the run begin with its first claim and go on through every other', async () => {
    const id = await timed({ start_ms: null, run_ms: 120_000 })
    expect((await read(id)).expiresAt).toBeNull()
    await scene.claim(id)
    const { expiresAt, startedAt } = await read(id)
    expect(expiresAt! - startedAt!).toBe(120_000)
    await pauseRuns(scene.store, [id])
    await resumeRuns(scene.store, [id])
    await scene.claim(id, 2)
    expect((await read(id)).expiresAt).toBe(expiresAt)
    await due(id)
    expect((await timeOutRuns(scene.store, { limit: 10 })).ended).toHaveLength(1)
    expect(await scene.apply(completeOf(id, 2))).toEqual([lost])
    expect(await listRunNotes(scene.store, id)).toMatchObject([
      { kind: 'paused' },
      { kind: 'resumed' },
      { kind: 'timed_out', workerId: 'w1' },
    ])
  })

  test('× claim: a run that is claimed while it is about to time out has the time that its claim gave it', async () => {
    const id = await timed({ start_ms: 60_000, run_ms: 60_000 })
    await due(id)
    const [taken, { ended }] = await inOrder(
      scene.store,
      lockRun(id),
      async () => await scene.claim(id),
      async () => await timeOutRuns(scene.store, { limit: 10 }),
    )
    expect([taken, ended]).toEqual([true, []])
    const other = await started()
    expect((await timeOutRuns(scene.store, { limit: 10 })).nextDueMs).toBeGreaterThan(
      (await read(other)).createdAt,
    )
  })
})

test('a delayed run is held from everybody, also when it is resumed, until its time has come', async () => {
  const runId = await freshId()
  const created = await createRun(scene.store, {
    runId,
    workflow: 'on_order',
    input: null,
    externalId: null,
    tags: {},
    traceparent: null,
    delayMs: 3_600_000,
  })
  expect(created).toMatchObject({ status: 'created', seed: null, run: { blockedReason: 'delayed' } })
  await pauseRuns(scene.store, [runId])
  expect(await resumeRuns(scene.store, [runId])).toEqual({ resumed: [runId], queued: [], held: [] })
  await scene.row(`update runs set queued_at = now() - interval '1 minute' where id = $1`, [runId])
  const steal = { workerId: 'w2', queue: 'default', workflows: ['on_order'], limit: 100 }
  expect((await stealRuns(scene.store, steal)).map((run) => run.run_id)).not.toContain(runId)
  const before = await releaseDelayedRuns(scene.store, { limit: 10 })
  expect(before).toMatchObject({ queued: [], nextDueMs: (await read(runId)).runAt })
  await scene.row('update runs set run_at = now() where id = $1', [runId])
  expect((await releaseDelayedRuns(scene.store, { limit: 10 })).queued).toMatchObject([{ runId, epoch: 2 }])
  expect(await read(runId)).toMatchObject({ status: 'queued', blockedReason: null, epoch: 2 })
})
