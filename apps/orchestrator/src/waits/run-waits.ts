import { checkpoint, crashPoint } from '@headrace/core'
import type { CommandReply, InvokeCommand, LookCommand, WaitCommand } from '@headrace/schemas'
import {
  answerChildren,
  type ChildRequest,
  type LoneWaitCommand,
  readAnswers,
  registerWaits,
  type RunWaitCommand,
  type ServerClock,
  startChildren,
  type StartedChild,
  type Store,
  type WaitRef,
  type WaitRegistration,
  type WaitRequest,
} from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'
import type { Timers } from '../timers/timers.ts'
import type { Looks } from './looks.ts'
import type { SelfRead } from './self-read.ts'

/** A worker's `wait`, `look` or `invoke`. */
export interface WaitItem {
  workerId: string
  command: WaitCommand | LookCommand | InvokeCommand
}

export interface RunWaitsOptions {
  store: Store
  serverClock: ServerClock
  selfRead: SelfRead
  looks: Pick<Looks, 'begin'>
  timers: Pick<Timers, 'expect' | 'doDue'>
  events: Pick<RunEvents, 'queued' | 'held' | 'answered'>
  /** A wait was registered on a stream that is not open for it yet. */
  pending: () => void
  metrics: OrchestratorMetrics
  /** How far back a wait may look for its answer. */
  lookbackMs: number
}

/**
 * A batch of registrations, invokes and looks. Three steps, each committed on its own: the waits, and the child runs; what
 * answers them already; what their workers have not seen yet. After the first step a wait is found by whoever brings its
 * answer, so that none of the two can miss the other, and a death in between costs the worker one resend.
 */
export async function runWaits(
  options: RunWaitsOptions,
  items: readonly WaitItem[],
): Promise<CommandReply[]> {
  const replies = new Map<number, CommandReply>()
  const open = await register(options, items, replies)
  if (open !== null) {
    await answerAtOnce(options, open)
    crashPoint('wait.after-self-read')
  }
  await readReplies(options.store, items, replies)
  return items.map((_, index) => replies.get(index) ?? LOST)
}

const LOST: Exclude<WaitRegistration, { kind: 'registered' }> = { kind: 'lost' }

type Indexed<Request> = Request & { index: number }

/** Returns the waits that are open now; null: the batch registers nothing. */
async function register(
  options: RunWaitsOptions,
  items: readonly WaitItem[],
  replies: Map<number, CommandReply>,
): Promise<WaitCommand[] | null> {
  const { store, serverClock, events, lookbackMs } = options
  const alone: Indexed<WaitRequest>[] = []
  const children: Indexed<ChildRequest>[] = []
  for (const [index, { workerId, command }] of items.entries()) {
    if (command.kind === 'invoke') children.push({ index, workerId, command })
    else if (command.kind === 'look') continue
    else if (isRunWait(command)) children.push({ index, workerId, command })
    else if (isLoneWait(command)) alone.push({ index, workerId, command })
  }
  if (alone.length + children.length === 0) return null
  const [registrations, started] = await Promise.all([
    registerWaits(store, alone, { lookbackMs }),
    startChildren(store, children, { nowMs: serverClock.now() }),
  ])
  crashPoint('wait.after-commit')
  const held = checkpoint('wait.after-commit')
  if (held) await held
  events.queued(started.queued)
  events.held(started.held)
  const open: WaitCommand[] = []
  for (const [at, request] of alone.entries()) settle(options, request, registrations[at], replies, open)
  for (const [at, request] of children.entries())
    settle(options, request, started.outcomes[at], replies, open)
  return open
}

const isRunWait = (command: WaitCommand): command is RunWaitCommand => command.wait.kind === 'run'
const isLoneWait = (command: WaitCommand): command is LoneWaitCommand => command.wait.kind !== 'run'

/** Answers what needs no look; the rest is open. */
function settle(
  { metrics, pending }: RunWaitsOptions,
  { index, command }: Indexed<ChildRequest | WaitRequest>,
  outcome: StartedChild = LOST,
  replies: Map<number, CommandReply>,
  open: WaitCommand[],
): void {
  const kind = command.kind === 'wait' ? command.wait.kind : command.kind
  metrics.waits.inc({ kind, outcome: outcome.kind })
  if (outcome.kind === 'registered' && outcome.lookbackTruncated === true) metrics.lookbackTruncated.inc()
  if (outcome.kind === 'invoked') replies.set(index, { kind: 'invoked', run_id: outcome.childRunId })
  else if (outcome.kind !== 'registered') replies.set(index, outcome)
  else if (outcome.status === 'pending') pending()
  else if (outcome.status === 'open' && command.kind === 'wait') open.push(command)
}

/**
 * What is there already answers now. A wait for a time that is not over is given to the alarm; one whose stream is not
 * open yet looks when it is.
 */
async function answerAtOnce(
  { store, selfRead, looks, timers, events, serverClock }: RunWaitsOptions,
  commands: readonly WaitCommand[],
): Promise<void> {
  const now = serverClock.now()
  let isDue = false
  for (const { wait } of commands) {
    if (wait.kind === 'event') continue
    const dueMs = dueMsOf(wait, now)
    if (dueMs <= now) isDue = true
    else timers.expect(dueMs)
  }
  if (isDue) await timers.doDue()
  const refsOf = (which: (wait: WaitCommand['wait']) => boolean): WaitRef[] =>
    commands.filter(({ wait }) => which(wait)).map(refOf)
  const children = refsOf((wait) => wait.kind === 'run')
  if (children.length > 0) events.answered(await answerChildren(store, children))
  // One look for all that read a single row; each for itself that may have to read a day of them.
  await Promise.all([
    selfRead(refsOf((wait) => wait.kind === 'event' && wait.filter === null)),
    looks.begin(refsOf((wait) => wait.kind === 'event' && wait.filter !== null)),
  ])
}

function dueMsOf(wait: Exclude<WaitCommand['wait'], { kind: 'event' }>, now: number): number {
  if (wait.kind !== 'time') return now + wait.timeout_ms
  return 'at_ms' in wait.due ? wait.due.at_ms : now + wait.due.after_ms
}

const refOf = ({ run_id: runId, key }: WaitCommand): WaitRef => ({ runId, key })

async function readReplies(
  store: Store,
  items: readonly WaitItem[],
  replies: Map<number, CommandReply>,
): Promise<void> {
  const open = items.flatMap(({ workerId, command }, index) =>
    replies.has(index) || command.kind === 'invoke'
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
