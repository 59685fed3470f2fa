import type { StoredStep } from '@headrace/schemas'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { childWait, invoke } from './fixtures/children.ts'
import { inOrder, lockRun, lockWait } from './fixtures/in-order.ts'
import {
  completeOf,
  failOf,
  openScene,
  orderWorkflow,
  registerShop,
  type Scene,
  stepOf,
  suspendOf,
  workerOf,
} from './fixtures/scene.ts'
import { eventWait, type WaitScene, waitScene } from './fixtures/waits.ts'
import { whileLocked } from './fixtures/while-locked.ts'
import { answerChildren, endedChildWaits } from './queries/answer-children.ts'
import { answerTimers } from './queries/answer-timers.ts'
import { applyCommands } from './queries/apply-commands.ts'
import { type ChildRequest, startChildren } from './queries/start-children.ts'
import { sweepEndedWaits } from './queries/sweep-ended-waits.ts'
import { upsertWorker } from './queries/workers.ts'

let scene: Scene
let waits: WaitScene

beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  await registerShop(scene.store, {
    build: 'b2',
    workflows: [orderWorkflow(), { id: 'report', queue: 'reports', on_deploy: 'upgrade', triggers: [] }],
    worker: workerOf('w1', { build: 'b2', workflows: ['on_order', 'report'] }),
  })
  // Who takes the children: a claim is of the worker's own queue.
  await upsertWorker(
    scene.store,
    workerOf('reporter', { build: 'b2', queue: 'reports', workflows: ['report'] }),
  )
  waits = await waitScene(scene)
  await waits.openStreams('answers')
})
afterAll(async () => await scene.close())

const start = async (...requests: ChildRequest[]) =>
  await startChildren(scene.store, requests, { nowMs: await scene.store.serverNow() })
const childrenOf = async (runId: string): Promise<{ id: string }[]> =>
  (await scene.store.general.query<{ id: string }>('select * from runs where parent_run_id = $1', [runId]))
    .rows
/** A parent in the hands of w1 that waits for a child, which is in those of the reporter. */
async function parentAndChild(key = 'child'): Promise<{ parent: string; child: string }> {
  const parent = await waits.claimed()
  const { queued } = await start(childWait(parent, key))
  const child = queued[0]?.runId ?? ''
  if (!(await scene.claim(child, 1, 'reporter'))) throw new Error('the child was not claimed')
  return { parent, child }
}
/** As who ends a child does: the end is committed, then matched. */
async function end(child: string, command: typeof completeOf | typeof failOf = completeOf) {
  const { ended } = await applyCommands(scene.store, [command(child, 1, 'reporter')])
  return await answerChildren(
    scene.store,
    ended.flatMap(({ parent }) => parent ?? []),
  )
}
const resultOf = ({ output, error }: StoredStep): unknown => JSON.parse(error ?? output ?? 'null')

