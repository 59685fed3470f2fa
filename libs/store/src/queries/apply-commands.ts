import { type CommandReply, limits } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { classify, isolate, withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { run } from '../statement.ts'
import {
  type CommandGroup,
  groupCommands,
  groupKeyOf,
  refuseComplete,
  type WorkerCommand,
} from './command-batch.ts'
import { type CommandsRow, commandsStatement } from './commands-statement.ts'
import { explainCommands, isSameStep, readSteps, stepKeyOf, type Unanswered } from './explain-commands.ts'
import type { TaskSeed } from './task-seed.ts'

export type { WorkerCommand } from './command-batch.ts'

/** A run that ended with this batch. Times are ms since 1970, by Postgres's clock. */
export interface EndedRun {
  runId: string
  workflow: string
  queue: string
  status: 'completed' | 'failed'
  createdAt: number
  startedAt: number
  finishedAt: number
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
    heldBy: new Set(),
  }
  const { ok, bad } = await isolate(batch.groups, async (groups) => await applyGroups(store, groups))
  for (const part of ok) settle(part, work)
  for (const { item } of bad) await applySingly(store, item, work)
  if (work.heldBack.length > 0) await applyHeldBack(store, work)
  for (const { index, item } of batch.resends)
    work.unanswered.push({ index, item, owned: work.heldBy.has(groupKeyOf(item)) })
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
  /** The groups whose run was in their worker's hands. */
  heldBy: Set<string>
}

interface Part {
  items: CommandGroup[]
  result: CommandsRow[]
}

/** A group that fails for a row's sake is taken step by step, in order; the bad one is refused, the rest goes on. */
async function applySingly(store: Store, group: CommandGroup, work: Work): Promise<void> {
  let allTaken = true
  for (const placed of group.steps) {
    const single = { ...group, steps: [placed], ending: null }
    allTaken = (await attempt(store, single, placed.index, work)) && allTaken
  }
  if (!allTaken) refuseComplete(group, work.replies)
  if (group.ending?.ending === 'complete') work.heldBack.push(group)
  else if (group.ending) await attempt(store, { ...group, steps: [] }, group.ending.index, work)
}

/** False: Postgres refuses the command at `index`, the only one in the group. */
async function attempt(store: Store, single: CommandGroup, index: number, work: Work): Promise<boolean> {
  try {
    settle({ items: [single], result: await applyGroups(store, [single]) }, work)
    return true
  } catch (error) {
    if (!(error instanceof Error) || classify(error) !== 'row') throw error
    work.replies.set(index, refusalOf(error))
    return false
  }
}

const clashReply: CommandReply = {
  kind: 'refused',
  code: 'stored_step_differs',
  detail: 'a step that came with this command met another stored result, which is the one that counts',
}

/**
 * Some step of the batch met a stored row. Stored rows stay as they are, so reading them decides: a run completes if each
 * of its steps stands as it was sent. A step without a row was lost, and its `complete` with it.
 */
async function applyHeldBack(store: Store, work: Work): Promise<void> {
  const groups = work.heldBack
  const rows = await readSteps(
    store,
    groups.flatMap((group) => group.steps.map(({ step }) => step)),
  )
  const toComplete: CommandGroup[] = []
  for (const group of groups) {
    if (!group.ending) continue
    const found = group.steps.map(({ step }) => ({ step, row: rows.get(stepKeyOf(step.run_id, step.key)) }))
    const differs = found.some(({ step, row }) => row && !isSameStep(row, step))
    const owned = work.heldBy.has(`${group.runId}/${group.epoch}/${group.workerId}`)
    if (owned && differs) work.replies.set(group.ending.index, clashReply)
    else if (differs || found.some(({ row }) => !row)) leave(group.ending.index, owned, work)
    else toComplete.push({ ...group, steps: [] })
  }
  const { ok, bad } = await isolate(toComplete, async (part) => await applyGroups(store, part))
  for (const part of ok) settle(part, work)
  for (const { item, error } of bad) if (item.ending) work.replies.set(item.ending.index, refusalOf(error))
}

const refusalOf = (error: Error): CommandReply => ({
  kind: 'refused',
  code: 'invalid_field',
  detail: error.message,
})

async function applyGroups(store: Store, groups: CommandGroup[]): Promise<CommandsRow[]> {
  if (groups.length === 0) return []
  const values = commandValues(groups)
  return await withPartitions(
    store,
    groups.map((group) => group.runId),
    async () => await withRetries(async () => await run<CommandsRow>(store.hot, commandsStatement, values)),
  )
}

function commandValues(groups: CommandGroup[]): unknown[] {
  const steps = groups.flatMap((group) =>
    group.steps.map(({ step }) => ({ ...step, workerId: group.workerId })),
  )
  return [
    groups.map((group) => group.runId),
    groups.map((group) => group.epoch),
    groups.map((group) => group.workerId),
    groups.map((group) => group.ending?.ending ?? null),
    groups.map((group) => group.ending?.payload ?? null),
    groups.map((group) => group.ending?.seen ?? null),
    groups.map((group) => group.steps.length),
    steps.map((step) => step.run_id),
    steps.map((step) => step.epoch),
    steps.map((step) => step.workerId),
    steps.map((step) => step.key),
    steps.map((step) => step.step_kind),
    steps.map((step) => step.n),
    steps.map((step) => step.seen),
    steps.map((step) => step.output),
    steps.map((step) => step.error),
    steps.map((step) => step.attempts),
    steps.map((step) => step.started_at),
    steps.map((step) => step.finished_at),
    limits.taskInputBytesMax,
  ]
}

/** Answers what the statement did, and sets aside the rest. */
function settle({ items: groups, result: rows }: Part, work: Work): void {
  collectEnds(rows, work.outcome)
  const holders = new Map<string, string>()
  const stored = new Set<string>()
  const ended = new Set<string>()
  for (const row of rows) {
    const run = `${row.id}/${row.at_epoch}`
    if (row.what === 'own') holders.set(run, row.key)
    else if (row.what === 'end') ended.add(run)
    else stored.add(`${run}/${row.key}`)
  }
  for (const group of groups) {
    const run = `${group.runId}/${group.epoch}`
    // Two workers may name one run and epoch in a batch: what came back belongs to the one that holds it.
    const owned = holders.get(run) === group.workerId
    if (owned) work.heldBy.add(`${run}/${group.workerId}`)
    for (const { index, step } of group.steps)
      if (owned && stored.has(`${run}/${step.key}`)) work.replies.set(index, { kind: 'stored' })
      else leave(index, owned, work)
    const { ending } = group
    if (!ending) continue
    if (owned && ended.has(run)) work.replies.set(ending.index, { kind: 'done' })
    else if (owned && ending.ending === 'complete') work.heldBack.push(group)
    else leave(ending.index, owned, work)
  }
}

function leave(index: number, owned: boolean, work: Work): void {
  const item = work.items[index]
  if (item) work.unanswered.push({ index, item, owned })
}

function collectEnds(rows: CommandsRow[], outcome: CommandsOutcome): void {
  for (const row of rows) {
    if (row.what !== 'end') continue
    const { id: runId, workflow, queue } = row
    if (row.ending === 'release')
      outcome.released.push({ runId, epoch: row.epoch, workflow, queue, lost: row.lost, input: row.input })
    else if (row.ending !== 'suspend')
      outcome.ended.push({
        runId,
        workflow,
        queue,
        status: row.ending === 'complete' ? 'completed' : 'failed',
        createdAt: row.created_at,
        startedAt: row.started_at,
        finishedAt: row.finished_at ?? row.started_at,
      })
  }
}
