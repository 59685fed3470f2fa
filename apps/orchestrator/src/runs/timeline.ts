import { FIRST_EPOCH, RETRY_EPOCH } from '@headrace/core'
import { answerKinds, type StepKind, type TimelineKind } from '@headrace/schemas'
import type { RunNote, RunTimeline } from '@headrace/store'

/** One thing that happened. `at`: ms since 1970. */
export interface TimelineEntry {
  at: number
  kind: TimelineKind
  epoch: number
  key: string | null
  worker_id: string | null
  build: string | null
  detail: string | null
}

/** What happened at the same time, in the order in which it can have happened. */
const order: TimelineKind[] = [
  'created',
  'retried',
  'paused',
  'parked',
  'released',
  'lost',
  'forgotten',
  'answer',
  'resumed',
  'queued',
  'claimed',
  'step',
  'wait',
  'completed',
  'failed',
  'cancelled',
  'timed_out',
]

const kindsOfAnswers = new Set<StepKind>(answerKinds)

/** Notes after which the run is queued at the next epoch, at the same moment. */
const requeues = new Set<RunNote['kind']>(['released', 'lost', 'forgotten', 'resumed'])

/**
 * How a run went, in the order of time, from what is kept of it: its rows say what it did and how it ended; its notes say
 * how each epoch ended, and who had the run in hand then. Steps have their workers' times, all else Postgres's. What a
 * retry copied happened to the run before it, and is not told here.
 */
export function timelineOf(timeline: RunTimeline): TimelineEntry[] {
  const entries = [...beginning(timeline), ...work(timeline), ...epochs(timeline), ...ending(timeline)]
  const ranks = new Map(order.map((kind, rank) => [kind, rank]))
  const rankOf = ({ kind }: TimelineEntry): number => ranks.get(kind) ?? 0
  return entries.sort((a, b) => a.at - b.at || a.epoch - b.epoch || rankOf(a) - rankOf(b))
}

const firstEpochOf = ({ run }: RunTimeline): number => (run.attempt > 1 ? RETRY_EPOCH : FIRST_EPOCH)

const entry = (
  at: number,
  kind: TimelineKind,
  epoch: number,
  more: Partial<Pick<TimelineEntry, 'key' | 'worker_id' | 'build' | 'detail'>> = {},
): TimelineEntry => ({ at, kind, epoch, key: null, worker_id: null, build: null, detail: null, ...more })

function beginning(timeline: RunTimeline): TimelineEntry[] {
  const { run, notes } = timeline
  const epoch = firstEpochOf(timeline)
  const created = entry(run.createdAt, 'created', epoch, { detail: originOf(timeline) })
  if (run.runAt === null) {
    // A rule of its workflow held it until it was let in, or still does.
    if (run.blockedReason === 'concurrency') return [created]
    return [
      created,
      entry(run.epoch === epoch ? (run.queuedAt ?? run.createdAt) : run.createdAt, 'queued', epoch),
    ]
  }
  const { runAt } = run
  const paused = notes.some((note) => note.epoch === epoch && note.kind === 'paused' && note.at < runAt)
  // It keeps its reason for being held until it is let go, also when it ends.
  if ((run.blockedReason !== null && run.startedAt === null) || paused) return [created]
  return [created, entry(run.epoch === epoch ? (run.queuedAt ?? runAt) : runAt, 'queued', epoch)]
}

function originOf({ run, steps }: RunTimeline): string | null {
  if (run.retryOf !== null) {
    const copied = steps.filter(({ epoch }) => epoch < RETRY_EPOCH).length
    return `retries ${run.retryOf}, with ${copied} of its steps`
  }
  if (run.runAt !== null) return `held until ${new Date(run.runAt).toISOString()}`
  if (run.trigger === null) return null
  const { id, stream, partition, firstOffset, lastOffset } = run.trigger
  return `trigger ${id}, window ${stream}/${partition} from ${firstOffset} to ${lastOffset}`
}

