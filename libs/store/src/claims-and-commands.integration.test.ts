import { createDatabase } from '@headrace/testing'
import type { PoolClient } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completeOf, failOf, openScene, releaseOf, type Scene, stepOf, workerOf } from './fixtures/scene.ts'
import { whileLocked as meetingWhileLocked } from './fixtures/while-locked.ts'
import { applyCommands, claimRuns, newRunIds, stealRuns, upsertWorker } from './index.ts'

let scene: Scene
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
})
afterAll(async () => {
  await scene.close()
})

const started = async (): Promise<string> => (await scene.startRuns(1))[0]!
const claimed = async (): Promise<string> => {
  const id = await started()
  expect(await scene.claim(id)).toBe(true)
  return id
}
const stepCount = async (id: string): Promise<unknown> =>
  (await scene.row('select count(*)::int as steps from steps where run_id = $1', [id])).steps

const whileLocked = async <Result>(
  lock: (blocker: PoolClient) => Promise<unknown>,
  statement: () => Promise<Result>,
): Promise<Result> => await meetingWhileLocked(scene.store, { lock, statement })

describe('claims', () => {
  test('of two workers that claim one run, one has it', async () => {
    const id = await started()
    const claims = ['w1', 'w2'].map((workerId) => ({ runId: id, epoch: 1, workerId, wantInput: true }))
    const runs = await Promise.all(
      claims.map(async (claim) => await claimRuns(scene.store, { claims: [claim] })),
    )
    expect(runs.flat().filter((run) => run !== null)).toHaveLength(1)
    const together = await claimRuns(scene.store, { claims })
    expect(together.filter((run) => run !== null)).toHaveLength(1)
  })

  test('a claim that waited for another sees that the run is taken', async () => {
    const id = await started()
    const won = await whileLocked(
      async (blocker) =>
        await blocker.query(
          `update runs set status = 'running', worker_id = 'w2', claimed_at = now(), started_at = now() where id = $1`,
          [id],
        ),
      async () => await scene.claim(id),
    )
    expect(won).toBe(false)
  })

  test('a claim that waited for a change which leaves the run queued has it', async () => {
    const id = await started()
    const won = await whileLocked(
      async (blocker) => await blocker.query('update runs set wake = wake + 1 where id = $1', [id]),
      async () => await scene.claim(id),
    )
    expect(won).toBe(true)
  })

  test('a claim again by the same worker at the same epoch is answered again, with the steps stored meanwhile', async () => {
    const id = await claimed()
    await scene.apply(stepOf(id, 'b', { n: 1 }), stepOf(id, 'a', { n: 0 }))
    const [again] = await claimRuns(scene.store, {
      claims: [{ runId: id, epoch: 1, workerId: 'w1', wantInput: true }],
    })
    expect(again?.steps.map((step) => step.key)).toEqual(['a', 'b'])
    expect(again?.input).toBe('{"events":[]}')
    expect(again?.trigger).toMatchObject({ id: 'on_order', stream: 'orders', partition: 0 })
  })

  test('a stale epoch, an unknown run, an unknown worker, a dead one and one of another queue get nothing; others do', async () => {
    const [mine, stale, unknownWorkers, deadWorkers, othersQueue] = await scene.startRuns(5)
    await upsertWorker(scene.store, workerOf('dying'))
    await upsertWorker(scene.store, workerOf('mailer', { queue: 'mail' }))
    await scene.row(`update workers set status = 'dead', died_at = now() where id = 'dying'`)
    const claim = (runId: string, epoch: number, workerId: string) => ({
      runId,
      epoch,
      workerId,
      wantInput: false,
    })
    const runs = await claimRuns(scene.store, {
      claims: [
        claim(stale!, 2, 'w1'),
        claim(newRunIds(1, Date.now())[0]!, 1, 'w1'),
        claim('not a uuid', 1, 'w1'),
        claim(unknownWorkers!, 1, 'nobody'),
        claim(deadWorkers!, 1, 'dying'),
        claim(othersQueue!, 1, 'mailer'),
        claim(mine!, 1, 'w1'),
      ],
    })
    expect(runs.map((run) => run?.run_id ?? null)).toEqual([null, null, null, null, null, null, mine])
  })

  test('shuffled batches of claims do not deadlock', async () => {
    const ids = await scene.startRuns(200)
    const batches = Array.from({ length: 8 }, (_, i) =>
      ids.toSorted((a, b) => (a.slice(-4 - i) < b.slice(-4 - i) ? -1 : 1)),
    )
    const taken = await Promise.all(
      batches.map(
        async (batch, i) =>
          await claimRuns(scene.store, {
            claims: batch.map((runId) => ({
              runId,
              epoch: 1,
              workerId: i % 2 ? 'w1' : 'w2',
              wantInput: false,
            })),
          }),
      ),
    )
    // Each of the two workers asked four times: the one that has a run is told so four times.
    expect(taken.flat().filter((run) => run !== null)).toHaveLength(ids.length * 4)
  })
})

