import { compileCancelFilter, setCrashHandler } from '@headrace/core'
import type { CancelRule, WorkflowDefinition } from '@headrace/schemas'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { childWait } from './fixtures/children.ts'
import { inOrder, lockRun } from './fixtures/in-order.ts'
import {
  completeOf,
  moveOf,
  openScene,
  orderWorkflow,
  registerShop,
  type Scene,
  suspendOf,
  windowOf,
} from './fixtures/scene.ts'
import { eventWait, inHandOf, waitScene, type WaitScene } from './fixtures/waits.ts'
import {
  applyCommands,
  cancelByResponses,
  cancelFromResponses,
  type CancelMatch,
  cancelRuns,
  createRun,
  type EndedRun,
  flushWindows,
  getRun,
  listRunNotes,
  listSteps,
  listWaits,
  newRunIds,
  openPendingWaits,
  openWaitsOn,
  pauseRuns,
  redriveWindow,
  type ResponseRow,
  retryRuns,
  startChildren,
  sweepEndedWaits,
  uncheckedCancels,
} from './index.ts'

const byOrder = 'event.data.order == trigger.data.order'
const matches: CancelMatch = (filter, event, firstEvent) => {
  const compiled = compileCancelFilter(filter)
  return compiled.kind === 'ok' && compiled.matches(event, firstEvent)
}

let scene: Scene
let waits: WaitScene
let topics = 0
let topic: string
/** Where the log of the next test begins. */
let offset = 100

beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  waits = await waitScene(scene)
  await waits.openStreams('stops')
})
afterAll(async () => {
  await scene.close()
})
beforeEach(() => {
  topics += 1
  topic = `stops/t${topics}`
  offset += 10
})

const ruled = (...cancelOn: CancelRule[]): WorkflowDefinition => ({
  ...orderWorkflow(`ship_${topics}`, `ships${topics}/created`),
  cancel_on: cancelOn,
})

/** Registers a workflow with these rules, or the one that each event of the test's topic cancels, by order. */
async function registered(...rules: CancelRule[]): Promise<string> {
  const workflow = ruled(...(rules.length === 0 ? [{ event: topic, if: byOrder }] : rules))
  await registerShop(scene.store, { app: `app_${topics}`, workflows: [workflow] })
  return workflow.id
}

/** Runs of windows with one event each, of these orders. They begin now. */
async function started(
  workflow: string,
  orders: string[],
  {
    revision = 0,
    partition = 0,
    cancelOn = [{ event: topic, if: byOrder }],
    agoMs = 0,
  }: {
    revision?: number
    partition?: number
    cancelOn?: readonly CancelRule[]
    agoMs?: number
  } = {},
): Promise<string[]> {
  const now = await scene.store.serverNow()
  const ids = newRunIds(orders.length, now)
  const at = { triggerId: workflow, stream: `ships${topics}`, partition }
  await flushWindows(scene.store, {
    moves: [moveOf({ ...at, revision, nextOffset: offset + orders.length })],
    runs: ids.map((id, index) =>
      windowOf(id, {
        ...at,
        workflow,
        app: `app_${topics}`,
        since: now - agoMs,
        cancelOn,
        input: JSON.stringify({ events: [{ topic: 'x/y', data: { order: orders[index] } }] }),
      }),
    ),
  })
  return ids
}

/** An event of the test's topic, behind the beginning of all runs that are there. */
const stop = (sequenceId: number, data: unknown, changes: Partial<ResponseRow> = {}): ResponseRow =>
  waits.response(sequenceId, {
    topic,
    data: JSON.stringify(data),
    logTimeMs: Date.now() + 60_000,
    ...changes,
  })

/** What the correlator does with a batch. */
async function correlate(...batch: ResponseRow[]): Promise<EndedRun[]> {
  await waits.store(...batch)
  const found = await openWaitsOn(scene.store, [topic], null, 20_000)
  return await cancelByResponses(
    scene.store,
    found.filter(({ kind }) => kind === 'cancel'),
    matches,
    batch.map(inHandOf),
  )
}

/** What new waits do for themselves. */
const look = async (): Promise<EndedRun[]> =>
  await cancelFromResponses(scene.store, await uncheckedCancels(scene.store, { limit: 20_000 }), matches)

