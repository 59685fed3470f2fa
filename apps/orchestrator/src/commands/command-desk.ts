import { checkpoint, crashPoint } from '@headrace/core'
import type {
  ClaimCommand,
  Command,
  CommandReply,
  CommandsRequest,
  PublishCommand,
  StealCommand,
} from '@headrace/schemas'
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
import type { Publisher } from '../publish/publisher.ts'
import type { RunEvents } from '../runs/run-events.ts'
import type { WaitItem } from '../waits/run-waits.ts'
import { commandFault, fittingError } from './command-check.ts'
import { createGatherer, type Load } from './gatherer.ts'

/**
 * Where workers' commands are answered: each alone, at its own index. What can share a statement is gathered, each kind
 * apart, so that none waits for another's: claims; steps and all that ends a run's time in a worker's hands; waits and
 * looks. A steal is rare and goes by itself, and so does each publish, which waits for Kafka.
 *
 * Rejects only when Postgres is away, Kafka for a request that publishes, or for a bug: then nothing is known of any
 * command, and the worker sends the request again. Every command may be repeated. Commands that are `withdrawn` before
 * their turn are not run.
 */
export interface CommandDesk {
  answer(request: CommandsRequest, withdrawn?: AbortSignal): Promise<CommandReply[]>
  /** Resolves when no statement is in flight and none waits, nor an event for Kafka. */
  idle(): Promise<void>
}

export interface CommandDeskOptions {
  store: Store
  metrics: OrchestratorMetrics
  events: RunEvents
  publisher: Publisher
  /** Dead letters of runs that a batch failed, before their worker is answered. */
  setAside: (items: readonly WorkerCommand[], replies: readonly CommandReply[]) => Promise<void>
  runWaits: (items: readonly WaitItem[]) => Promise<CommandReply[]>
  /** The queue that a worker registered for; null: it is not registered. */
  queueOf: (workerId: string) => Promise<string | null>
}

/**
 * One statement's share: 2,000 commands take some 100 ms, and the next batch waits that long. The payloads of a full
 * batch would be more than Postgres takes in one message (1 GiB), and each worker's request alone may be 32 MiB.
 */
const STATEMENT_MAX: Load = { items: 2_000, characters: 16 * 1024 * 1024 }
/** A wait reads the responses of its topic besides. */
const WAITS_MAX: Load = { items: 500, characters: 16 * 1024 * 1024 }
/** Some 50 statements behind: who comes later is told to come again. */
const WAITING_MAX: Load = { items: 100_000, characters: 256 * 1024 * 1024 }

type Placed<Item> = { index: number; item: Item }
const LOST: CommandReply = { kind: 'lost' }

export function createCommandDesk(options: CommandDeskOptions): CommandDesk {
  const { metrics, publisher } = options
  const measured = (kind: string) => (items: number, seconds: number) => {
    metrics.commandsBatch.observe({ kind }, items)
    metrics.commandsSeconds.observe({ kind }, seconds)
  }
  const gathered = <Item>(
    kind: string,
    run: (items: readonly Item[]) => Promise<CommandReply[]>,
    {
      batchMax = STATEMENT_MAX,
      charactersOf = () => 0,
    }: {
      batchMax?: Load
      charactersOf?: (item: Item) => number
    } = {},
  ) =>
    createGatherer<Item, CommandReply>({
      batchMax,
      waitingMax: WAITING_MAX,
      isOutage: (error) => !['bug', 'row'].includes(classify(error)),
      charactersOf,
      ran: measured(kind),
      run,
    })
  const claims = gathered<ClaimRequest>('claim', async (items) => await runClaims(options, items))
  const rest = gathered<WorkerCommand>('commands', async (items) => await runCommands(options, items), {
    charactersOf: ({ command }) => payloadCharacters(command),
  })
  const waits = gathered<WaitItem>('wait', options.runWaits, {
    batchMax: WAITS_MAX,
    charactersOf: ({ command }) => inputCharacters(command),
  })

  return {
    async answer({ worker_id: workerId, commands }, withdrawn) {
      const { refused, toClaim, toApply, toWait, toPublish, toSteal } = sortCommands(workerId, commands)
      const replies = commands.map((_, index): CommandReply => refused.get(index) ?? LOST)
      const place = <Item>(placed: readonly Placed<Item>[], answers: readonly CommandReply[]): void => {
        for (const [at, { index }] of placed.entries()) replies[index] = answers[at] ?? LOST
      }
      await Promise.all([
        claims.submit(itemsOf(toClaim), withdrawn).then((answers) => place(toClaim, answers)),
        rest.submit(itemsOf(toApply), withdrawn).then((answers) => place(toApply, answers)),
        waits.submit(itemsOf(toWait), withdrawn).then((answers) => place(toWait, answers)),
        publisher
          .answer(workerId, itemsOf(toPublish), withdrawn)
          .then((answers) => place(toPublish, answers)),
        Promise.all(
          itemsOf(toSteal).map(async (command) => await steal(options, workerId, command, measured('steal'))),
        ).then((answers) => place(toSteal, answers)),
      ])
      return replies
    },
    async idle() {
      await Promise.all([claims.idle(), rest.idle(), waits.idle(), publisher.idle()])
    },
  }
}

