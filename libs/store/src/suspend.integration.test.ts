import { createDatabase } from '@headrace/testing'
import type { Pool, PoolClient } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completeOf, failOf, openScene, releaseOf, type Scene, stepOf, suspendOf } from './fixtures/scene.ts'
import { whileLocked } from './fixtures/while-locked.ts'
import { applyCommands, claimRuns, readAnswers } from './index.ts'

let scene: Scene
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
})
afterAll(async () => {
  await scene.close()
})

const claimed = async (): Promise<string> => {
  const [id] = await scene.startRuns(1)
  expect(await scene.claim(id!)).toBe(true)
  return id!
}
const runOf = async (id: string) =>
  await scene.row('select status, epoch, wake, worker_id from runs where id = $1', [id])

/** What every answer does to a run and its steps, whoever gives it. */
async function answer(client: Pool | PoolClient, id: string, ...keys: string[]): Promise<void> {
  await client.query(
    `with moved as (
       update runs set wake = wake + $2, epoch = epoch + (status = 'waiting')::int,
         queued_at = case status when 'waiting' then now() else queued_at end,
         status = case status when 'waiting' then 'queued' else status end
       where id = $1 and status in ('queued', 'running', 'waiting', 'paused')
       returning id, epoch, wake)
     insert into steps (run_id, key, kind, n, seen, epoch, output)
     select id, key, 'event', 0, wake - $2 + at, epoch, '"' || key || '"'
     from moved, unnest($3::text[]) with ordinality u(key, at) on conflict do nothing`,
    [id, keys.length, keys],
  )
}
/** A worker's death, as recovery writes it. */
async function takeBack(client: Pool | PoolClient, id: string): Promise<void> {
  await client.query(
    `with back as (
       update runs set status = 'queued', epoch = epoch + 1, lost = lost + 1, queued_at = now(), worker_id = null
       where id = $1 returning id, epoch - 1 as epoch)
     insert into run_notes (run_id, epoch, kind, worker_id) select id, epoch, 'lost', 'w1' from back`,
    [id],
  )
}
const locked = (id: string) => async (blocker: PoolClient) =>
  await blocker.query('select 1 from runs where id = $1 for no key update', [id])

