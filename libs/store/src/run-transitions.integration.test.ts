import { type RunEvent, type RunState, runTransition } from '@headrace/core'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completeOf, failOf, openScene, pauseOf, releaseOf, type Scene, suspendOf } from './fixtures/scene.ts'
import { answerWaits } from './queries/answer-waits.ts'
import { cancelRuns, pauseRuns, resumeRuns } from './queries/steer-runs.ts'
import { timeOutRuns } from './queries/time-out-runs.ts'

let scene: Scene
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
})
afterAll(async () => {
  await scene.close()
})

const base = { epoch: 2, wake: 1, lost: 0 }
const states: RunState[] = [
  { ...base, status: 'queued' },
  { ...base, status: 'running', workerId: 'w1' },
  { ...base, status: 'running', workerId: 'w2' },
  { ...base, status: 'waiting' },
  { ...base, status: 'paused' },
  { ...base, status: 'completed', workerId: 'w1' },
  { ...base, status: 'failed', workerId: 'w1' },
  { ...base, status: 'failed', workerId: null },
  { ...base, status: 'cancelled', workerId: null },
  { ...base, status: 'timed_out', workerId: null },
]
const byHolder = (epoch: number): RunEvent[] => [
  ...(['claim', 'complete', 'fail'] as const).map((kind) => ({ kind, epoch, workerId: 'w1' })),
  ...[0, 1, 2].map((seen) => ({ kind: 'suspend' as const, seen, epoch, workerId: 'w1' })),
]
const answers: RunEvent[] = [1, 2].map((count) => ({ kind: 'answer', count }))
const byPersonOrClock = (['pause', 'resume', 'cancel', 'time_out'] as const).map((kind) => ({ kind }))
/** What notes tell of earlier epochs, the state does not. */
const atThisEpoch: RunEvent[] = (['release', 'worker_pause'] as const).map((kind) => ({
  kind,
  epoch: 2,
  workerId: 'w1',
}))

async function place(run: RunState): Promise<string> {
  const [id] = await scene.startRuns(1)
  const ended = ['completed', 'failed', 'cancelled', 'timed_out'].includes(run.status)
  await scene.row(
    `update runs set status = $2, epoch = $3, wake = $4, worker_id = $5, claimed_at = now(), started_at = now(),
       output = '1', error = '{}', finished_at = case when $6 then now() end where id = $1`,
    [id, run.status, run.epoch, run.wake, 'workerId' in run ? run.workerId : null, ended],
  )
  return id!
}

async function read(id: string): Promise<RunState> {
  const row = await scene.row('select status, epoch, wake, lost, worker_id from runs where id = $1', [id])
  const { status, worker_id: workerId, ...rest } = row
  const held = ['running', 'completed', 'failed', 'cancelled', 'timed_out'].includes(String(status))
  return { status, ...rest, ...(held ? { workerId } : {}) } as RunState
}

/** So many waits of the run, answered by one statement. */
async function answer(id: string, count: number): Promise<string> {
  await scene.row(
    `insert into waits (run_id, key, kind, status, since, asked_since, epoch, expires_at)
     select $1, 'wait' || n, 'time', 'open', now(), now(), 1, now() from generate_series(1, $2::int) n`,
    [id, count],
  )
  const waits = Array.from({ length: count }, (_, n) => ({ runId: id, key: `wait${n + 1}` }))
  const { answers: answered } = await answerWaits(
    scene.store,
    waits.map((wait) => ({ ...wait, outcome: { kind: 'time' } })),
  )
  return answered.length === count ? 'moved' : 'lost'
}

async function steer(id: string, kind: (typeof byPersonOrClock)[number]['kind']): Promise<string> {
  const { store } = scene
  if (kind === 'pause') return (await pauseRuns(store, [id])).length === 1 ? 'moved' : 'lost'
  if (kind === 'resume') return (await resumeRuns(store, [id])).resumed.length === 1 ? 'moved' : 'lost'
  if (kind === 'cancel') return (await cancelRuns(store, [id])).length === 1 ? 'moved' : 'lost'
  await scene.row('update runs set expires_at = now() where id = $1', [id])
  return (await timeOutRuns(store, { limit: 10 })).ended.length === 1 ? 'moved' : 'lost'
}

/** What the statements answer, in the words of the pure module. */
async function happen(id: string, event: RunEvent): Promise<string> {
  if (event.kind === 'claim') return (await scene.claim(id, event.epoch, event.workerId)) ? 'moved' : 'lost'
  if (event.kind === 'answer') return await answer(id, event.count)
  if (
    event.kind === 'pause' ||
    event.kind === 'resume' ||
    event.kind === 'cancel' ||
    event.kind === 'time_out'
  )
    return await steer(id, event.kind)
  const commandOf = () => {
    if (event.kind === 'suspend') return suspendOf(id, event.seen, event.epoch, event.workerId)
    if (event.kind === 'complete') return completeOf(id, event.epoch, event.workerId)
    if (event.kind === 'fail') return failOf(id, event.epoch, event.workerId)
    if (event.kind === 'release') return releaseOf(id, event.epoch, event.workerId)
    if (event.kind === 'worker_pause') return pauseOf(id, 'retries_exhausted', event.epoch, event.workerId)
    throw new Error(`not of a worker: ${event.kind}`)
  }
  const [reply] = await scene.apply(commandOf())
  return reply?.kind === 'answers' ? 'woken' : (reply?.kind ?? 'lost')
}

const cases = states.flatMap((state) =>
  [...byHolder(1), ...byHolder(2), ...byHolder(3), ...atThisEpoch, ...answers, ...byPersonOrClock].map(
    (event): [string, RunState, RunEvent] => [
      `${state.status}${'workerId' in state ? ` (${state.workerId ?? 'nobody'})` : ''}: ${Object.values(event).join(' ')}`,
      state,
      event,
    ],
  ),
)

describe('the statements do what the pure module says', () => {
  test.each(cases)('%s', async (_, state, event) => {
    const id = await place(state)
    const expected = runTransition(state, event)
    const said = await happen(id, event)
    // To the worker its command was done, whether now or before.
    const byCommand = 'workerId' in event && event.kind !== 'claim'
    const kinds: string[] = expected.kind === 'moved' && byCommand ? ['done'] : [expected.kind]
    // Whoever steers is told that nothing moved, and reads the run to tell why.
    if (!('workerId' in event) && event.kind !== 'answer' && expected.kind === 'done') kinds.push('lost')
    expect(kinds).toContain(said)
    expect(await read(id)).toEqual(expected.kind === 'moved' ? expected.run : state)
  })
})
