import type { CommandReply, StepCommand } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { classify } from '../fault.ts'
import { run } from '../statement.ts'
import type { WorkerCommand } from './command-batch.ts'
import { type EndingRow, endingsStatement } from './commands-statement.ts'
import { type StepRow, stepsByKeyStatement, toStoredStep } from './read-stored-steps.ts'

/** A command that changed nothing. `owned`: its run was in that worker's hands when the statement looked. */
export interface Unanswered {
  index: number
  item: WorkerCommand
  owned: boolean
}

/**
 * Zero rows changed: a resend, a conflict or a loss. Later statements, which see everything committed before the batch
 * (and what the batch waited for), tell them apart.
 */
export async function explainCommands(
  store: Store,
  unanswered: Unanswered[],
  replies: Map<number, CommandReply>,
): Promise<void> {
  try {
    await explainSteps(store, unanswered, replies)
    await explainEndings(store, unanswered, replies)
  } catch (error) {
    // A value Postgres cannot even compare (a NUL in a key) names no stored row; asked alone, only it is left unanswered.
    if (classify(error) !== 'row' || unanswered.length <= 1) {
      if (classify(error) === 'row') return
      throw error
    }
    for (const one of unanswered) await explainCommands(store, [one], replies)
  }
}

async function explainSteps(
  store: Store,
  unanswered: Unanswered[],
  replies: Map<number, CommandReply>,
): Promise<void> {
  const steps: { index: number; owned: boolean; step: StepCommand }[] = []
  for (const { index, owned, item } of unanswered)
    if (item.command.kind === 'step') steps.push({ index, owned, step: item.command })
  if (steps.length === 0) return
  const rows = await run<StepRow>(store.hot, stepsByKeyStatement, [
    steps.map(({ step }) => step.run_id),
    steps.map(({ step }) => step.key),
  ])
  const stored = new Map(rows.map((row) => [`${row.run_id}/${row.key}`, row]))
  for (const { index, owned, step } of steps) {
    const row = stored.get(`${step.run_id}/${step.key}`)
    // One epoch has one worker, so a row of the same epoch and place is what this worker stored: its answer was lost.
    if (row && row.epoch === step.epoch && row.n === step.n) replies.set(index, { kind: 'stored' })
    else if (row && owned) replies.set(index, { kind: 'exists', step: toStoredStep(row) })
    else replies.set(index, { kind: 'lost' })
  }
}

async function explainEndings(
  store: Store,
  unanswered: Unanswered[],
  replies: Map<number, CommandReply>,
): Promise<void> {
  const endings = unanswered.filter(({ item }) => item.command.kind !== 'step')
  if (endings.length === 0) return
  const rows = await run<EndingRow>(store.hot, endingsStatement, [
    endings.map(({ item }) => item.command.run_id),
    endings.map(({ item }) => item.command.epoch),
  ])
  const byRun = new Map(rows.map((row) => [`${row.id}/${row.epoch}`, row]))
  for (const { index, item } of endings) {
    const row = byRun.get(`${item.command.run_id}/${item.command.epoch}`)
    replies.set(index, { kind: row && wasDone(row, item) ? 'done' : 'lost' })
  }
}

function wasDone(row: EndingRow, { workerId, command }: WorkerCommand): boolean {
  if (command.kind === 'release') return row.released_by === workerId
  const status = command.kind === 'complete' ? 'completed' : 'failed'
  return row.status === status && row.now_epoch === row.epoch && row.worker_id === workerId
}