const statusOf = async (id: string): Promise<unknown> => (await waits.run(id))['status']
const cancelsOf = async (id: string): Promise<Record<string, unknown>[]> => {
  const { rows } = await scene.store.general.query<Record<string, unknown>>(
    `select topic, status, filter, first_event from waits where run_id = $1 and kind = 'cancel' order by key`,
    [id],
  )
  return rows
}

describe('an event and a run', () => {
  test('that comes after the run was started cancels it, and the run says which it was', async () => {
    const [a = '', b = ''] = await started(await registered(), ['a', 'b'])
    expect(await look()).toEqual([])
    const ended = await correlate(stop(7, { order: 'a' }))
    expect(ended).toMatchObject([{ runId: a, status: 'cancelled' }])
    expect(await statusOf(b)).toBe('queued')
    const run = await getRun(scene.store, a)
    const event = `the event ${topic} at stops/0/7`
    expect(JSON.parse(run?.error ?? '')).toMatchObject({
      code: 'cancelled_by_event',
      message: `${event} cancelled the run`,
    })
    expect(await listRunNotes(scene.store, a)).toMatchObject([{ kind: 'cancelled', detail: event }])
    const listed = await listWaits(scene.store, { runId: a }, { limit: 10, cursor: null })
    expect(listed.waits).toMatchObject([
      {
        kind: 'cancel',
        status: 'answered',
        expiresAt: null,
        answer: { stream: 'stops', partition: 0, sequenceId: 7 },
      },
    ])
  })

  test('that was stored before the run was started, and after it began, cancels it by its own look', async () => {
    const workflow = await registered()
    await waits.store(stop(1, { order: 'z' }), stop(2, { order: 'a' }))
    const [a = '', b = ''] = await started(workflow, ['a', 'b'])
    expect(await look()).toMatchObject([{ runId: a }])
    expect([await statusOf(a), await statusOf(b)]).toEqual(['cancelled', 'queued'])
    // Those that found nothing have looked.
    expect(await look()).toEqual([])
    expect(await uncheckedCancels(scene.store, { limit: 100 })).toEqual([])
  })

  test('that comes for a run which has ended, or by two of its rules, is looked for once', async () => {
    const rules = [{ event: topic }, { event: topic, if: byOrder }]
    const workflow = await registered(...rules)
    await waits.store(stop(1, { order: 'a' }))
    const [done = ''] = await started(workflow, ['a', 'a'], { cancelOn: rules })
    await scene.claim(done)
    await scene.apply(completeOf(done))
    expect(await look()).toHaveLength(1)
    expect(await statusOf(done)).toBe('completed')
    expect(await uncheckedCancels(scene.store, { limit: 100 })).toEqual([])
  })

  test('that is older than the run cancels nothing', async () => {
    const workflow = await registered()
    await waits.store(stop(1, { order: 'a' }, { logTimeMs: (await scene.store.serverNow()) - 60_000 }))
    const [id = ''] = await started(workflow, ['a'])
    await look()
    expect(await statusOf(id)).toBe('queued')
  })

  test('of the run’s own window cancels nothing', async () => {
    topic = `ships${topics}/created`
    await waits.openStreams(`ships${topics}`)
    const rule = { event: topic, if: byOrder }
    const [id = ''] = await started(await registered(rule), ['a'], { cancelOn: [rule], agoMs: 60_000 })
    expect(await correlate(stop(100, { order: 'a' }))).toEqual([])
    expect(await correlate(stop(101, { order: 'a' }))).toMatchObject([{ runId: id }])
  })

  test('cancels once, however often it comes, and by the first of several rules', async () => {
    const rules = [{ event: topic, if: 'event.data.never' }, { event: topic }, { event: topic, if: byOrder }]
    const [id = ''] = await started(await registered(...rules), ['a'], { cancelOn: rules })
    expect(await correlate(stop(1, { order: 'a', never: false }), stop(2, { order: 'a' }))).toHaveLength(1)
    expect(await correlate(stop(1, { order: 'a', never: false }))).toEqual([])
    expect((await cancelsOf(id)).map(({ status }) => status)).toEqual(['open', 'answered', 'open'])
  })
})