const itemsOf = <Item>(placed: readonly Placed<Item>[]): Item[] => placed.map(({ item }) => item)

/** Each command's way, by kind; what cannot be taken at all is answered here. */
function sortCommands(workerId: string, commands: readonly Command[]) {
  const refused = new Map<number, CommandReply>()
  const toClaim: Placed<ClaimRequest>[] = []
  const toApply: Placed<WorkerCommand>[] = []
  const toWait: Placed<WaitItem>[] = []
  const toPublish: Placed<PublishCommand>[] = []
  const toSteal: Placed<StealCommand>[] = []
  for (const [index, command] of commands.entries()) {
    const fault = commandFault(command)
    if (fault !== null) {
      refused.set(index, fault)
      continue
    }
    switch (command.kind) {
      case 'claim':
        toClaim.push({ index, item: claimRequest(workerId, command) })
        break
      case 'steal':
        toSteal.push({ index, item: command })
        break
      case 'wait':
      case 'look':
      case 'invoke':
        toWait.push({ index, item: { workerId, command } })
        break
      case 'publish':
        toPublish.push({ index, item: command })
        break
      case 'step':
      case 'complete':
      case 'fail':
      case 'pause':
      case 'release':
      case 'suspend':
        toApply.push({ index, item: { workerId, command: fitting(command) } })
        break
    }
  }
  return { refused, toClaim, toApply, toWait, toPublish, toSteal }
}

async function steal(
  { store, events, queueOf }: CommandDeskOptions,
  workerId: string,
  { workflows, limit }: StealCommand,
  ran: (items: number, seconds: number) => void,
): Promise<CommandReply> {
  const queue = await queueOf(workerId)
  // Not registered: its next heartbeat says so.
  if (queue === null) return { kind: 'stolen', runs: [] }
  const startedAtMs = performance.now()
  const runs = await stealRuns(store, { workerId, queue, workflows, limit })
  ran(runs.length, (performance.now() - startedAtMs) / 1_000)
  events.claimed(runs)
  return { kind: 'stolen', runs }
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
  { store, events, metrics, setAside }: CommandDeskOptions,
  items: readonly WorkerCommand[],
): Promise<CommandReply[]> {
  crashPoint('commands.before-commit')
  const { replies, released, ended } = await applyCommands(store, [...items])
  crashPoint('commands.after-commit-before-reply')
  if (items.some(({ command }) => command.kind === 'suspend')) {
    crashPoint('suspend.after-commit')
    const held = checkpoint('suspend.after-commit')
    if (held) await held
  }
  events.queued(released)
  events.ended(ended)
  countSteps(metrics, items, replies)
  if (items.some(({ command }) => command.kind === 'fail')) await setAside(items, replies)
  return replies
}

const claimRequest = (workerId: string, command: ClaimCommand): ClaimRequest => ({
  runId: command.run_id,
  epoch: command.epoch,
  workerId,
  wantInput: command.want_input,
})

const fitting = (command: WorkerCommand['command']): WorkerCommand['command'] =>
  command.kind === 'fail' || command.kind === 'pause'
    ? { ...command, error: fittingError(command.error) }
    : command

function payloadCharacters(command: WorkerCommand['command']): number {
  switch (command.kind) {
    case 'step':
      return (command.output ?? command.error ?? '').length
    case 'complete':
      return command.output.length
    case 'fail':
    case 'pause':
      return command.error.length
    case 'release':
    case 'suspend':
      return 0
  }
  return 0
}

/** Of a child run. */
function inputCharacters(command: WaitItem['command']): number {
  if (command.kind === 'invoke') return command.input.length
  return command.kind === 'wait' && command.wait.kind === 'run' ? command.wait.input.length : 0
}

function countSteps(
  metrics: OrchestratorMetrics,
  items: readonly WorkerCommand[],
  replies: readonly CommandReply[],
): void {
  // Once a batch: a counter with labels costs more than a step's answer.
  const outcomes = new Map<CommandReply['kind'], number>()
  for (const [index, { command }] of items.entries()) {
    const reply = replies[index]
    if (command.kind !== 'step' || reply === undefined) continue
    outcomes.set(reply.kind, (outcomes.get(reply.kind) ?? 0) + 1)
  }
  for (const [outcome, count] of outcomes) metrics.steps.inc({ outcome }, count)
  metrics.stepsRerun.inc(outcomes.get('exists') ?? 0)
}
