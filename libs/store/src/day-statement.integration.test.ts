import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { completeOf, openScene, type Scene, stepOf } from './fixtures/scene.ts'
import { claimRuns, newRunIds } from './index.ts'
import { ensurePartitionDays, partitionName } from './partitions.ts'
import { dayMs } from './run-id.ts'

let scene: Scene
let now: number
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  now = await scene.store.serverNow()
})
afterAll(async () => {
  await scene.close()
})

/** A queued run that was started so many days ago; the partitions of that day are there. */
async function startedDaysAgo(days: number): Promise<string> {
  const at = now - days * dayMs
  await ensurePartitionDays(scene.store.general, at, at)
  const [id] = newRunIds(1, at)
  await scene.row(
    `insert into runs (id, workflow, app, queue, status, queued_at, since) values ($1, 'on_order', 'shop', 'default', 'queued', now(), now())`,
    [id],
  )
  return id!
}
const claimAll = async (ids: string[]) =>
  (
    await claimRuns(scene.store, {
      claims: ids.map((runId) => ({ runId, epoch: 1, workerId: 'w1', wantInput: false })),
    })
  ).map((run) => run?.run_id ?? null)

test('runs of several days share a batch, each answered at its own place', async () => {
  const [today] = await scene.startRuns(1)
  const ids = [await startedDaysAgo(3), today!, await startedDaysAgo(20), await startedDaysAgo(3)]
  expect(await claimAll(ids)).toEqual(ids)
  const commands = ids.flatMap((id) => [stepOf(id, 'a'), completeOf(id)])
  const replies = ids.flatMap(() => [{ kind: 'stored' }, { kind: 'done' }])
  expect(await scene.apply(...commands)).toEqual(replies)
  expect(await scene.apply(...commands)).toEqual(replies)
})

test('runs of a day without partitions, and names that are no ids, are not to be had; others of the batch are', async () => {
  const [today] = await scene.startRuns(1)
  const ids = [newRunIds(1, Date.UTC(2001, 0, 1))[0]!, 'ffffffff-ffff-7000-8000-000000000000', today!]
  expect(await claimAll(ids)).toEqual([null, null, today])
  expect(await scene.apply(...ids.map((id) => stepOf(id, 'a')))).toEqual([
    { kind: 'lost' },
    { kind: 'lost' },
    { kind: 'stored' },
  ])
})

test('where the partition of steps is missing it is made, and nothing is lost', async () => {
  const id = await startedDaysAgo(5)
  await claimAll([id])
  await scene.row(`drop table ${partitionName('steps', now - 5 * dayMs)}`)
  expect(await scene.apply(stepOf(id, 'a'), completeOf(id))).toEqual([{ kind: 'stored' }, { kind: 'done' }])
  expect(await scene.row('select status from runs where id = $1', [id])).toEqual({ status: 'completed' })
})

test('a step that met a stored row holds up nothing else of its batch', async () => {
  const ids = await scene.startRuns(3)
  await claimAll(ids)
  const [first, again, last] = ids
  await scene.apply(stepOf(again!, 'a', { output: '1' }))
  expect(
    await scene.apply(
      stepOf(first!, 'a'),
      completeOf(first!),
      stepOf(again!, 'a', { n: 7, output: '2' }),
      completeOf(again!),
      stepOf(last!, 'a'),
      completeOf(last!),
    ),
  ).toMatchObject([
    { kind: 'stored' },
    { kind: 'done' },
    { kind: 'exists', step: { output: '1' } },
    { kind: 'refused', code: 'stored_step_differs' },
    { kind: 'stored' },
    { kind: 'done' },
  ])
})