describe('suspend', () => {
  test('parks a run with every answer seen; nobody holds it, its epoch stays', async () => {
    const id = await claimed()
    const { replies, released, ended } = await applyCommands(scene.store, [stepOf(id, 'a'), suspendOf(id)])
    expect(replies).toEqual([{ kind: 'stored' }, { kind: 'done' }])
    expect([released, ended]).toEqual([[], []])
    expect(await runOf(id)).toEqual({ status: 'waiting', epoch: 1, wake: 0, worker_id: null })
  })

  test('an answer that came before it is the reply, and the run stays in hand', async () => {
    const id = await claimed()
    await answer(scene.store.general, id, 'first', 'second')
    expect(await scene.apply(suspendOf(id))).toMatchObject([
      {
        kind: 'answers',
        wake: 2,
        steps: [
          { key: 'first', step_kind: 'event', n: 0, seen: 1, output: '"first"' },
          { key: 'second', seen: 2 },
        ],
      },
    ])
    expect(await runOf(id)).toMatchObject({ status: 'running', worker_id: 'w1' })
    expect(await scene.apply(suspendOf(id, 1))).toMatchObject([
      { kind: 'answers', steps: [{ key: 'second' }] },
    ])
    expect(await scene.apply(suspendOf(id, 2))).toEqual([{ kind: 'done' }])
  })

  test('an answer that commits while it waits for the run keeps the run from being parked', async () => {
    const id = await claimed()
    const replies = await whileLocked(scene.store, {
      lock: async (blocker) => await answer(blocker, id, 'a'),
      statement: async () => await scene.apply(suspendOf(id)),
    })
    expect(replies).toMatchObject([{ kind: 'answers', wake: 1, steps: [{ key: 'a' }] }])
    expect(await runOf(id)).toMatchObject({ status: 'running', epoch: 1 })
  })

  test('an answer that waited for it finds the run parked, and wakes it', async () => {
    const id = await claimed()
    await whileLocked(scene.store, {
      lock: async (blocker) =>
        await blocker.query(`update runs set status = 'waiting', worker_id = null where id = $1`, [id]),
      statement: async () => await answer(scene.store.general, id, 'a'),
    })
    expect(await runOf(id)).toMatchObject({ status: 'queued', epoch: 2, wake: 1 })
  })

  test('sent again it is done: parked still, woken since, in the hands of another since, completed since', async () => {
    const id = await claimed()
    const done = [{ kind: 'done' }]
    expect(await scene.apply(suspendOf(id), suspendOf(id))).toEqual([...done, ...done])
    expect(await scene.apply(suspendOf(id))).toEqual(done)
    await answer(scene.store.general, id, 'a')
    expect(await scene.apply(suspendOf(id))).toEqual(done)
    expect(await scene.claim(id, 2, 'w2')).toBe(true)
    expect(await scene.apply(suspendOf(id))).toEqual(done)
    expect(await scene.apply(completeOf(id, 2, 'w2'))).toEqual(done)
    expect(await scene.apply(suspendOf(id))).toEqual(done)
    expect(await runOf(id)).toMatchObject({ status: 'completed', epoch: 2 })
  })

  test('of a run that was taken from its worker it is lost', async () => {
    const id = await claimed()
    await takeBack(scene.store.general, id)
    expect(await scene.apply(suspendOf(id))).toEqual([{ kind: 'lost' }])
    // Also once the run was parked and woken at a later epoch.
    await scene.claim(id, 2, 'w2')
    await scene.apply(suspendOf(id, 0, 2, 'w2'))
    await answer(scene.store.general, id, 'a')
    expect(await scene.apply(suspendOf(id), suspendOf(id, 0, 2, 'w2'))).toEqual([
      { kind: 'lost' },
      { kind: 'done' },
    ])
  })

  test('of another worker, a later epoch, or with answers seen that never came, it is lost', async () => {
    const id = await claimed()
    expect(await scene.apply(suspendOf(id, 0, 1, 'w2'), suspendOf(id, 0, 2), suspendOf(id, 1))).toEqual(
      Array.from({ length: 3 }, () => ({ kind: 'lost' })),
    )
    expect(await runOf(id)).toMatchObject({ status: 'running', worker_id: 'w1' })
    expect(await scene.apply(completeOf(id), suspendOf(id))).toEqual([{ kind: 'done' }, { kind: 'lost' }])
  })

  test('× recovery: what waited for the recovery is lost', async () => {
    const id = await claimed()
    const replies = await whileLocked(scene.store, {
      lock: async (blocker) => await takeBack(blocker, id),
      statement: async () => await scene.apply(suspendOf(id)),
    })
    expect(replies).toEqual([{ kind: 'lost' }])
    expect(await runOf(id)).toMatchObject({ status: 'queued', epoch: 2 })
  })

  test('commands of two epochs of one run in one batch: the old epoch is lost', async () => {
    const id = await claimed()
    await takeBack(scene.store.general, id)
    await scene.claim(id, 2, 'w2')
    expect(
      await scene.apply(
        stepOf(id, 'old'),
        suspendOf(id),
        stepOf(id, 'new', { epoch: 2 }, 'w2'),
        suspendOf(id, 0, 2, 'w2'),
      ),
    ).toEqual([{ kind: 'lost' }, { kind: 'lost' }, { kind: 'stored' }, { kind: 'done' }])
    expect(await runOf(id)).toMatchObject({ status: 'waiting', epoch: 2 })
  })
})

