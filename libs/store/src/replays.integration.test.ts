import { randomUUID } from 'node:crypto'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openScene, type Scene } from './fixtures/scene.ts'
import { whileLocked } from './fixtures/while-locked.ts'
import { cancelReplay, createReplay, finishReplay, readReplay, runningReplays } from './index.ts'
import { endReplays } from './queries/replays.ts'

let scene: Scene
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
})
afterAll(async () => {
  await scene.close()
})

const ended = { status: 'done', reason: null, counts: null } as const

async function begun(): Promise<{ id: string; finish: () => Promise<boolean> }> {
  const id = randomUUID()
  const range = { stream: 'orders', partition: 0, fromOffset: 0, toOffset: 10 }
  await createReplay(scene.store, {
    id,
    triggerId: 'on_order',
    dryRun: false,
    ranges: [range],
    runningMax: 10,
  })
  const replay = (await runningReplays(scene.store)).find((each) => each.id === id)
  if (!replay) throw new Error('the replay does not run')
  const { revision } = replay.cursor
  return { id, finish: async () => await finishReplay(scene.store, replay, { revision, ...ended }) }
}

const statusOf = async (id: string): Promise<unknown> =>
  (await readReplay(scene.store, 'on_order', id))[0]?.status

test('a replay that ends while it is cancelled waits without its cursor, and the cancel counts', async () => {
  const { id, finish } = await begun()
  const finished = await whileLocked(scene.store, {
    lock: async (blocker) =>
      await blocker.query(`select 1 from replays where id = $1 for no key update`, [id]),
    statement: finish,
    // It would wait for the cursor, in a circle, if who waits for the replay held that.
    meanwhile: async (blocker) => {
      await blocker.query(`set local lock_timeout = '1ms'`)
      await endReplays(blocker, ['on_order'], { reason: 'cancelled', id })
    },
  })
  expect(finished).toBe(false)
  expect(await statusOf(id)).toBe('cancelled')
})

test('a replay that is cancelled after it ended stays as it is', async () => {
  const { id, finish } = await begun()
  expect(await finish()).toBe(true)
  expect(await finish()).toBe(false)
  await cancelReplay(scene.store, 'on_order', id)
  expect(await statusOf(id)).toBe('done')
})

test('a replay whose cursor somebody else moved does not end, and goes on', async () => {
  const { id, finish } = await begun()
  await scene.row(`update trigger_cursors set revision = revision + 1 where trigger_id = $1`, [
    `on_order:${id}`,
  ])
  expect(await finish()).toBe(false)
  expect(await statusOf(id)).toBe('running')
})
