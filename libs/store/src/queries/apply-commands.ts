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
import { explainCommands, type Unanswered } from './explain-commands.ts'
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
 * `stored` and `done` also to a resend, `exists` where another result stands, `lost` where the run is not that
 * worker's at that epoch, `refused` where the command alone cannot be taken (over a limit, a row Postgres refuses).
 * Commands of one worker on one run at one epoch share a commit, so a last step and its `complete` stand or fall
 * together. Throws only for outages and bugs; then every command may be sent again.
 */
export async function applyCommands(store: Store, items: WorkerCommand[]): Promise<CommandsOutcome> {
  const batch = groupCommands(items)
  const outcome: CommandsOutcome = { replies: [], released: [], ended: [] }
  const replies = new Map(batch.refused)
  const unanswered: Unanswered[] = []
  const heldBy = new Set<string>()
  const { ok, bad } = await isolate(batch.groups, async (groups) => await applyGroups(store, groups))
  const parts = [...ok]
  for (const { item } of bad) parts.push(...(await applySingly(store, item, replies)))
  for (const { items: groups, result } of parts) {
    collectEnds(result, outcome)
    answerGroups({ groups, rows: result, items, replies, unanswered, heldBy })
  }
  for (const { index, item } of batch.resends)
    unanswered.push({ index, item, owned: heldBy.has(groupKeyOf(item)) })
  if (unanswered.length > 0) await explainCommands(store, unanswered, replies)
  outcome.replies = items.map((_, index) => replies.get(index) ?? { kind: 'lost' })
  return outcome
}

interface Part {
  items: CommandGroup[]
  result: CommandsRow[]
}

/** A group that fails for a row's sake is taken step by step, in order; the bad one is refused, the rest goes on. */
async function applySingly(
  store: Store,
  group: CommandGroup,
  replies: Map<number, CommandReply>,
): Promise<Part[]> {
  const parts: Part[] = []
  const attempt = async (single: CommandGroup, index: number): Promise<boolean> => {
    try {
      parts.push({ items: [single], result: await applyGroups(store, [single]) })
      return true
    } catch (error) {
      if (!(error instanceof Error) || classify(error) !== 'row') throw error
      replies.set(index, { kind: 'refused', code: 'invalid_field', detail: error.message })
      return false
    }
  }
  let allStored = true
  for (const placed of group.steps)
    allStored = (await attempt({ ...group, steps: [placed], ending: null }, placed.index)) && allStored
  const rest = { ...group, steps: [] }
  if (!allStored) refuseComplete(rest, replies)
  if (rest.ending) await attempt(rest, rest.ending.index)
  return parts
}

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
  const mayClash = groups
    .filter((group) => group.epoch > 1 && group.ending?.ending === 'complete')
    .flatMap((group) => group.steps.map(({ step }) => step))
  return [
    groups.map((group) => group.runId),
    groups.map((group) => group.epoch),
    groups.map((group) => group.workerId),
    groups.map((group) => group.ending?.ending ?? null),
    groups.map((group) => group.ending?.payload ?? null),
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
    mayClash.map((step) => step.run_id),
    mayClash.map((step) => step.epoch),
    mayClash.map((step) => step.key),
    steps.map((step) => step.finished_at),
    limits.taskInputBytesMax,
  ]
}

function collectEnds(rows: CommandsRow[], outcome: CommandsOutcome): void {
  for (const row of rows) {
    if (row.what !== 'end') continue
    const { id: runId, workflow, queue } = row
    if (row.ending === 'release')
      outcome.released.push({ runId, epoch: row.epoch, workflow, queue, lost: row.lost, input: row.input })
    else
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

const clashReply: CommandReply = {
  kind: 'refused',
  code: 'stored_step_differs',
  detail:
    'a step that came with this command met a result stored in another epoch, which is the one that counts',
}

/** Answers what the statement did; the rest is `unanswered`, for a later statement to explain. */
function answerGroups(part: {
  groups: CommandGroup[]
  rows: CommandsRow[]
  items: WorkerCommand[]
  replies: Map<number, CommandReply>
  unanswered: Unanswered[]
  /** Gathers the groups whose run was in their worker's hands. */
  heldBy: Set<string>
}): void {
  const { groups, items, replies, unanswered } = part
  const held = new Map<string, { workerId: string; clashes: boolean }>()
  const stored = new Set<string>()
  const ended = new Set<string>()
  for (const row of part.rows) {
    const run = `${row.id}/${row.at_epoch}`
    if (row.what === 'own') held.set(run, { workerId: row.key, clashes: row.clashes })
    else if (row.what === 'end') ended.add(run)
    else stored.add(`${run}/${row.key}`)
  }
  for (const group of groups) {
    const run = `${group.runId}/${group.epoch}`
    const holder = held.get(run)
    // Two workers may name one run and epoch in a batch: what came back belongs to the one that holds it.
    const owned = holder?.workerId === group.workerId
    if (owned) part.heldBy.add(`${run}/${group.workerId}`)
    const leave = (index: number): void => {
      const item = items[index]
      if (item) unanswered.push({ index, item, owned })
    }
    for (const { index, step } of group.steps)
      if (owned && stored.has(`${run}/${step.key}`)) replies.set(index, { kind: 'stored' })
      else leave(index)
    if (!group.ending) continue
    if (owned && ended.has(run)) replies.set(group.ending.index, { kind: 'done' })
    else if (owned && holder.clashes) replies.set(group.ending.index, clashReply)
    else leave(group.ending.index)
  }
}
