import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completeOf, moveOf, openScene, type Scene, stepOf, windowOf, workerOf } from './fixtures/scene.ts'
import {
  createRun,
  createServerClock,
  flushWindows,
  getRun,
  heartbeatWorker,
  listQueues,
  listRuns,
  listSteps,
  listWorkers,
  listWorkflows,
  newRunIds,
  readRunEnds,
  type RunListFilter,
  upsertWorker,
  workflowsWithoutWorker,
} from './index.ts'

let scene: Scene
let windows: string[]
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  windows = newRunIds(5, await scene.store.serverNow())
  await flushWindows(scene.store, {
    moves: [moveOf()],
    runs: windows.map((id, i) =>
      windowOf(id, {
        firstOffset: 100 + 10 * i,
        lastOffset: 109 + 10 * i,
        events: 10,
        tags: { n: String(i), all: 'yes' },
        input: JSON.stringify({
          events: [
            { topic: 'orders/all', id: `first-${i}` },
            { topic: `orders/"${i}`, id: `e${i}`, data: { topic: 'orders/hidden', id: 'hidden' } },
          ],
        }),
      }),
    ),
  })
  await scene.claim(windows[0]!)
  await scene.apply(
    stepOf(windows[0]!, 'b', { n: 1 }),
    stepOf(windows[0]!, 'a', { n: 0 }),
    completeOf(windows[0]!),
  )
  await scene.claim(windows[1]!)
})
afterAll(async () => {
  await scene.close()
})

const fresh = async (changes = {}) => ({
  runId: newRunIds(1, await scene.store.serverNow())[0]!,
  workflow: 'on_order',
  input: '{"day":1}',
  externalId: null,
  tags: { from: 'api' },
  traceparent: null,
  delayMs: null,
  ...changes,
})

describe('starting a run', () => {
  test('takes app, build and queue from its workflow', async () => {
    const created = await createRun(scene.store, await fresh())
    expect(created).toMatchObject({
      status: 'created',
      run: {
        app: 'shop',
        build: 'b1',
        queue: 'default',
        status: 'queued',
        trigger: null,
        input: '{"day":1}',
      },
      seed: { epoch: 1, workflow: 'on_order', input: '{"day":1}' },
    })
  })

  test('twice with one id of the caller starts one, also at the same moment', async () => {
    const all = await Promise.all(
      Array.from({ length: 6 }, async () => await createRun(scene.store, await fresh({ externalId: 'r1' }))),
    )
    expect(all.filter(({ status }) => status === 'created')).toHaveLength(1)
    const ids = new Set(all.map((each) => ('run' in each ? each.run.id : null)))
    expect(ids.size).toBe(1)
  })

  test('of an unknown workflow starts nothing and takes no id', async () => {
    expect(await createRun(scene.store, await fresh({ workflow: 'nothing', externalId: 'r2' }))).toEqual({
      status: 'workflow_not_found',
    })
    expect(await scene.row(`select count(*)::int as ids from run_ids where external_id = 'r2'`)).toEqual({
      ids: 0,
    })
  })

  test('leaves input above 32 KiB to the claim', async () => {
    const created = await createRun(scene.store, await fresh({ input: JSON.stringify('x'.repeat(40_000)) }))
    expect(created.status === 'created' && created.seed?.input).toBeNull()
  })
})

