import type { RunTimeline } from '@headrace/store'
import { expect, test } from 'vitest'
import { type TimelineEntry, timelineOf } from './timeline.ts'

type Note = RunTimeline['notes'][number]
type Step = RunTimeline['steps'][number]
type Wait = RunTimeline['waits'][number]

const note = (epoch: number, kind: Note['kind'], at: number, changes: Partial<Note> = {}): Note => ({
  epoch,
  kind,
  at,
  workerId: 'w1',
  claimedAt: at - 5,
  detail: null,
  ...changes,
})
const step = (key: string, epoch: number, finishedAt: number, kind: Step['kind'] = 'run'): Step =>
  ({ key, epoch, finishedAt, kind, status: 'completed', seen: 0 }) as Step
const wait = (key: string, epoch: number, createdAt: number, answeredAt: number | null): Wait => ({
  key,
  epoch,
  createdAt,
  answeredAt,
  kind: 'event',
  status: answeredAt === null ? 'open' : 'answered',
  topic: 'a/b',
})

type Parts = Omit<Partial<RunTimeline>, 'run'> & { run: Partial<RunTimeline['run']> }

function entriesOf({ run, ...parts }: Parts): TimelineEntry[] {
  const whole = {
    run: {
      createdAt: 0,
      queuedAt: 0,
      status: 'queued',
      epoch: 1,
      attempt: 1,
      workerId: null,
      claimedAt: null,
      startedAt: null,
      finishedAt: null,
      runAt: null,
      blockedReason: null,
      retryOf: null,
      trigger: null,
      ...run,
    },
    steps: [],
    waits: [],
    notes: [],
    builds: new Map([['w1', 'b1']]),
    ...parts,
  } as unknown as RunTimeline
  return timelineOf(whole)
}

const told = (parts: Parts): string[] =>
  entriesOf(parts).map(({ at, kind, epoch, key, worker_id }) =>
    [at, kind, epoch, key ?? worker_id ?? ''].join(' ').trim(),
  )

test('each claim is told, the past ones by who lost the run, the present one by the run', () => {
  expect(
    told({
      run: { status: 'completed', epoch: 3, workerId: 'w3', claimedAt: 40, startedAt: 5, finishedAt: 50 },
      steps: [step('a', 1, 8), step('b', 3, 45)],
      notes: [
        note(1, 'released', 10),
        note(2, 'stolen', 15, { workerId: 'w2' }),
        note(2, 'lost', 30, { workerId: 'w2', claimedAt: 15 }),
      ],
    }),
  ).toEqual([
    '0 created 1',
    '0 queued 1',
    '5 claimed 1 w1',
    '8 step 1 a',
    '10 released 1 w1',
    '10 queued 2',
    '15 claimed 2 w2',
    '30 lost 2 w2',
    '30 queued 3',
    '40 claimed 3 w3',
    '45 step 3 b',
    '50 completed 3 w3',
  ])
})

test('a parked run is queued by its last answer of that epoch, also where that began before the parking did', () => {
  const parts = {
    steps: [step('early', 1, 7, 'event'), step('late', 1, 9, 'event')],
    waits: [wait('early', 1, 6, 7), wait('late', 1, 6, 9)],
    notes: [note(1, 'parked', 10)],
  }
  expect(told({ run: { epoch: 2, queuedAt: 9 }, ...parts })).toEqual([
    '0 created 1',
    '0 queued 1',
    '5 claimed 1 w1',
    '6 wait 1 early',
    '6 wait 1 late',
    '7 answer 1 early',
    '9 answer 1 late',
    '10 parked 1 w1',
    '10 queued 2',
  ])
})

test('one that was paused while it was parked is queued by who resumed it', () => {
  const nobody = { workerId: null, claimedAt: null }
  expect(
    told({
      run: { epoch: 2 },
      steps: [step('reply', 1, 25, 'event')],
      waits: [wait('reply', 1, 6, 25)],
      notes: [note(1, 'parked', 10), note(1, 'paused', 20, nobody), note(1, 'resumed', 30, nobody)],
    }).slice(4),
  ).toEqual(['10 parked 1 w1', '20 paused 1', '25 answer 1 reply', '30 resumed 1', '30 queued 2'])
})

test('the end says who had the run in hand', () => {
  const cancelled = { status: 'cancelled', finishedAt: 10, startedAt: 5 } as const
  expect(told({ run: cancelled, notes: [note(1, 'cancelled', 10)] }).slice(2)).toEqual([
    '5 claimed 1 w1',
    '10 cancelled 1 w1',
  ])
})

test('a retry begins with its own creation: what it copied is told of the run before it', () => {
  expect(
    told({
      run: { attempt: 2, retryOf: 'r1', epoch: 2, createdAt: 100, queuedAt: 100 },
      steps: [step('copied', 1, 8), step('reply', 1, 9, 'event')],
      waits: [wait('reply', 1, 6, 9)],
    }),
  ).toEqual(['100 created 2', '100 queued 2'])
})

test('a run that its worker paused says why, one that a person paused does not', () => {
  const error = JSON.stringify({ name: 'ReplayMismatchError', message: 'a step is another kind' })
  const run = {
    status: 'paused',
    startedAt: 5,
    runAt: 3,
    queuedAt: 4,
    blockedReason: 'replay_mismatch',
  } as const
  const detailsOf = (...notes: Note[]) =>
    entriesOf({ run, notes }).flatMap(({ kind, detail }) => (kind === 'paused' ? [detail] : []))
  expect(detailsOf(note(1, 'paused', 9, { detail: error }))).toEqual(['a step is another kind'])
  expect(detailsOf(note(1, 'paused', 9))).toEqual([null])
  expect(told({ run, notes: [note(1, 'paused', 9, { detail: error })] })).toEqual([
    '0 created 1',
    '4 queued 1',
    '4 claimed 1 w1',
    '9 paused 1 w1',
  ])
})

test('a delayed run is queued when it is let go', () => {
  expect(told({ run: { runAt: 50, blockedReason: 'delayed' } })).toEqual(['0 created 1'])
  expect(told({ run: { runAt: 50, queuedAt: 51 } })).toEqual(['0 created 1', '51 queued 1'])
  const paused = note(1, 'paused', 20, { workerId: null, claimedAt: null })
  expect(told({ run: { runAt: 50, status: 'paused' }, notes: [paused] })).toEqual([
    '0 created 1',
    '20 paused 1',
  ])
})

test('a run that a concurrency rule holds is queued when it is let in', () => {
  expect(told({ run: { blockedReason: 'concurrency' } })).toEqual(['0 created 1'])
  expect(told({ run: { queuedAt: 40 } })).toEqual(['0 created 1', '40 queued 1'])
})
