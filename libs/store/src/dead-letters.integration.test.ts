import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openScene, type Scene } from './fixtures/scene.ts'
import {
  beginRedrive,
  deadLetterDecisions,
  type DeadLetterRef,
  decideDeadLetter,
  dropOldDecisions,
  newRunIds,
  type RedrivenWindow,
  redriveWindow,
} from './index.ts'

let scene: Scene
let now: number
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  now = await scene.store.serverNow()
})
afterAll(async () => {
  await scene.close()
})

let letters = 0
const nextLetter = (logTimeMs = now): DeadLetterRef => {
  letters += 1
  return { partition: 0, sequenceId: letters, logTimeMs }
}
const windowOf = (changes: Partial<RedrivenWindow> = {}): RedrivenWindow => ({
  runId: newRunIds(1, now)[0]!,
  triggerId: 'on_order',
  stream: 'orders',
  incarnation: 2,
  partition: 3,
  firstOffset: 7,
  lastOffset: 9,
  events: 2,
  since: now - 1_000,
  input: '{"events":[]}',
  ...changes,
})
const nobody = { reason: null, by: null }
const decisionOf = async (ref: DeadLetterRef) => (await deadLetterDecisions(scene.store, [ref]))[0]
const runsOfLetter = async (runIds: string[]) =>
  (await scene.row('select count(*)::int as runs from runs where id = any ($1::uuid[])', [runIds]))['runs']

test('a window that is redriven 20 times at once becomes one run, with its own place in the log', async () => {
  const ref = nextLetter()
  const windows = Array.from({ length: 20 }, () => windowOf())
  const seeds = await Promise.all(
    windows.map(
      async (window) => await redriveWindow(scene.store, ref, window, { reason: 'fixed', by: 'ann' }),
    ),
  )
  const [redriven, ...others] = seeds.filter((each) => each !== null)
  expect(others).toEqual([])
  const seed = redriven?.kind === 'started' ? redriven.seed : null
  expect(seed).toMatchObject({ workflow: 'on_order', queue: 'default', epoch: 1 })
  expect(await runsOfLetter(windows.map(({ runId }) => runId))).toBe(1)
  expect(
    await scene.row(
      `select status, trigger_id, trigger_version, stream, incarnation, partition, first_offset, last_offset, events, input from runs where id = $1`,
      [seed!.runId],
    ),
  ).toEqual({
    status: 'queued',
    trigger_id: 'on_order',
    trigger_version: 1,
    stream: 'orders',
    incarnation: 2,
    partition: 3,
    first_offset: 7,
    last_offset: 9,
    events: 2,
    input: '{"events":[]}',
  })
  expect(await decisionOf(ref)).toEqual({
    status: 'redriven',
    runId: seed!.runId,
    reason: 'fixed',
    decidedAt: expect.any(Number),
    decidedBy: 'ann',
  })
})

test('a run that Postgres cannot store leaves its dead letter open', async () => {
  const ref = nextLetter()
  const bad = windowOf({ input: 'a\u0000b' })
  await expect(redriveWindow(scene.store, ref, bad, nobody)).rejects.toMatchObject({ code: '22021' })
  expect(await decisionOf(ref)).toMatchObject({ status: 'open', runId: null })
  expect(await redriveWindow(scene.store, ref, windowOf(), nobody)).not.toBeNull()
})

test('a window of a trigger that is gone starts nothing, and stays open', async () => {
  const ref = nextLetter()
  expect(await redriveWindow(scene.store, ref, windowOf({ triggerId: 'none' }), nobody)).toBeNull()
  expect(await decisionOf(ref)).toMatchObject({ status: 'open' })
})

test('of two decisions the first stands', async () => {
  const ref = nextLetter()
  const decide = async (status: 'redriven' | 'discarded') =>
    await decideDeadLetter(scene.store, ref, { status, ...nobody })
  expect([await decide('discarded'), await decide('redriven')]).toEqual([true, false])
  expect(await redriveWindow(scene.store, ref, windowOf(), nobody)).toBeNull()
  expect(await beginRedrive(scene.store, ref)).toBeNull()
  expect(await decisionOf(ref)).toMatchObject({ status: 'discarded', runId: null })
})

test('a redrive that did not come to its end is known by when it began', async () => {
  const ref = nextLetter()
  expect((await beginRedrive(scene.store, ref))?.begunMs).toBe(0)
  await scene.row(
    `update dead_letters set begun_at = now() - interval '2 h' where partition = 0 and sequence_id = $1 returning 1`,
    [ref.sequenceId],
  )
  expect((await beginRedrive(scene.store, ref))?.begunMs).toBeGreaterThanOrEqual(2 * 3_600_000)
  expect(await decideDeadLetter(scene.store, ref, { status: 'redriven', ...nobody })).toBe(true)
})

test('a decision holds for its record, not for another one at the same offset of a topic that was made anew', async () => {
  const ref = nextLetter()
  await decideDeadLetter(scene.store, ref, { status: 'discarded', ...nobody })
  const another = { ...ref, logTimeMs: ref.logTimeMs + 1 }
  expect(await decisionOf(another)).toMatchObject({ status: 'open' })
  expect(await redriveWindow(scene.store, another, windowOf(), nobody)).not.toBeNull()
})

test('decisions outlive their records, and then they go', async () => {
  const day = 86_400_000
  const [young, old] = [nextLetter(now - 89 * day), nextLetter(now - 91 * day)]
  for (const ref of [young, old]) await decideDeadLetter(scene.store, ref, { status: 'discarded', ...nobody })
  await dropOldDecisions(scene.store)
  const decisions = await deadLetterDecisions(scene.store, [old, young])
  expect(decisions.map(({ status }) => status)).toEqual(['open', 'discarded'])
})