test.each(['queued', 'held', 'running', 'waiting', 'paused'])(
  'a run that is %s is cancelled',
  async (status) => {
    const [id = ''] = await started(await registered(), ['a'])
    if (status === 'held')
      await scene.row(`update runs set blocked_reason = 'concurrency', concurrency_key = 'k' where id = $1`, [
        id,
      ])
    if (status === 'running' || status === 'waiting') await scene.claim(id)
    if (status === 'waiting') {
      await waits.openStreams(`answers${topics}`)
      await waits.waiting(id, 'w', { topic: `answers${topics}/a` })
      await scene.apply(suspendOf(id))
    }
    if (status === 'paused') await pauseRuns(scene.store, [id])
    const [ended] = await correlate(stop(1, { order: 'a' }))
    // Whoever ended it lets the next one of its key in.
    expect(ended).toMatchObject({ runId: id, concurrencyKey: status === 'held' ? 'k' : null })
    expect(await statusOf(id)).toBe('cancelled')
    expect(await scene.apply(completeOf(id))).toEqual([{ kind: 'lost' }])
  },
)

describe('an event and an end at the same moment', () => {
  test.each(['event first', 'end first'])('%s: one counts', async (order) => {
    const [id = ''] = await started(await registered(), ['a'])
    await scene.claim(id)
    const event = async (): Promise<unknown> => await correlate(stop(1, { order: 'a' }))
    const end = async (): Promise<unknown> => (await applyCommands(scene.store, [completeOf(id)])).replies
    await (order === 'event first'
      ? inOrder(scene.store, lockRun(id), event, end)
      : inOrder(scene.store, lockRun(id), end, event))
    expect(await statusOf(id)).toBe(order === 'event first' ? 'cancelled' : 'completed')
    const [wait] = await cancelsOf(id)
    expect(wait?.['status']).toBe(order === 'event first' ? 'answered' : 'open')
  })
})

describe('a wait that cancels', () => {
  test('stands or falls with its run: a window whose cursor is somebody else’s has neither', async () => {
    const workflow = await registered()
    const [id = ''] = await started(workflow, ['a'], { revision: 9 })
    expect(await scene.row('select id from runs where id = $1', [id])).toEqual({})
    expect(await cancelsOf(id)).toEqual([])
  })

  test('stands or falls with its run: who dies between the two has started neither', async () => {
    const workflow = await registered()
    setCrashHandler((name) => {
      if (name === 'start.before-cancel-waits') throw new Error('died')
    })
    await expect(started(workflow, ['a'])).rejects.toThrow('died')
    setCrashHandler(null)
    const count = 'select count(*)::int as runs from runs where workflow = $1'
    expect(await scene.row(count, [workflow])).toEqual({ runs: 0 })
    const [id = ''] = await started(workflow, ['a'])
    expect(await cancelsOf(id)).toHaveLength(1)
  })

  test('is no step, and nothing that a run waits for', async () => {
    const [id = ''] = await started(await registered(), ['a'])
    expect((await getRun(scene.store, id))?.waitingFor).toEqual([])
    expect(await listSteps(scene.store, id)).toEqual([])
    expect(await cancelsOf(id)).toEqual([
      { topic, status: 'open', filter: byOrder, first_event: '{"data":{"order":"a"}}' },
    ])
  })

  test('takes none of the waits that a run may have', async () => {
    const [id = ''] = await started(await registered(), ['a'])
    await scene.claim(id)
    const asked = Array.from({ length: 100 }, (_, n) => eventWait(id, `w${n}`, { topic: 'stops/none' }))
    expect((await waits.register(...asked)).filter(({ kind }) => kind === 'refused')).toEqual([])
    expect(await waits.register(eventWait(id, 'more', { topic: 'stops/none' }))).toMatchObject([
      { kind: 'refused', code: 'too_many_open_waits' },
    ])
  })

  test('ends with its run', async () => {
    const [id = ''] = await started(await registered(), ['a'])
    await cancelRuns(scene.store, [id])
    await sweepEndedWaits(scene.store, { after: null, limit: 20_000 })
    expect(await cancelsOf(id)).toMatchObject([{ status: 'cancelled' }])
  })

  test('is pending until its stream is complete, and looks then', async () => {
    topic = `fresh${topics}/stop`
    const [id = ''] = await started(await registered(), ['a'])
    const { asked, open } = await scene.row(
      `select projected_from < now() - interval '23 h' as asked, open_from as open from waited_streams where stream = $1`,
      [topic.split('/')[0]],
    )
    expect([asked, open]).toEqual([true, null])
    expect(await cancelsOf(id)).toMatchObject([{ status: 'pending' }])
    await waits.store(stop(1, { order: 'a' }))
    expect(await look()).toEqual([])
    await scene.row('update waited_streams set open_from = projected_from where stream = $1', [
      topic.split('/')[0],
    ])
    expect(await openPendingWaits(scene.store)).toEqual([])
    expect(await look()).toMatchObject([{ runId: id }])
  })
})