describe('a child run', () => {
  test('is started with the wait for it, in its workflow’s queue, as a run of its own', async () => {
    const parent = await waits.claimed()
    const { outcomes, queued } = await start(childWait(parent))
    expect(outcomes).toEqual([{ kind: 'registered', status: 'open' }])
    const [child] = await childrenOf(parent)
    expect(child).toMatchObject({
      workflow: 'report',
      queue: 'reports',
      build: 'b2',
      status: 'queued',
      epoch: 1,
      input: '{"day":1}',
      parent_run_id: parent,
      parent_step_key: 'child',
      trigger_id: null,
    })
    expect(queued).toEqual([
      {
        runId: child!.id,
        epoch: 1,
        workflow: 'report',
        queue: 'reports',
        lost: 0,
        build: null,
        input: '{"day":1}',
      },
    ])
    expect(
      await scene.row('select kind, status, child_run_id, seen from waits where run_id = $1', [parent]),
    ).toEqual({
      kind: 'run',
      status: 'open',
      child_run_id: child!.id,
      seen: 0,
    })
  })

  test('is started once for its run and key, however often and by how many at once it is asked for', async () => {
    const parent = await waits.claimed()
    const waiting = Array.from({ length: 4 }, () => childWait(parent, 'waits'))
    const invoked = Array.from({ length: 4 }, () => invoke(parent, 'invoked'))
    const all = await Promise.all([
      ...Array.from({ length: 6 }, async () => await start(...waiting, ...invoked)),
      start(...invoked),
    ])
    const children = await childrenOf(parent)
    expect(children).toHaveLength(2)
    expect(all.flatMap(({ queued }) => queued)).toHaveLength(2)
    const answers = all.flatMap(({ outcomes }) => outcomes.map((outcome) => JSON.stringify(outcome)))
    const [invokedId] = all.flatMap(({ outcomes }) =>
      outcomes.flatMap((outcome) => (outcome.kind === 'invoked' ? outcome.childRunId : [])),
    )
    expect(new Set(answers).size).toBe(2)
    expect(children.map(({ id }) => id)).toContain(invokedId)
  })

  test('of a first request that is not committed yet is waited for, and found', async () => {
    const parent = await waits.claimed()
    const second = await whileLocked(scene.store, {
      lock: async (blocker) =>
        await blocker.query(
          `with named as (
             insert into run_ids (workflow, external_id, run_id) values ('headrace:child', $1 || '/child', $2) returning run_id)
           insert into runs (id, workflow, app, queue, status, since, queued_at, parent_run_id, parent_step_key)
           select run_id, 'report', 'shop', 'reports', 'queued', now(), now(), $1::uuid, 'child' from named`,
          [parent, parent.replace(/.{12}$/, '000000000001')],
        ),
      statement: async () => await start(invoke(parent)),
    })
    expect(second).toEqual({
      outcomes: [{ kind: 'invoked', childRunId: parent.replace(/.{12}$/, '000000000001') }],
      queued: [],
      held: [],
    })
    expect(await childrenOf(parent)).toHaveLength(1)
  })

  test('is not started for who has lost the parent, nor past the open waits, nor, unless somebody waits, of a workflow that is not there', async () => {
    const parent = await waits.claimed()
    const full = await waits.claimed()
    await scene.store.general.query(
      `insert into waits (run_id, key, kind, status, since, asked_since, epoch, expires_at)
       select $1, 'k' || n, 'time', 'open', now(), now(), 1, now() + interval '1 h' from generate_series(1, 99) n`,
      [full],
    )
    const { outcomes } = await start(
      { ...childWait(parent), workerId: 'w2' },
      childWait(parent, 'child', { epoch: 2 }),
      invoke(parent, 'lost', { epoch: 2 }),
      invoke(parent, 'none', { workflow: 'none' }),
      childWait(full, 'a'),
      childWait(full, 'b'),
      invoke(full, 'not waiting'),
    )
    expect(outcomes.map((outcome) => ('code' in outcome ? outcome.code : outcome.kind))).toEqual([
      'lost',
      'lost',
      'lost',
      'workflow_not_found',
      'registered',
      'too_many_open_waits',
      'invoked',
    ])
    expect([(await childrenOf(parent)).length, (await childrenOf(full)).length]).toEqual([0, 2])
    expect(await scene.row('select count(*)::int as waits from waits where run_id = $1', [parent])).toEqual({
      waits: 0,
    })
  })

  test('of a workflow that is not there fails at once for who waits, and stays so when the workflow comes', async () => {
    const parent = await waits.claimed()
    const { outcomes, queued } = await start(childWait(parent, 'child', { workflow: 'not_yet' }))
    expect([outcomes, queued]).toEqual([[{ kind: 'registered', status: 'open' }], []])
    const { answers } = await answerChildren(scene.store, [{ runId: parent, key: 'child' }])
    expect(answers).toHaveLength(1)
    const [step] = await waits.answersOf(parent)
    expect(resultOf(step!)).toMatchObject({
      name: 'ChildRunError',
      status: 'failed',
      error: {
        code: 'workflow_not_found',
        message: 'there is no workflow not_yet: start a worker that has it',
      },
    })
    expect(await childrenOf(parent)).toMatchObject([
      { status: 'failed', app: 'shop', queue: 'default', build: null },
    ])
  })

  test('is a replay mismatch under a key that stands for something else', async () => {
    const parent = await waits.claimed()
    await waits.register(eventWait(parent, 'event'))
    await start(childWait(parent, 'waited'), invoke(parent, 'invoked'))
    await scene.apply(stepOf(parent, 'step'))
    const { outcomes, queued } = await start(
      childWait(parent, 'event'),
      childWait(parent, 'step'),
      childWait(parent, 'invoked'),
      invoke(parent, 'waited'),
      childWait(parent, 'waited', { workflow: 'on_order' }),
      invoke(parent, 'invoked', { workflow: 'on_order' }),
    )
    expect(outcomes.map((outcome) => 'code' in outcome && outcome.code)).toEqual(
      Array.from({ length: 6 }, () => 'replay_mismatch'),
    )
    expect(outcomes[4]).toMatchObject({
      detail: expect.stringContaining(
        'a wait for a run of report, and the code now asks for a wait for a run of on_order',
      ),
    })
    expect(queued).toEqual([])
    const [back] = await waits.register(eventWait(parent, 'waited'))
    expect(back).toMatchObject({ kind: 'refused', code: 'replay_mismatch' })
  })
})