describe('stealing', () => {
  const queuedLongAgo = async (id: string): Promise<void> => {
    await scene.row(`update runs set queued_at = now() - interval '3 s' where id = $1`, [id])
  }
  const steal = async (workflows: string[], limit = 10) =>
    await stealRuns(scene.store, { workerId: 'thief', queue: 'default', workflows, limit })

  test('takes old queued runs of the named workflows only, oldest first, with a note', async () => {
    await upsertWorker(scene.store, workerOf('thief'))
    await scene.row(`update runs set blocked_reason = 'test' where status = 'queued'`)
    const [old, young] = await scene.startRuns(2)
    await queuedLongAgo(old!)
    expect(await steal(['other'])).toEqual([])
    const runs = await steal(['on_order'])
    expect(runs.map((run) => run.run_id)).toEqual([old])
    expect(runs[0]?.input).toBe('{"events":[]}')
    expect(await scene.row('select kind, epoch from run_notes where run_id = $1', [old])).toEqual({
      kind: 'stolen',
      epoch: 1,
    })
    await scene.row(`update runs set blocked_reason = 'test' where id = $1`, [young])
  })

  test('a run that lost two workers is taken alone, by a worker with nothing in hand', async () => {
    await upsertWorker(scene.store, workerOf('idle'))
    const [poison, plain] = await scene.startRuns(2)
    await scene.row('update runs set lost = 2 where id = $1', [poison])
    await queuedLongAgo(poison!)
    await queuedLongAgo(plain!)
    const by = async (workerId: string) =>
      (await stealRuns(scene.store, { workerId, queue: 'default', workflows: ['on_order'], limit: 9 })).map(
        (run) => run.run_id,
      )
    expect(await by('thief')).toEqual([plain])
    expect(await by('thief')).toEqual([])
    expect(await by('idle')).toEqual([poison])
  })

  test('two thieves never take the same run, and a locked run is passed over', async () => {
    const ids = await scene.startRuns(40)
    for (const id of ids) await queuedLongAgo(id)
    const hauls = await Promise.all(Array.from({ length: 8 }, async () => await steal(['on_order'], 5)))
    const taken = hauls.flat().map((run) => run.run_id)
    expect(new Set(taken).size).toBe(taken.length)
    expect(taken.toSorted()).toEqual(ids.toSorted())
  })
})

