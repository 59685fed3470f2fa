import { crashPoint } from '@headrace/core'
import type { Command, CommandReply, CommandsRequest, StealCommand } from '@headrace/schemas'
import {
  applyCommands,
  claimRuns,
  classify,
  stealRuns,
  type ClaimRequest,
  type Store,
  type WorkerCommand,
} from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'
import { commandFault, fittingError } from './command-check.ts'
import { createGatherer } from './gatherer.ts'

/**
 * Where workers' commands are answered: each alone, at its own index. Claims are a statement of their own; steps,
 * completions, failures and releases of all requests that wait share one; a steal is rare and goes by itself.
 *
 * Rejects only when Postgres is away, or for a bug: then nothing is known of any command, and the worker sends the
 * request again. Every command may be repeated. Commands that are `withdrawn` before their turn are not run.
 */
export interface CommandDesk {
  answer(request: CommandsRequest, withdrawn?: AbortSignal): Promise<CommandReply[]>
  /** Resolves when no statement is in flight and none waits. */
  idle(): Promise<void>
}

export interface CommandDeskOptions {
  store: Store
  metrics: OrchestratorMetrics
  events: RunEvents
  /** The queue that a worker registered for; null: it is not registered. */
  queueOf: (workerId: string) => Promise<string | null>
}

/**
 * One statement's share: 2,000 commands take some 100 ms, and the next batch waits that long. The payloads of a full
 * batch would be more than Postgres takes in one message (1 GiB), and each worker's request alone may be 32 MiB.
 */
const STATEMENT_MAX = { items: 2_000, characters: 16 * 1024 * 1024 }
/** Some 50 statements behind: who comes later is told to come again. */
const WAITING_MAX = { items: 100_000, characters: 256 * 1024 * 1024 }

type Placed<Item> = { index: number; item: Item }
const LOST: CommandReply = { kind: 'lost' }

export function createCommandDesk(options: CommandDeskOptions): CommandDesk {
  const { store, metrics, events, queueOf } = options
  const bounds = {
    batchMax: STATEMENT_MAX,
    waitingMax: WAITING_MAX,
    isOutage: (error: unknown) => classify(error) !== 'bug',
  }
  const measured = (kind: string) => (items: number, seconds: number) => {
    metrics.commandsBatch.observe({ kind }, items)
    metrics.commandsSeconds.observe({ kind }, seconds)
  }

  const claims = createGatherer<ClaimRequest, CommandReply>({
    ...bounds,
    charactersOf: () => 0,
    ran: measured('claim'),
    run: async (items) => await runClaims(options, items),
  })
  const rest = createGatherer<WorkerCommand, CommandReply>({
    ...bounds,
    charactersOf: ({ command }) => payloadCharacters(command),
    ran: measured('commands'),
    run: async (items) => await runCommands(options, items),
  })

  async function steal(workerId: string, { workflows, limit }: StealCommand): Promise<CommandReply> {
    const queue = await queueOf(workerId)
    // Not registered: its next heartbeat says so.
    if (queue === null) return { kind: 'stolen', runs: [] }
    const startedAtMs = performance.now()
    const runs = await stealRuns(store, { workerId, queue, workflows, limit })
    measured('steal')(runs.length, (performance.now() - startedAtMs) / 1_000)
    events.claimed(runs)
    return { kind: 'stolen', runs }
  }

  return {
    async answer({ worker_id: workerId, commands }, withdrawn) {
      const replies = commands.map((): CommandReply => LOST)
      const toClaim: Placed<ClaimRequest>[] = []
      const toApply: Placed<WorkerCommand>[] = []
      const toSteal: Placed<StealCommand>[] = []
      for (const [index, command] of commands.entries()) {
        const fault = commandFault(command)
        if (fault !== null) replies[index] = fault
        else if (command.kind === 'claim') toClaim.push({ index, item: claimRequest(workerId, command) })
        else if (command.kind === 'steal') toSteal.push({ index, item: command })
        else toApply.push({ index, item: { workerId, command: fitting(command) } })
      }
      const [claimed, applied, stolen] = await Promise.all([
        claims.submit(
          toClaim.map(({ item }) => item),
          withdrawn,
        ),
        rest.submit(
          toApply.map(({ item }) => item),
          withdrawn,
        ),
        Promise.all(toSteal.map(async ({ item }) => await steal(workerId, item))),
      ])
      for (const [placed, answers] of [
        [toClaim, claimed],
        [toApply, applied],
        [toSteal, stolen],
      ] as const) {
        for (const [at, { index }] of placed.entries()) replies[index] = answers[at] ?? LOST
      }
      return replies
    },
    async idle() {
      await Promise.all([claims.idle(), rest.idle()])
    },
  }
}

async function runClaims(
  { store, events }: CommandDeskOptions,
  items: readonly ClaimRequest[],
): Promise<CommandReply[]> {
  crashPoint('claim.before-commit')
  const runs = await claimRuns(store, { claims: [...items] })
  crashPoint('claim.after-commit-before-reply')
  events.claimed(runs.filter((run) => run !== null))
  return runs.map((run): CommandReply => (run === null ? LOST : { kind: 'claimed', run }))
}

async function runCommands(
  { store, events, metrics }: CommandDeskOptions,
  items: readonly WorkerCommand[],
): Promise<CommandReply[]> {
  crashPoint('commands.before-commit')
  const { replies, released, ended } = await applyCommands(store, [...items])
  crashPoint('commands.after-commit-before-reply')
  events.queued(released)
  events.ended(ended)
  countSteps(metrics, items, replies)
  return replies
}

const claimRequest = (workerId: string, command: Extract<Command, { kind: 'claim' }>): ClaimRequest => ({
  runId: command.run_id,
  epoch: command.epoch,
  workerId,
  wantInput: command.want_input,
})

const fitting = (command: WorkerCommand['command']): WorkerCommand['command'] =>
  command.kind === 'fail' ? { ...command, error: fittingError(command.error) } : command

function payloadCharacters(command: WorkerCommand['command']): number {
  switch (command.kind) {
    case 'step':
      return (command.output ?? command.error ?? '').length
    case 'complete':
      return command.output.length
    case 'fail':
      return command.error.length
    case 'release':
      return 0
  }
  return 0
}

function countSteps(
  metrics: OrchestratorMetrics,
  items: readonly WorkerCommand[],
  replies: readonly CommandReply[],
): void {
  for (const [index, { command }] of items.entries()) {
    const reply = replies[index]
    if (command.kind !== 'step' || reply === undefined) continue
    metrics.steps.inc({ outcome: reply.kind })
    if (reply.kind === 'exists') metrics.stepsRerun.inc()
  }
}
