import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inOrder, lockWait } from './fixtures/in-order.ts'
import { completeOf, openScene, type Scene, suspendOf } from './fixtures/scene.ts'
import { eventWait, type WaitScene, waitScene } from './fixtures/waits.ts'
import { resumeWait } from './queries/resume-wait.ts'
import { sweepEndedWaits } from './queries/sweep-ended-waits.ts'

let scene: Scene
let waits: WaitScene

beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  waits = await waitScene(scene)
  await waits.openStreams('answers')
})
afterAll(async () => await scene.close())

const hourMs = 3_600_000

describe('a step that waits to be resumed', () => {
  async function suspended(): Promise<string> {
    const runId = await waits.claimed()
    const [registered] = await waits.register({
      workerId: 'w1',
      command: {
        kind: 'wait',
        run_id: runId,
        epoch: 1,
        key: 'ask',
        seen: 0,
        wait: { kind: 'resume', timeout_ms: hourMs },
      },
    })
    expect(registered).toEqual({ kind: 'registered', status: 'open' })
    return runId
  }
  const resume = async (runId: string, data: string, key = 'ask') =>
    await resumeWait(scene.store, { runId, key, data })

  test('is answered by the first, and the same again is no fault', async () => {
    const runId = await suspended()
    await scene.apply(suspendOf(runId))
    const both = await inOrder(
      scene.store,
      lockWait(runId, 'ask'),
      async () => await resume(runId, '{"by":"ann\\u0000"}'),
      async () => await resume(runId, '"bob"'),
    )
    expect(both).toMatchObject([
      { status: 'resumed', answered: { queued: [{ runId, epoch: 2 }] } },
      { status: 'settled', as: 'answered' },
    ])
    expect(await resume(runId, '{"by":"ann\\u0000"}')).toEqual({ status: 'as_before' })
    expect(await scene.row('select kind, seen, output from steps where run_id = $1', [runId])).toEqual({
      kind: 'resume',
      seen: 1,
      output: '{"by":"ann\\u0000"}',
    })
  })

  test('is not found before the run has come to it, nor where something else stands', async () => {
    const runId = await suspended()
    await waits.register(eventWait(runId, 'event'))
    expect(await resume(runId, '1', 'later')).toEqual({ status: 'wait_not_found', kind: null })
    expect(await resume(runId, '1', 'event')).toEqual({ status: 'wait_not_found', kind: 'event' })
    expect(await resume('00000000-0000-7000-8000-000000000000', '1')).toEqual({ status: 'run_not_found' })
    expect(await waits.run(runId)).toMatchObject({ wake: 0 })
  })

  test('of a run that has ended is over', async () => {
    const runId = await suspended()
    await scene.apply(completeOf(runId))
    expect(await resume(runId, '1')).toEqual({ status: 'settled', as: 'cancelled' })
    await sweepEndedWaits(scene.store, { after: null, limit: 1_000 })
    expect(await resume(runId, '1')).toEqual({ status: 'settled', as: 'cancelled' })
  })
})