describe('lists of runs', () => {
  const ids = async (filter: RunListFilter): Promise<string[]> =>
    (await listRuns(scene.store, filter, { limit: 100, cursor: null })).runs.map(({ id }) => id)

  test.each<[string, RunListFilter, number[]]>([
    ['status', { status: ['completed', 'running'], trigger: 'on_order' }, [1, 0]],
    ['trigger', { trigger: 'on_order' }, [4, 3, 2, 1, 0]],
    ['event', { event: { stream: 'orders', partition: 0, sequenceId: 125 } }, [2]],
    ['event of another partition', { event: { stream: 'orders', partition: 1, sequenceId: 125 } }, []],
    ['tag', { tag: { key: 'n', value: '3' } }, [3]],
    ['tags and workflow', { workflow: 'on_order', tag: { key: 'all', value: 'yes' } }, [4, 3, 2, 1, 0]],
    ['another workflow', { workflow: 'other' }, []],
    ['topic', { handed: { topic: 'orders/all' } }, [4, 3, 2, 1, 0]],
    ['a topic that stands in JSON otherwise', { handed: { topic: 'orders/"3' } }, [3]],
    ['event id', { handed: { eventId: 'e2' } }, [2]],
    ['the topic and the id of one event', { handed: { topic: 'orders/"1', eventId: 'e1' } }, [1]],
    ['the topic of one event and the id of another', { handed: { topic: 'orders/all', eventId: 'e1' } }, []],
    ['what only data says', { handed: { topic: 'orders/hidden' } }, []],
    ['what only data says, of an id', { handed: { eventId: 'hidden' } }, []],
    [
      'event and status',
      { event: { stream: 'orders', partition: 0, sequenceId: 115 }, status: ['running'] },
      [1],
    ],
    [
      'event and another status',
      { event: { stream: 'orders', partition: 0, sequenceId: 115 }, status: ['failed'] },
      [],
    ],
  ])('by %s', async (_, filter, expected) => {
    expect(await ids(filter)).toEqual(expected.map((i) => windows[i]))
  })

  test('created after a time', async () => {
    const run = await getRun(scene.store, windows[4]!)
    expect(await ids({ trigger: 'on_order', createdAfter: run!.createdAt + 1_000 })).toEqual([])
    expect(await ids({ trigger: 'on_order', createdAfter: run!.createdAt - 1_000 })).toHaveLength(5)
  })

  test('created before a time', async () => {
    const run = await getRun(scene.store, windows[4]!)
    const trigger = 'on_order'
    expect(await ids({ trigger, createdBefore: run!.createdAt })).toEqual([])
    expect(await ids({ trigger, createdBefore: run!.createdAt + 1_000 })).toHaveLength(5)
    expect(
      await ids({ trigger, createdBefore: run!.createdAt + 1_000, createdAfter: run!.createdAt + 1 }),
    ).toEqual([])
  })

  test('come page by page, newest first, each run once, without input and output', async () => {
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const page = await listRuns(scene.store, { trigger: 'on_order' }, { limit: 2, cursor })
      expect(page.runs.every(({ input, output }) => input === null && output === null)).toBe(true)
      seen.push(...page.runs.map(({ id }) => id))
      cursor = page.nextCursor
    } while (cursor !== null)
    expect(seen).toEqual(windows.toReversed())
  })
})

test('a run is read with its steps in their order', async () => {
  expect(await getRun(scene.store, windows[0]!)).toMatchObject({ status: 'completed', output: '{"ok":true}' })
  expect((await listSteps(scene.store, windows[0]!)).map(({ key }) => key)).toEqual(['a', 'b'])
  expect(await getRun(scene.store, newRunIds(1, 0)[0]!)).toBeNull()
  const ends = await readRunEnds(scene.store, windows)
  expect(ends.get(windows[0]!)).toMatchObject({ status: 'completed' })
  expect(ends.get(windows[1]!)).toEqual({ status: 'running', finishedAt: null })
})

test('workflows, queues and workers tell what lives', async () => {
  await heartbeatWorker(scene.store, {
    workerId: 'w1',
    status: 'live',
    partitions: [1],
    runs: [{ runId: windows[1]!, epoch: 1 }],
    stealing: false,
    stalledMs: 0,
  })
  await upsertWorker(scene.store, workerOf('w3', { queue: 'slow', workflows: [] }))
  const [workflow] = await listWorkflows(scene.store)
  expect(workflow).toMatchObject({ id: 'on_order', queue: 'default', status: 'live', triggers: ['on_order'] })
  expect(workflow?.runs).toMatchObject({ running: 1 })
  const queues = await listQueues(scene.store)
  expect(queues.map(({ id }) => id)).toEqual(['default', 'slow'])
  expect(queues[0]).toMatchObject({ running: 1, waiting: 0 })
  expect(queues[0]!.queued).toBe(workflow?.runs.queued)
  expect(queues[1]).toMatchObject({ queued: 0, capacity: 100, oldestQueuedAt: null })
  const worker = (await listWorkers(scene.store)).find(({ id }) => id === 'w1')
  expect(worker).toMatchObject({ running: 1, concurrency: 100, partitions: [1], workflows: ['on_order'] })
  expect(await workflowsWithoutWorker(scene.store, ['on_order', 'ghost'])).toEqual(new Set(['ghost']))
})

test('the clock of the server is known after one look', async () => {
  const clock = createServerClock(scene.store, { now: () => 5_000 })
  expect(clock.now()).toBe(5_000)
  await clock.refresh()
  expect(Math.abs(clock.now() - (await scene.store.serverNow()))).toBeLessThan(60_000)
})
