import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  claimedAlone,
  isEnded,
  LOST_MAX,
  type RunEvent,
  type RunState,
  type RunTransition,
  runTransition,
} from './run-state.ts'

const queued: RunState = { status: 'queued', epoch: 1, wake: 0, lost: 0 }
const by = (workerId: string, epoch = 1) => ({ workerId, epoch })
const running: RunState = { ...queued, status: 'running', workerId: 'a' }

const after = (run: RunState, ...events: RunEvent[]): RunState =>
  events.reduce((state, event) => {
    const result = runTransition(state, event)
    return result.kind === 'moved' ? result.run : state
  }, run)

describe('every transition', () => {
  const cases: [string, RunState, RunEvent, RunTransition][] = [
    ['a queued run is claimed', queued, { kind: 'claim', ...by('a') }, { kind: 'moved', run: running }],
    ['R4: the holder claims again', running, { kind: 'claim', ...by('a') }, { kind: 'moved', run: running }],
    ['R4: another claims', running, { kind: 'claim', ...by('b') }, { kind: 'lost' }],
    ['a stale task is claimed', { ...queued, epoch: 2 }, { kind: 'claim', ...by('a') }, { kind: 'lost' }],
    [
      'the holder completes',
      running,
      { kind: 'complete', ...by('a') },
      { kind: 'moved', run: { ...queued, status: 'completed', workerId: 'a' } },
    ],
    [
      'the holder fails it',
      running,
      { kind: 'fail', ...by('a') },
      { kind: 'moved', run: { ...queued, status: 'failed', workerId: 'a' } },
    ],
    ['R3: another completes', running, { kind: 'complete', ...by('b') }, { kind: 'lost' }],
    ['R3: another epoch completes', running, { kind: 'complete', ...by('a', 2) }, { kind: 'lost' }],
    [
      'R5: complete is sent again',
      after(running, { kind: 'complete', ...by('a') }),
      { kind: 'complete', ...by('a') },
      { kind: 'done' },
    ],
    [
      'R5: a failure does not repeat a completion',
      after(running, { kind: 'complete', ...by('a') }),
      { kind: 'fail', ...by('a') },
      { kind: 'lost' },
    ],
    [
      'R1: a release queues it at the next epoch',
      running,
      { kind: 'release', ...by('a') },
      { kind: 'moved', run: { ...queued, epoch: 2 } },
    ],
    ['R5: release is sent again', { ...queued, epoch: 2 }, { kind: 'release', ...by('a') }, { kind: 'done' }],
    ['another releases', running, { kind: 'release', ...by('b') }, { kind: 'lost' }],
    [
      'R7: its worker died',
      running,
      { kind: 'worker_lost', ...by('a') },
      { kind: 'moved', run: { ...queued, epoch: 2, lost: 1 } },
    ],
    [
      'R7: the fifth worker died',
      { ...running, lost: 4 },
      { kind: 'worker_lost', ...by('a') },
      { kind: 'moved', run: { status: 'failed', epoch: 1, wake: 0, lost: 5, workerId: null } },
    ],
    [
      'it moved on before its worker was judged',
      queued,
      { kind: 'worker_lost', ...by('a') },
      { kind: 'lost' },
    ],
    [
      'R7: its worker forgot it',
      running,
      { kind: 'forgotten', ...by('a') },
      { kind: 'moved', run: { ...queued, epoch: 2 } },
    ],
    ['a run not in hand is forgotten', queued, { kind: 'forgotten', ...by('a') }, { kind: 'lost' }],
    [
      'it suspends with every answer seen',
      running,
      { kind: 'suspend', seen: 0, ...by('a') },
      { kind: 'moved', run: { ...queued, status: 'waiting' } },
    ],
    [
      'R6: it suspends while an answer came',
      { ...running, wake: 1 },
      { kind: 'suspend', seen: 0, ...by('a') },
      { kind: 'woken', wake: 1 },
    ],
    [
      'R5: suspend is sent again',
      { ...queued, status: 'waiting' },
      { kind: 'suspend', seen: 0, ...by('a') },
      { kind: 'done' },
    ],
    [
      'R5: suspend is sent again after it was woken',
      { ...queued, epoch: 2, wake: 1 },
      { kind: 'suspend', seen: 0, ...by('a') },
      { kind: 'done' },
    ],
    [
      'R6: it suspends with an answer seen that never came',
      running,
      { kind: 'suspend', seen: 1, ...by('a') },
      { kind: 'lost' },
    ],
    ['a lost run suspends', queued, { kind: 'suspend', seen: 0, ...by('a') }, { kind: 'lost' }],
    [
      'R1: an answer wakes it',
      { ...queued, status: 'waiting' },
      { kind: 'answer', count: 2 },
      { kind: 'moved', run: { ...queued, epoch: 2, wake: 2 } },
    ],
    [
      'R6: an answer reaches it while it runs',
      running,
      { kind: 'answer', count: 1 },
      { kind: 'moved', run: { ...running, wake: 1 } },
    ],
    ['it is paused', running, { kind: 'pause' }, { kind: 'moved', run: { ...queued, status: 'paused' } }],
    ['it is paused twice', { ...queued, status: 'paused' }, { kind: 'pause' }, { kind: 'done' }],
    [
      'R1: it is resumed',
      { ...queued, status: 'paused' },
      { kind: 'resume' },
      { kind: 'moved', run: { ...queued, epoch: 2 } },
    ],
    ['a run that is not paused is resumed', queued, { kind: 'resume' }, { kind: 'done' }],
    [
      'it is cancelled',
      running,
      { kind: 'cancel' },
      { kind: 'moved', run: { ...queued, status: 'cancelled', workerId: null } },
    ],
    [
      'it times out',
      queued,
      { kind: 'time_out' },
      { kind: 'moved', run: { ...queued, status: 'timed_out', workerId: null } },
    ],
  ]
  test.each(cases)('%s', (_rule, run, event, expected) => {
    expect(runTransition(run, event)).toEqual(expected)
  })
})

test('R7: a run that lost two workers is claimed alone', () => {
  expect([0, 1, 2, 3].map(claimedAlone)).toEqual([false, false, true, true])
})

test('R1, R2, R6, R7 hold for any order of events', () => {
  const worker = fc.constantFrom('a', 'b')
  const epoch = fc.integer({ min: 1, max: 6 })
  const event: fc.Arbitrary<RunEvent> = fc.oneof(
    fc.record({
      kind: fc.constantFrom('claim', 'complete', 'fail', 'release', 'worker_lost', 'forgotten'),
      workerId: worker,
      epoch,
    }),
    fc.record({ kind: fc.constant('suspend'), workerId: worker, epoch, seen: fc.nat(3) }),
    fc.record({ kind: fc.constant('answer'), count: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constantFrom('pause', 'resume', 'cancel', 'time_out') }),
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      let run: RunState = queued
      for (const each of events) {
        const result = runTransition(run, each)
        if (result.kind !== 'moved') continue
        const next = result.run
        expect(isEnded(run.status)).toBe(false)
        const requeued = next.status === 'queued' && run.status !== 'queued'
        expect(next.epoch).toBe(run.epoch + (requeued ? 1 : 0))
        expect(next.wake).toBeGreaterThanOrEqual(run.wake)
        expect(next.lost).toBeLessThanOrEqual(LOST_MAX)
        expect(next.lost < LOST_MAX || next.status === 'failed').toBe(true)
        run = next
      }
    }),
    { numRuns: 2_000 },
  )
})