describe('the end of a child', () => {
  test('answers its parent with what it returned, to the letter, and wakes it where it is parked', async () => {
    const { parent, child } = await parentAndChild()
    await scene.apply(suspendOf(parent))
    const { answers, queued } = await end(child)
    expect(answers).toMatchObject([{ runId: parent, key: 'child', kind: 'run', status: 'answered' }])
    expect(queued).toMatchObject([{ runId: parent, epoch: 2 }])
    expect(
      await scene.row('select kind, seen, epoch, output, error from steps where run_id = $1', [parent]),
    ).toEqual({
      kind: 'child',
      seen: 1,
      epoch: 1,
      output: '{"ok":true}',
      error: null,
    })
    expect((await end(child)).answers).toEqual([])
  })

  const over = (status: string) => async (child: string) =>
    await scene.row(`update runs set status = $2, finished_at = now() where id = $1 returning id`, [
      child,
      status,
    ])
  test.each([
    ['failed', async (child: string) => await end(child, failOf)],
    ['timed_out', over('timed_out')],
    ['cancelled', over('cancelled')],
  ])('that has %s is an error that names it', async (status, ends) => {
    const { parent, child } = await parentAndChild('say "child"')
    await ends(child)
    await answerChildren(scene.store, [{ runId: parent, key: 'say "child"' }])
    const [step] = await waits.answersOf(parent)
    expect(step?.output).toBeNull()
    expect(resultOf(step!)).toEqual({
      name: 'ChildRunError',
      message: `run ${child} ${status.replace('_', ' ')}`,
      code: 'child_run_failed',
      stack: null,
      step_key: 'say "child"',
      run_id: child,
      status,
      error: status === 'failed' ? { name: 'Error', message: 'no' } : null,
    })
  })

  test('that is not committed yet answers nothing; then it does, whoever looks', async () => {
    const { parent, child } = await parentAndChild()
    const early = await whileLocked(scene.store, {
      // Ends it, and does not commit before somebody waits for the parent.
      lock: async (blocker) => {
        await blocker.query('select 1 from runs where id = $1 for no key update', [parent])
        await blocker.query(
          `update runs set status = 'completed', output = '7', finished_at = now() where id = $1`,
          [child],
        )
      },
      statement: async () => await answerChildren(scene.store, [{ runId: parent, key: 'child' }]),
    })
    expect(early.answers).toEqual([])
    expect(await waits.wait(parent, 'child')).toMatchObject({ status: 'open' })
    // The parent's wait, registered again, looks for itself.
    expect((await start(childWait(parent))).outcomes).toEqual([{ kind: 'registered', status: 'open' }])
    expect((await answerChildren(scene.store, [{ runId: parent, key: 'child' }])).answers).toHaveLength(1)
  })

  test('and the parking of its parent: in either order the parent goes on', async () => {
    const suspendsFirst = await parentAndChild()
    const endsFirst = await parentAndChild()
    const [parked] = await inOrder(
      scene.store,
      lockRun(suspendsFirst.parent),
      async () => await scene.apply(suspendOf(suspendsFirst.parent)),
      async () => await end(suspendsFirst.child),
    )
    expect(parked).toEqual([{ kind: 'done' }])
    expect(await waits.run(suspendsFirst.parent)).toEqual({ status: 'queued', epoch: 2, wake: 1 })
    const [, told] = await inOrder(
      scene.store,
      lockRun(endsFirst.parent),
      async () => await end(endsFirst.child),
      async () => await scene.apply(suspendOf(endsFirst.parent)),
    )
    expect(told).toMatchObject([{ kind: 'answers', wake: 1, steps: [{ key: 'child', step_kind: 'child' }] }])
    expect(await waits.run(endsFirst.parent)).toEqual({ status: 'running', epoch: 1, wake: 1 })
  })

  test('matched by several at once answers once', async () => {
    const { parent, child } = await parentAndChild()
    const [one, two] = await inOrder(
      scene.store,
      lockWait(parent, 'child'),
      async () => await end(child),
      async () => await answerChildren(scene.store, [{ runId: parent, key: 'child' }]),
    )
    expect([one.answers.length, two.answers.length]).toEqual([1, 0])
    expect(await waits.run(parent)).toMatchObject({ wake: 1 })
  })

  test('that nobody matched, since who ended it died, is found by the sweep, page by page', async () => {
    const pairs = [await parentAndChild(), await parentAndChild(), await parentAndChild()]
    const [first, , third] = pairs
    for (const { child } of [first!, third!])
      await applyCommands(scene.store, [completeOf(child, 1, 'reporter')])
    const found = new Set<string>()
    let after: string | null = null
    do {
      const page: Awaited<ReturnType<typeof endedChildWaits>> = await endedChildWaits(scene.store, {
        after,
        limit: 2,
      })
      for (const { runId } of page.refs) found.add(runId)
      after = page.next
    } while (after !== null)
    expect(pairs.map(({ parent }) => found.has(parent))).toEqual([true, false, true])
  })

  test('leaves a parent that has ended as it is, and a parent’s end leaves its child running', async () => {
    const { parent, child } = await parentAndChild()
    await scene.apply(completeOf(parent))
    expect(await waits.run(child)).toMatchObject({ status: 'running' })
    expect((await end(child)).answers).toEqual([])
    await sweepEndedWaits(scene.store, { after: null, limit: 1_000 })
    expect(await waits.wait(parent, 'child')).toMatchObject({ status: 'cancelled' })
  })

  test('that nobody waits for answers nobody', async () => {
    const parent = await waits.claimed()
    const { queued } = await start(invoke(parent))
    await scene.claim(queued[0]!.runId, 1, 'reporter')
    expect((await end(queued[0]!.runId)).answers).toEqual([])
    expect(await waits.run(parent)).toMatchObject({ wake: 0 })
  })
})