describe('claim × answer', () => {
  const claim = async (id: string, epoch: number) => {
    const claims = [{ runId: id, epoch, workerId: 'w2', wantInput: false }]
    return (await claimRuns(scene.store, { claims }))[0]
  }

  test('an answer between the claim and its reading of steps is there, and counted', async () => {
    const id = await claimed()
    await answer(scene.store.general, id, 'first')
    await scene.apply(suspendOf(id, 1))
    await answer(scene.store.general, id, 'second')
    const run = await whileLocked(scene.store, {
      // Holds the claim before its second statement: its first has committed.
      lock: async (blocker) => await blocker.query('lock table steps in access exclusive mode'),
      statement: async () => await claim(id, 2),
      meanwhile: async (blocker) => {
        expect(await runOf(id)).toMatchObject({ status: 'running', wake: 2 })
        await answer(blocker, id, 'third')
      },
    })
    expect(run?.wake).toBe(3)
    expect(run?.steps.map(({ key, seen }) => [key, seen])).toEqual([
      ['first', 1],
      ['second', 2],
      ['third', 3],
    ])
    expect(await scene.apply(suspendOf(id, 3, 2, 'w2'))).toEqual([{ kind: 'done' }])
  })

  test('an answer after the reading of steps is not counted: it is told at the suspend', async () => {
    const id = await claimed()
    await scene.apply(releaseOf(id))
    expect(await claim(id, 2)).toMatchObject({ wake: 0, steps: [] })
    await answer(scene.store.general, id, 'late')
    expect(await scene.apply(suspendOf(id, 0, 2, 'w2'))).toMatchObject([{ kind: 'answers', wake: 1 }])
  })

  test('a claim that waited for an answer has it', async () => {
    const id = await claimed()
    await scene.apply(releaseOf(id))
    const run = await whileLocked(scene.store, {
      lock: async (blocker) => await answer(blocker, id, 'a'),
      statement: async () => await claim(id, 2),
    })
    expect(run).toMatchObject({ wake: 1, steps: [{ key: 'a', seen: 1 }] })
  })

  test('steps come in the order they happened: by wake, an answer before what knew of it, then by n', async () => {
    const id = await claimed()
    await scene.apply(stepOf(id, 'e', { n: 1 }), stepOf(id, 'd', { n: 0 }))
    await answer(scene.store.general, id, 'c', 'b')
    await scene.apply(
      stepOf(id, 'z', { n: 2, seen: 0 }),
      stepOf(id, 'f', { n: 4, seen: 2 }),
      stepOf(id, 'g', { n: 3, seen: 2 }),
      stepOf(id, 'h', { n: 5, seen: 1 }),
    )
    await scene.apply(releaseOf(id))
    const run = await claim(id, 2)
    expect(run?.steps.map(({ key }) => key)).toEqual(['d', 'e', 'z', 'c', 'h', 'b', 'g', 'f'])
  })
})

describe('answers are read', () => {
  test('each for its own run, from what was seen on; a run that is not held is lost', async () => {
    const [one, none, other] = await scene.startRuns(3)
    for (const id of [one!, none!, other!]) await scene.claim(id)
    await answer(scene.store.general, one!, 'a', 'b')
    const asked = (runId: string, seen: number, epoch = 1, workerId = 'w1') => ({
      runId,
      seen,
      epoch,
      workerId,
    })
    expect(
      await readAnswers(scene.store, [
        asked(one!, 1),
        asked(none!, 0),
        asked(one!, 0),
        asked(other!, 0, 2),
        asked(other!, 0, 1, 'w2'),
        asked('no uuid', 0),
      ]),
    ).toMatchObject([
      { wake: 2, steps: [{ key: 'b' }] },
      { wake: 0, steps: [] },
      { wake: 2, steps: [{ key: 'a' }, { key: 'b' }] },
      null,
      null,
      null,
    ])
  })
})

