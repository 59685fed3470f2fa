import { checkpoint, crashPoint } from '@headrace/core'
import type { CommandReply, LookCommand, WaitCommand } from '@headrace/schemas'
import {
  readAnswers,
  registerWaits,
  type ServerClock,
  type Store,
  type WaitRef,
  type WaitRegistration,
} from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { Timers } from '../timers/timers.ts'
import type { Looks } from './looks.ts'
import type { SelfRead } from './self-read.ts'

/** A worker's `wait` or `look`. */
export interface WaitItem {
  workerId: string
  command: WaitCommand | LookCommand
}

export interface RunWaitsOptions {
  store: Store
  serverClock: ServerClock
  selfRead: SelfRead
  looks: Pick<Looks, 'begin'>
  timers: Pick<Timers, 'expect' | 'doDue'>
  /** A wait was registered on a stream that is not open for it yet. */
  pending: () => void
  metrics: OrchestratorMetrics
  /** How far back a wait may look for its answer. */
  lookbackMs: number
}

/**
 * A batch of registrations and looks. Three steps, each committed on its own: the waits; what answers them already; what
 * their workers have not seen yet. After the first step a wait is found by whoever brings its answer, so that none of the
 * two can miss the other, and a death in between costs the worker one resend.
 */
export async function runWaits(
  options: RunWaitsOptions,
  items: readonly WaitItem[],
): Promise<CommandReply[]> {
  const replies = new Map<number, CommandReply>()
  const waits = items.flatMap(({ workerId, command }, index) =>
    command.kind === 'wait' ? [{ index, workerId, command }] : [],
  )
  if (waits.length > 0) {
    const registrations = await registerWaits(
      options.store,
      waits.map(({ workerId, command }) => ({ workerId, command })),
      { lookbackMs: options.lookbackMs },
    )
    crashPoint('wait.after-commit')
    const held = checkpoint('wait.after-commit')
    if (held) await held
    const open: WaitCommand[] = []
    for (const [at, { index, command }] of waits.entries()) {
      const registration = registrations[at] ?? LOST
      options.metrics.waits.inc({ kind: command.wait.kind, outcome: registration.kind })
      if (registration.kind !== 'registered') replies.set(index, registration)
      else if (registration.status === 'open') open.push(command)
      else if (registration.status === 'pending') options.pending()
    }
    await answerAtOnce(options, open)
    crashPoint('wait.after-self-read')
  }
  await readReplies(options.store, items, replies)
  return items.map((_, index) => replies.get(index) ?? LOST)
}

const LOST: Exclude<WaitRegistration, { kind: 'registered' }> = { kind: 'lost' }

/**
 * What is there already answers now. A wait for a time that is not over is given to the alarm; one whose stream is not
 * open yet looks when it is.
 */
async function answerAtOnce(
  { selfRead, looks, timers, serverClock }: RunWaitsOptions,
  commands: readonly WaitCommand[],
): Promise<void> {
  const now = serverClock.now()
  let isDue = false
  for (const { wait } of commands) {
    if (wait.kind !== 'time') continue
    const dueMs = 'at_ms' in wait.due ? wait.due.at_ms : now + wait.due.after_ms
    if (dueMs <= now) isDue = true
    else timers.expect(dueMs)
  }
  if (isDue) await timers.doDue()
  const { plain = [], filtered = [] } = Object.groupBy(
    commands.filter(({ wait }) => wait.kind === 'event'),
    ({ wait }) => (wait.kind === 'event' && wait.filter !== null ? 'filtered' : 'plain'),
  )
  // One look for all that read a single row; each for itself that may have to read a day of them.
  await Promise.all([selfRead(plain.map(refOf)), looks.begin(filtered.map(refOf))])
}

const refOf = ({ run_id: runId, key }: WaitCommand): WaitRef => ({ runId, key })

async function readReplies(
  store: Store,
  items: readonly WaitItem[],
  replies: Map<number, CommandReply>,
): Promise<void> {
  const open = items.flatMap(({ workerId, command }, index) =>
    replies.has(index)
      ? []
      : [{ index, asked: { runId: command.run_id, epoch: command.epoch, workerId, seen: command.seen } }],
  )
  const came = await readAnswers(
    store,
    open.map(({ asked }) => asked),
  )
  for (const [at, { index, asked }] of open.entries()) {
    const answers = came[at] ?? null
    if (answers === null) replies.set(index, LOST)
    else if (answers.wake > asked.seen) replies.set(index, { kind: 'answers', ...answers })
    else replies.set(index, { kind: 'waiting' })
  }
}