describe('steps', () => {
  test('the first stored result counts; another result of the same key is told which one stands', async () => {
    const id = await claimed()
    expect(await scene.apply(stepOf(id, 'a', { output: '1' }))).toEqual([{ kind: 'stored' }])
    expect(await scene.apply(stepOf(id, 'a', { output: '1' }))).toEqual([{ kind: 'stored' }])
    expect(await scene.apply(stepOf(id, 'a', { output: '2', n: 5 }))).toMatchObject([
      { kind: 'exists', step: { output: '1', n: 0, epoch: 1 } },
    ])
    expect(await stepCount(id)).toBe(1)
  })

  test('a step is stored only for the worker and epoch that hold the run', async () => {
    const id = await claimed()
    expect(
      await scene.apply(stepOf(id, 'a', { epoch: 2 }), stepOf(id, 'b', {}, 'w2'), stepOf(id, 'c', { n: 1 })),
    ).toEqual([{ kind: 'lost' }, { kind: 'lost' }, { kind: 'stored' }])
  })

  test('no step of the old epoch is stored once the run was recovered, however the two interleave', async () => {
    const id = await claimed()
    const replies = await whileLocked(
      async (blocker) =>
        await blocker.query(
          `update runs set status = 'queued', epoch = 2, queued_at = now(), worker_id = null where id = $1`,
          [id],
        ),
      async () => await scene.apply(stepOf(id, 'late'), completeOf(id)),
    )
    expect(replies).toEqual([{ kind: 'lost' }, { kind: 'lost' }])
    expect(await stepCount(id)).toBe(0)
    expect(await scene.claim(id, 2, 'w2')).toBe(true)
  })

  test('a change that leaves run, epoch and worker alone does not lose the step that waited for it', async () => {
    const id = await claimed()
    const replies = await whileLocked(
      async (blocker) => await blocker.query('update runs set wake = wake + 1 where id = $1', [id]),
      async () => await scene.apply(stepOf(id, 'a'), completeOf(id)),
    )
    expect(replies).toEqual([{ kind: 'stored' }, { kind: 'done' }])
    expect(await scene.row('select status, wake from runs where id = $1', [id])).toEqual({
      status: 'completed',
      wake: 1,
    })
  })

  test('what is over a limit is refused alone, and its run does not complete on it', async () => {
    const [id, other] = await scene.startRuns(2)
    await scene.claim(id!)
    await scene.claim(other!)
    const tooLarge = `"${'é'.repeat(600_000)}"`
    expect(
      await scene.apply(
        stepOf(id!, 'a', { output: tooLarge }),
        stepOf(id!, 'b', { n: 1_000 }),
        completeOf(id!),
        stepOf(other!, 'a'),
        completeOf(other!),
      ),
    ).toMatchObject([
      { kind: 'refused', code: 'step_output_too_large' },
      { kind: 'refused', code: 'too_many_steps' },
      { kind: 'refused', code: 'step_refused' },
      { kind: 'stored' },
      { kind: 'done' },
    ])
    expect(await scene.apply(failOf(id!))).toEqual([{ kind: 'done' }])
  })
})

describe('one bad row of a batch is lost alone', () => {
  const bad: [string, Parameters<typeof stepOf>[2] & { key?: string }][] = [
    ['a NUL in its key', { key: 'a\u0000b' }],
    ['a NUL in its output', { output: '"\u0000"' }],
    ['a number beyond its column', { seen: 2 ** 40 }],
    ['a time beyond all time', { started_at: 1e300 }],
    ['an output and an error', { error: '{}' }],
    ['an attempt that is none', { attempts: 0 }],
  ]
  test.each(bad)('%s', async (_, changes) => {
    const [first, broken, last] = await scene.startRuns(3)
    for (const id of [first!, broken!, last!]) await scene.claim(id)
    expect(
      await scene.apply(
        stepOf(first!, 'a'),
        completeOf(first!),
        stepOf(broken!, 'good', { n: 1 }),
        stepOf(broken!, 'bad', changes),
        completeOf(broken!),
        stepOf(last!, 'a'),
        completeOf(last!),
      ),
    ).toMatchObject([
      { kind: 'stored' },
      { kind: 'done' },
      { kind: 'stored' },
      { kind: 'refused', code: 'invalid_field' },
      { kind: 'refused', code: 'step_refused' },
      { kind: 'stored' },
      { kind: 'done' },
    ])
    expect(await scene.apply(releaseOf(broken!))).toEqual([{ kind: 'done' }])
  })

  test('a run id that is no uuid', async () => {
    const id = await claimed()
    expect(await scene.apply(stepOf('nonsense', 'a'), completeOf(id), completeOf('nonsense'))).toMatchObject([
      { kind: 'refused' },
      { kind: 'done' },
      { kind: 'refused' },
    ])
  })
})

