import { type CommandReply, limits, type StepCommand } from '@headrace/schemas'
import { numberArray, payloadArray, textArray, uuidArray } from '../array-parameter.ts'
import type { Store } from '../connection.ts'
import { byDay, isUndefinedTable } from '../day-statement.ts'
import { classify, isolate, withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { run } from '../statement.ts'
import { type CommandGroup, groupCommands, refuseComplete, type WorkerCommand } from './command-batch.ts'
import {
  carefulCommandsStatement,
  type CommandsRow,
  commandsStatement,
  type Ending,
  type EndRow,
} from './commands-statement.ts'
import { explainCommands, isSameStep, readSteps, stepKeyOf, type Unanswered } from './explain-commands.ts'
import type { TaskSeed } from './task-seed.ts'
import { parentOf, type WaitRef } from './wait-ref.ts'

export type { WorkerCommand } from './command-batch.ts'

/** A run that ended with this batch. Times are ms since 1970, by Postgres's clock. */
export interface EndedRun {
  runId: string
  workflow: string
  queue: string
  status: 'completed' | 'failed' | 'cancelled' | 'timed_out'
  createdAt: number
  startedAt: number
  finishedAt: number
  /** The step of the run that started it. Whoever ends a child goes on to answer it (answer-children.ts). */
  parent: WaitRef | null
  /** Whose share of its workflow's concurrency it leaves; null: none. Whoever ends it goes on to let others in. */
  concurrencyKey: string | null
}

export interface CommandsOutcome {
  /** One for each command, at its index. */
  replies: CommandReply[]
  /** Runs that were given back: their next task. */
  released: TaskSeed[]
  ended: EndedRun[]
}

/**
 * Applies commands of any number of workers in one statement, and answers each alone:
 * `stored` and `done` also to a resend, `exists` where another result stands, `answers` to a suspend where some came that
 * the worker has not seen, `lost` where the run is not that worker's at that epoch, `refused` where the command alone
 * cannot be taken (over a limit, a row Postgres refuses).
 * Commands of one worker on one run at one epoch share a commit, so a last step and its `complete` stand or fall
 * together. Throws only for outages and bugs; then every command may be sent again.
 */
export async function applyCommands(store: Store, items: WorkerCommand[]): Promise<CommandsOutcome> {
  const batch = groupCommands(items)
  const work: Work = {
    items,
    replies: new Map(batch.refused),
    outcome: { replies: [], released: [], ended: [] },
    heldBack: [],
    unanswered: [],
  }
  // Days apart from each other, outside of what is halved: a day that went through is told, whatever the next one does.
  for (const [day, groups] of byDay(batch.groups, ({ runId }) => runId)) {
    const { ok, bad } = await isolate(groups, async (part) => await applyGroups(store, day, part))
    for (const { result } of ok) settle(result, work)
    for (const { item } of bad) await applySingly(store, day, item, work)
  }
  if (work.heldBack.length > 0) await applyHeldBack(store, work)
  for (const { index, item, group } of batch.resends) work.unanswered.push({ index, item, owned: group.held })
  if (work.unanswered.length > 0) await explainCommands(store, work.unanswered, work.replies)
  work.outcome.replies = items.map((_, index) => work.replies.get(index) ?? { kind: 'lost' })
  return work.outcome
}

/** What one call gathers. */
interface Work {
  items: WorkerCommand[]
  /** By index. */
  replies: Map<number, CommandReply>
  outcome: CommandsOutcome
  /** Groups whose `complete` waits until it is known what stands where their steps were to be. */
  heldBack: CommandGroup[]
  /** What the statement did not do, for a later one to explain. */
  unanswered: Unanswered[]
}

/** What a statement did with some groups. `carefully`: steps that met a stored row were left out, completes too. */
interface Applied {
  groups: CommandGroup[]
  rows: CommandsRow[]
  carefully: boolean
}

/** A group that fails for a row's sake is taken step by step, in order; the bad one is refused, the rest goes on. */
async function applySingly(store: Store, day: number | null, group: CommandGroup, work: Work): Promise<void> {
  const attempt = async (single: CommandGroup, index: number): Promise<boolean> => {
    try {
      settle(await applyGroups(store, day, [single]), work)
      group.held ||= single.held
      return true
    } catch (error) {
      if (!(error instanceof Error) || classify(error) !== 'row') throw error
      work.replies.set(index, refusalOf(error))
      return false
    }
  }
  let allTaken = true
  for (const placed of group.steps)
    allTaken = (await attempt({ ...group, steps: [placed], ending: null }, placed.index)) && allTaken
  if (!allTaken) refuseComplete(group, work.replies)
  if (group.ending?.ending === 'complete') work.heldBack.push(group)
  else if (group.ending) await attempt({ ...group, steps: [] }, group.ending.index)
}

const refusalOf = (error: Error): CommandReply => ({
  kind: 'refused',
  code: 'invalid_field',
  detail: error.message,
})

const clashReply: CommandReply = {
  kind: 'refused',
  code: 'stored_step_differs',
  detail: 'a step that came with this command met another stored result, which is the one that counts',
}

/**
 * Some step met a stored row. Stored rows stay as they are, so reading them decides: a run completes if each of its steps
 * stands as it was sent. A step without a row was lost, and its `complete` with it.
 */
async function applyHeldBack(store: Store, work: Work): Promise<void> {
  const rows = await readSteps(
    store,
    work.heldBack.flatMap((group) => group.steps.map(({ step }) => step)),
  )
  const toComplete: CommandGroup[] = []
  for (const group of work.heldBack) {
    if (!group.ending) continue
    const found = group.steps.map(({ step }) => ({ step, row: rows.get(stepKeyOf(step.run_id, step.key)) }))
    const differs = found.some(({ step, row }) => row && !isSameStep(row, step))
    if (group.held && differs) work.replies.set(group.ending.index, clashReply)
    else if (differs || found.some(({ row }) => !row)) leave(group.ending.index, group, work)
    else toComplete.push({ ...group, steps: [] })
  }
  for (const [day, groups] of byDay(toComplete, ({ runId }) => runId)) {
    const { ok, bad } = await isolate(groups, async (part) => await applyGroups(store, day, part))
    for (const { result } of ok) settle(result, work)
    for (const { item, error } of bad) if (item.ending) work.replies.set(item.ending.index, refusalOf(error))
  }
}

/** `day`: of all these runs. */
async function applyGroups(store: Store, day: number | null, groups: CommandGroup[]): Promise<Applied> {
  if (groups.length === 0) return { groups, rows: [], carefully: false }
  if (day !== null)
    try {
      const rows = await withRetries(
        async () => await run<CommandsRow>(store.hot, commandsStatement(day), commandValues(groups)),
      )
      return { groups, rows, carefully: false }
    } catch (error) {
      if (!isUndefinedTable(error) && !isStepConflict(error)) throw error
    }
  const withoutCompletes = groups.map((group) =>
    group.ending?.ending === 'complete' && group.steps.length > 0 ? { ...group, ending: null } : group,
  )
  const values = commandValues(withoutCompletes)
  const rows = await withPartitions(
    store,
    groups.map((group) => group.runId),
    async () =>
      await withRetries(async () => await run<CommandsRow>(store.hot, carefulCommandsStatement, values)),
  )
  return { groups, rows, carefully: true }
}

/** The only unique index the statement can offend is that of steps. */
const isStepConflict = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === '23505'

function commandValues(groups: CommandGroup[]): unknown[] {
  const places: number[] = []
  const steps: StepCommand[] = []
  for (const [index, group] of groups.entries())
    for (const { step } of group.steps) {
      places.push(index + 1)
      steps.push(step)
    }
  return [
    uuidArray(groups.map((group) => group.runId)),
    numberArray(groups.map((group) => group.epoch)),
    textArray(groups.map((group) => group.workerId)),
    textArray(groups.map((group) => group.ending?.ending ?? null)),
    payloadArray(groups.map((group) => group.ending?.payload ?? null)),
    numberArray(groups.map((group) => group.ending?.seen ?? null)),
    numberArray(places),
    textArray(steps.map((step) => step.key)),
    textArray(steps.map((step) => step.step_kind)),
    numberArray(steps.map((step) => step.n)),
    numberArray(steps.map((step) => step.seen)),
    payloadArray(steps.map((step) => step.output)),
    payloadArray(steps.map((step) => step.error)),
    numberArray(steps.map((step) => step.attempts)),
    numberArray(steps.map((step) => step.started_at)),
    numberArray(steps.map((step) => step.finished_at)),
    limits.taskInputBytesMax,
  ]
}

const STORED: CommandReply = { kind: 'stored' }
const DONE: CommandReply = { kind: 'done' }

/** Answers what the statement did, and sets aside the rest. */
function settle({ groups, rows, carefully }: Applied, work: Work): void {
  let held: Set<number> | null = null
  const ended = new Map<number, EndRow>()
  for (const row of rows) {
    if (row.at !== null) ended.set(row.at, row)
    else if (row.held !== null) held = new Set(row.held.split(',').map(Number))
  }
  for (const [index, group] of groups.entries()) {
    const end = ended.get(index + 1)
    if (held === null || held.has(index + 1)) group.held = true
    const settled = group.held && !carefully
    for (const placed of group.steps)
      if (settled) work.replies.set(placed.index, STORED)
      else leave(placed.index, group, work)
    const { ending } = group
    if (!ending) continue
    if (end) {
      work.replies.set(ending.index, DONE)
      tellEnd(group, ending.ending, end, work.outcome)
    } else if (carefully && group.held && ending.ending === 'complete') work.heldBack.push(group)
    else leave(ending.index, group, work)
  }
}

function leave(index: number, group: CommandGroup, work: Work): void {
  const item = work.items[index]
  if (item) work.unanswered.push({ index, item, owned: group.held })
}

function tellEnd({ runId }: CommandGroup, ending: Ending, end: EndRow, outcome: CommandsOutcome): void {
  const { epoch, workflow, queue, lost, build, input } = end
  if (ending === 'release') outcome.released.push({ runId, epoch, workflow, queue, lost, build, input })
  else if (ending === 'complete' || ending === 'fail')
    outcome.ended.push({
      runId,
      workflow,
      queue,
      status: ending === 'complete' ? 'completed' : 'failed',
      createdAt: end.created_ms,
      startedAt: end.started_ms,
      finishedAt: end.finished_ms ?? end.started_ms,
      parent: parentOf(end),
      concurrencyKey: end.concurrency_key,
    })
}
