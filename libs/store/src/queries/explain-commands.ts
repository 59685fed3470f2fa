import type { CommandReply, StepCommand } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { classify } from '../fault.ts'
import { run } from '../statement.ts'
import type { WorkerCommand } from './command-batch.ts'
import { type EndingRow, endingsStatement } from './commands-statement.ts'
import { type AnswersRequest, readAnswers } from './read-answers.ts'
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
  const stored = await readSteps(
    store,
    steps.map(({ step }) => step),
  )
  for (const { index, owned, step } of steps) {
    const row = stored.get(stepKeyOf(step.run_id, step.key))
    if (row && isSameStep(row, step)) replies.set(index, { kind: 'stored' })
    else if (row && owned) replies.set(index, { kind: 'exists', step: toStoredStep(row) })
    else replies.set(index, { kind: 'lost' })
  }
}

export const stepKeyOf = (runId: string, key: string): string => `${runId}/${key}`

/** What stands where these steps were to be, by {@link stepKeyOf}. */
export async function readSteps(store: Store, steps: StepCommand[]): Promise<Map<string, StepRow>> {
  const rows = await run<StepRow>(store.hot, stepsByKeyStatement, [
    steps.map((step) => step.run_id),
    steps.map((step) => step.key),
  ])
  return new Map(rows.map((row) => [stepKeyOf(row.run_id, row.key), row]))
}

/**
 * One epoch has one worker, so a row of the same epoch and place is what this worker stored: its answer was lost. The
 * kind is compared for the sake of answers, which others insert at the same epoch.
 */
export const isSameStep = (row: StepRow, step: StepCommand): boolean =>
  row.epoch === step.epoch && row.n === step.n && row.kind === step.step_kind

async function explainEndings(
  store: Store,
  unanswered: Unanswered[],
  replies: Map<number, CommandReply>,
): Promise<void> {
  await explainSuspends(store, unanswered, replies)
  const endings = unanswered.filter(({ index, item }) => item.command.kind !== 'step' && !replies.has(index))
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

/** Answers came that the worker had not seen: they are the reply. */
async function explainSuspends(
  store: Store,
  unanswered: Unanswered[],
  replies: Map<number, CommandReply>,
): Promise<void> {
  const suspends: { index: number; asked: AnswersRequest }[] = []
  for (const { index, item } of unanswered) {
    const { workerId, command } = item
    if (command.kind !== 'suspend') continue
    suspends.push({
      index,
      asked: { runId: command.run_id, epoch: command.epoch, workerId, seen: command.seen },
    })
  }
  const answers = await readAnswers(
    store,
    suspends.map(({ asked }) => asked),
  )
  for (const [at, { index, asked }] of suspends.entries()) {
    const came = answers[at]
    if (came && came.wake > asked.seen) replies.set(index, { kind: 'answers', ...came })
  }
}

function wasDone(row: EndingRow, { workerId, command }: WorkerCommand): boolean {
  if (command.kind === 'release') return row.released_by === workerId
  const sameEpoch = row.now_epoch === row.epoch
  if (command.kind === 'pause') return sameEpoch ? row.status === 'paused' : row.paused_by === workerId
  // Parked still, or woken since. A run that was taken from its worker instead has a note of it.
  if (command.kind === 'suspend')
    return sameEpoch ? row.status === 'waiting' : row.now_epoch > row.epoch && !row.taken
  const status = command.kind === 'complete' ? 'completed' : 'failed'
  return row.status === status && sameEpoch && row.worker_id === workerId
}