describe('a run completes only on stored results', () => {
  const differs = { kind: 'refused', code: 'stored_step_differs' }
  const exists = { kind: 'exists', step: { key: 'x', step_kind: 'event' } }

  test('an answer stands under the key of a step, at the same epoch and place', async () => {
    const id = await claimed()
    await answer(scene.store.general, id, 'x')
    expect(await scene.apply(stepOf(id, 'x', { n: 0 }), completeOf(id))).toMatchObject([exists, differs])
    expect(await scene.apply(stepOf(id, 'x', { n: 0 }))).toMatchObject([exists])
    expect(await runOf(id)).toMatchObject({ status: 'running' })
  })

  test('such an answer commits while the batch waits for the run; others of the batch complete', async () => {
    const id = await claimed()
    const other = await claimed()
    const replies = await whileLocked(scene.store, {
      lock: async (blocker) => await answer(blocker, id, 'x'),
      statement: async () =>
        await scene.apply(stepOf(id, 'x'), completeOf(id), stepOf(other, 'x'), completeOf(other)),
    })
    expect(replies).toMatchObject([exists, differs, { kind: 'stored' }, { kind: 'done' }])
    expect(await runOf(id)).toMatchObject({ status: 'running' })
    expect(await runOf(other)).toMatchObject({ status: 'completed' })
  })

  test('steps sent again with the complete behind them are stored, and the run completes', async () => {
    const id = await claimed()
    await scene.apply(stepOf(id, 'a'), stepOf(id, 'b', { n: 1 }))
    const { replies, ended } = await applyCommands(scene.store, [
      stepOf(id, 'a'),
      stepOf(id, 'b', { n: 1 }),
      stepOf(id, 'c', { n: 2 }),
      completeOf(id),
    ])
    expect(replies).toEqual([{ kind: 'stored' }, { kind: 'stored' }, { kind: 'stored' }, { kind: 'done' }])
    expect(ended).toMatchObject([{ runId: id, status: 'completed' }])
    expect(await scene.apply(stepOf(id, 'c', { n: 2 }), completeOf(id))).toEqual([
      { kind: 'stored' },
      { kind: 'done' },
    ])
  })

  test('a run that goes back while its complete is looked at again is lost', async () => {
    const id = await claimed()
    await scene.apply(stepOf(id, 'a'))
    const replies = await whileLocked(scene.store, {
      lock: locked(id),
      statement: async () => await scene.apply(stepOf(id, 'a'), completeOf(id)),
      meanwhile: async (blocker) => await takeBack(blocker, id),
    })
    expect(replies).toEqual([{ kind: 'stored' }, { kind: 'lost' }])
    expect(await runOf(id)).toMatchObject({ status: 'queued', epoch: 2 })
  })

  test('a failure needs no stored result', async () => {
    const id = await claimed()
    await answer(scene.store.general, id, 'x')
    expect(await scene.apply(stepOf(id, 'x'), failOf(id))).toMatchObject([exists, { kind: 'done' }])
  })

  test('a worker cannot store an answer', async () => {
    const id = await claimed()
    expect(await scene.apply(stepOf(id, 'x', { step_kind: 'event' }), completeOf(id))).toMatchObject([
      { kind: 'refused', code: 'invalid_field' },
      { kind: 'refused', code: 'step_refused' },
    ])
  })
})

test('the trace context that a worker leaves when it parks a run, or gives it back, is told to the next claim alone', async () => {
  const leaves = (n: number) => `00-${'a'.repeat(32)}-${String(n).repeat(16)}-01`
  const id = await claimed()
  const claimedAt = async (epoch: number) => {
    const claims = [{ runId: id, epoch, workerId: 'w1', wantInput: false }]
    const [run] = await claimRuns(scene.store, { claims })
    return [run?.epoch, run?.former_traceparent]
  }
  const leave = async (item: ReturnType<typeof suspendOf>, traceparent: string) => {
    const command = { ...item.command, traceparent } as typeof item.command
    const { replies } = await applyCommands(scene.store, [{ ...item, command }])
    expect(replies).toEqual([{ kind: 'done' }])
  }
  await leave(suspendOf(id), leaves(1))
  await answer(scene.store.general, id, 'it')
  expect(await claimedAt(2)).toEqual([2, leaves(1)])
  await leave(releaseOf(id, 2), leaves(2))
  expect(await claimedAt(3)).toEqual([3, leaves(2)])
  await applyCommands(scene.store, [releaseOf(id, 3)])
  expect(await claimedAt(4)).toEqual([4, undefined])
})