describe('each way to start a run gives it what cancels it:', () => {
  test('by API, with its input', async () => {
    const created = await createRun(scene.store, {
      runId: newRunIds(1, await scene.store.serverNow())[0] ?? '',
      workflow: await registered(),
      input: '{"order":"a"}',
      externalId: 'mine',
      tags: {},
      traceparent: null,
      delayMs: null,
    })
    const id = created.status === 'created' ? created.run.id : ''
    expect(await cancelsOf(id)).toMatchObject([{ first_event: '{"data":{"order":"a"}}' }])
    expect(await correlate(stop(1, { order: 'a' }))).toMatchObject([{ runId: id }])
  })

  test('as a child, which tells its parent', async () => {
    const workflow = await registered()
    const [parent = ''] = await scene.startRuns(1)
    await scene.claim(parent)
    const { queued } = await startChildren(
      scene.store,
      [childWait(parent, 'child', { workflow, input: '{"order":"a"}' })],
      { nowMs: await scene.store.serverNow() },
    )
    expect(await correlate(stop(1, { order: 'a' }))).toMatchObject([
      { runId: queued[0]?.runId, parent: { runId: parent, key: 'child' } },
    ])
  })

  test('as a retry, which what had cancelled the run does not cancel again', async () => {
    const now = await scene.store.serverNow()
    const [id = ''] = await started(await registered(), ['a'], { agoMs: 60_000 })
    await correlate(stop(1, { order: 'a' }, { logTimeMs: now - 30_000 }))
    expect(await statusOf(id)).toBe('cancelled')
    const [newRunId = ''] = newRunIds(1, now)
    await retryRuns(scene.store, [{ runId: id, newRunId }])
    expect(await look()).toEqual([])
    expect(await correlate(stop(2, { order: 'a' }))).toMatchObject([{ runId: newRunId }])
  })

  test('as a window that was set aside', async () => {
    const workflow = await registered()
    const [runId = ''] = newRunIds(1, await scene.store.serverNow())
    const since = await scene.store.serverNow()
    const input = '{"events":[{"data":{"order":"a"}}]}'
    await redriveWindow(
      scene.store,
      { partition: 0, sequenceId: topics, logTimeMs: 1_795_000_000_000 },
      { ...windowOf(runId), triggerId: workflow, since, input },
      { reason: null, by: 'test' },
    )
    expect(await correlate(stop(1, { order: 'a' }))).toMatchObject([{ runId }])
  })
})

test('of 10,000 live runs each of 500 events cancels its own, by a look-up and not by trying each on each', async () => {
  const workflow = await registered()
  const ids: string[] = []
  for (let revision = 0; revision < 20; revision += 1)
    ids.push(
      ...(await started(
        workflow,
        Array.from({ length: 500 }, (_, n) => `o${revision * 500 + n}`),
        { revision },
      )),
    )
  let tried = 0
  const found = await openWaitsOn(scene.store, [topic], null, 20_000)
  expect(found).toHaveLength(10_000)
  const batch = Array.from({ length: 500 }, (_, n) => stop(n, { order: `o${n * 20}` }))
  await waits.store(...batch)
  const counting: CancelMatch = (...asked) => {
    tried += 1
    return matches(...asked)
  }
  const ended = await cancelFromResponses(scene.store, found, counting)
  expect(ended.map(({ runId }) => runId).sort()).toEqual(ids.filter((_, n) => n % 20 === 0).sort())
  expect(tried).toBe(500)
})