describe('the time of a wait for a run or for somebody', () => {
  test('is over for who was not answered, and an end that came before it still answers', async () => {
    const [late, ended] = [await parentAndChild(), await parentAndChild()]
    const parent = await waits.claimed()
    await waits.register({
      workerId: 'w1',
      command: {
        kind: 'wait',
        run_id: parent,
        epoch: 1,
        key: 'asks',
        seen: 0,
        wait: { kind: 'resume', timeout_ms: 2_000 },
      },
    })
    await applyCommands(scene.store, [completeOf(ended.child, 1, 'reporter')])
    const ids = [late.parent, ended.parent, parent]
    await scene.store.general.query('update waits set expires_at = now() where run_id = any ($1::uuid[])', [
      ids,
    ])
    const { answers } = await answerTimers(scene.store, { limit: 100 })
    expect(
      answers.filter(({ runId }) => ids.includes(runId)).map(({ kind, status }) => [kind, status]),
    ).toEqual(
      expect.arrayContaining([
        ['run', 'answered'],
        ['run', 'timed_out'],
        ['resume', 'timed_out'],
      ]),
    )
    const [step] = await waits.answersOf(late.parent)
    expect(resultOf(step!)).toMatchObject({
      name: 'WaitTimeoutError',
      code: 'wait_timeout',
      step_key: 'child',
      topic: null,
      unverified: false,
    })
    expect(await waits.run(late.child)).toMatchObject({ status: 'running' })
    expect((await end(late.child)).answers).toEqual([])
  })
})