function work(timeline: RunTimeline): TimelineEntry[] {
  const first = firstEpochOf(timeline)
  const waits = timeline.waits.filter(({ epoch }) => epoch >= first)
  const answered = new Set(timeline.waits.map(({ key }) => key))
  const steps = timeline.steps.filter(({ epoch, key }) => epoch >= first && !answered.has(key))
  return [
    ...steps.flatMap(({ finishedAt, epoch, key, kind, status }) =>
      finishedAt === null ? [] : [entry(finishedAt, 'step', epoch, { key, detail: `${kind} ${status}` })],
    ),
    ...waits.map(({ createdAt, epoch, key, kind, topic }) =>
      entry(createdAt, 'wait', epoch, { key, detail: topic === null ? kind : `${kind} ${topic}` }),
    ),
    ...waits.flatMap(({ answeredAt, epoch, key, kind, status }) =>
      answeredAt === null ? [] : [entry(answeredAt, 'answer', epoch, { key, detail: `${kind} ${status}` })],
    ),
  ]
}

/** Claims, and how each epoch ended. */
function epochs(timeline: RunTimeline): TimelineEntry[] {
  const { run, notes, builds } = timeline
  const stolen = new Set(notes.filter(({ kind }) => kind === 'stolen').map(({ epoch }) => epoch))
  const claims = new Map<number, TimelineEntry>()
  const claimed = (epoch: number, workerId: string | null, at: number | null): void => {
    if (workerId === null || at === null) return
    const build = builds.get(workerId) ?? null
    const detail = stolen.has(epoch) ? 'stolen' : null
    claims.set(epoch, entry(at, 'claimed', epoch, { worker_id: workerId, build, detail }))
  }
  for (const { epoch, workerId, claimedAt } of notes) claimed(epoch, workerId, claimedAt)
  claimed(run.epoch, run.workerId, run.claimedAt)
  const ends = notes.flatMap((note) => endOfEpoch(timeline, note))
  return [...claims.values(), ...ends]
}

function endOfEpoch(timeline: RunTimeline, note: RunNote): TimelineEntry[] {
  const { run, builds } = timeline
  const { epoch, kind, at, workerId, detail } = note
  // Told by the claim and by the end.
  if (kind === 'stolen' || kind === 'cancelled' || kind === 'timed_out') return []
  const build = workerId === null ? null : (builds.get(workerId) ?? null)
  // What a worker leaves when it parks a run, or gives it back, is for the next one's trace.
  const isLeft = kind === 'parked' || kind === 'released'
  const said = kind === 'paused' ? messageOf(detail) : isLeft ? null : detail
  const own = entry(at, kind, epoch, { worker_id: workerId, build, detail: said })
  if (run.epoch <= epoch) return [own]
  if (requeues.has(kind)) return [own, entry(at, 'queued', epoch + 1)]
  const wokenAt = kind === 'parked' ? wokenAfter(timeline, note) : null
  return wokenAt === null ? [own] : [own, entry(wokenAt, 'queued', epoch + 1)]
}

/** Of the error with which its worker paused it, as that came; null: a person did. */
function messageOf(error: string | null): string | null {
  if (error === null) return null
  try {
    const { message } = JSON.parse(error) as { message?: unknown }
    return typeof message === 'string' ? message : null
  } catch {
    return null
  }
}

/**
 * When its answer woke it: the last one that came in its epoch. Null where it was resumed, or is not woken yet. Both times
 * are those of a transaction's begin, so the later begin may be what came first.
 */
function wokenAfter({ steps, notes }: RunTimeline, { epoch, at }: RunNote): number | null {
  if (notes.some((note) => note.epoch === epoch && note.kind === 'resumed')) return null
  const answers = steps.filter((step) => step.epoch === epoch && kindsOfAnswers.has(step.kind))
  const last = answers.at(-1)?.finishedAt ?? null
  return last === null ? null : Math.max(last, at)
}

function ending({ run, notes, builds }: RunTimeline): TimelineEntry[] {
  const { status, finishedAt, epoch } = run
  if (finishedAt === null) return []
  if (status !== 'completed' && status !== 'failed' && status !== 'cancelled' && status !== 'timed_out')
    return []
  const taken = notes.find((note) => note.epoch === epoch && note.kind === status)
  const workerId = run.workerId ?? taken?.workerId ?? null
  const build = workerId === null ? null : (builds.get(workerId) ?? null)
  return [entry(finishedAt, status, epoch, { worker_id: workerId, build, detail: taken?.detail ?? null })]
}