describe('ends', () => {
  test('a resend of any end is done, and of its last step stored', async () => {
    const [a, b, c] = await scene.startRuns(3)
    for (const id of [a!, b!, c!]) await scene.claim(id)
    const commands = [stepOf(a!, 's'), completeOf(a!), failOf(b!), stepOf(c!, 's'), releaseOf(c!)]
    const replies = [
      { kind: 'stored' },
      { kind: 'done' },
      { kind: 'done' },
      { kind: 'stored' },
      { kind: 'done' },
    ]
    expect(await scene.apply(...commands)).toEqual(replies)
    expect(await scene.apply(...commands)).toEqual(replies)
    // Also when the run has been claimed by another in between.
    expect(await scene.claim(c!, 2, 'w2')).toBe(true)
    expect(await scene.apply(...commands)).toEqual(replies)
    // Also doubled within one batch.
    const d = await claimed()
    expect(await scene.apply(completeOf(d), completeOf(d))).toEqual([{ kind: 'done' }, { kind: 'done' }])
  })

  test('a run has one outcome: another end, or another worker, is lost', async () => {
    const id = await claimed()
    expect(await scene.apply(completeOf(id), failOf(id))).toEqual([{ kind: 'done' }, { kind: 'lost' }])
    expect(await scene.apply(failOf(id), completeOf(id, 1, 'w2'), releaseOf(id), completeOf(id, 2))).toEqual(
      Array.from({ length: 4 }, () => ({ kind: 'lost' })),
    )
    expect(await scene.row('select status, error from runs where id = $1', [id])).toEqual({
      status: 'completed',
      error: null,
    })
  })

  test('a release queues the run at the next epoch, with its steps kept and a task to send', async () => {
    const id = await claimed()
    const { released, ended } = await applyCommands(scene.store, [stepOf(id, 'a'), releaseOf(id)])
    expect(released).toEqual([
      {
        runId: id,
        epoch: 2,
        workflow: 'on_order',
        queue: 'default',
        lost: 0,
        build: 'b1',
        input: '{"events":[]}',
      },
    ])
    expect(ended).toEqual([])
    const [again] = await claimRuns(scene.store, {
      claims: [{ runId: id, epoch: 2, workerId: 'w2', wantInput: false }],
    })
    expect(again).toMatchObject({ epoch: 2, input: null, steps: [{ key: 'a', epoch: 1 }] })
  })

  test('an end is told with its times', async () => {
    const id = await claimed()
    const { ended } = await applyCommands(scene.store, [completeOf(id)])
    expect(ended).toMatchObject([{ runId: id, workflow: 'on_order', status: 'completed' }])
    const [end] = ended
    expect(end!.finishedAt).toBeGreaterThanOrEqual(end!.startedAt)
    expect(end!.startedAt).toBeGreaterThanOrEqual(end!.createdAt)
  })

  test('a batch may hold commands of two epochs of one run: each is judged by its own', async () => {
    const id = await claimed()
    await scene.apply(releaseOf(id))
    await scene.claim(id, 2, 'w2')
    expect(
      await scene.apply(
        stepOf(id, 'old'),
        completeOf(id),
        stepOf(id, 'new', { epoch: 2 }, 'w2'),
        completeOf(id, 2, 'w2'),
      ),
    ).toEqual([{ kind: 'lost' }, { kind: 'lost' }, { kind: 'stored' }, { kind: 'done' }])
    expect(await stepCount(id)).toBe(1)
  })

  test('a run does not complete on a step that met a result of another epoch', async () => {
    const id = await claimed()
    await scene.apply(stepOf(id, 'a', { output: '1' }), releaseOf(id))
    await scene.claim(id, 2)
    expect(
      await scene.apply(
        stepOf(id, 'a', { output: '2', epoch: 2 }),
        stepOf(id, 'b', { n: 1, epoch: 2 }),
        completeOf(id, 2),
      ),
    ).toMatchObject([
      { kind: 'exists', step: { output: '1', epoch: 1 } },
      { kind: 'stored' },
      { kind: 'refused', code: 'stored_step_differs' },
    ])
    expect(await scene.row('select status from runs where id = $1', [id])).toEqual({ status: 'running' })
    expect(await scene.apply(stepOf(id, 'b', { n: 1, epoch: 2 }), completeOf(id, 2))).toEqual([
      { kind: 'stored' },
      { kind: 'done' },
    ])
  })
})
