import type { Command, CommandReply } from '@headrace/schemas'
import { RunExecution, type RunEnd } from '../src/run/run-execution.ts'
import type { Logger, RunHost } from '../src/run/run-host.ts'
import { noStats } from '../src/run/run-stats.ts'
import type { AnyWorkflow } from '../src/workflow/workflow.ts'
import { MemoryOrchestrator, type MemoryRun } from './memory-orchestrator.ts'

interface Sent {
  command: Command
  workerId: string
  reply: CommandReply | null
  resolve: (reply: CommandReply) => void
}

/** What the orchestrator takes in batches of their own, which overtake each other. */
const laneOf = ({ kind }: Command): 'publishes' | 'waits' | 'commands' =>
  kind === 'publish' ? 'publishes' : kind === 'wait' || kind === 'look' ? 'waits' : 'commands'

/**
 * One run on a worker whose link is in the test's hands: `commit` lets the orchestrator take a command, `answer` lets
 * the reply arrive, `crash` forgets the worker in between, `straggle` lets a command of a dead worker arrive after all.
 * Time stands still but for `now`, which is the orchestrator's too.
 */
export class RunBench {
  readonly orchestrator = new MemoryOrchestrator()
  readonly lines: { level: string; message: string }[] = []
  readonly delays: number[] = []
  /** What its workers sent, in order. */
  readonly commands: Command[] = []
  readonly #workflow: AnyWorkflow
  readonly runId: string
  #sent: Sent[] = []
  #stragglers: Sent[] = []
  #worker = 0
  #uuids = 0
  #wakes: (() => void)[] = []
  execution: RunExecution | null = null
  end: RunEnd | null = null
  stats = noStats()
  /** Answers at once while true. */
  prompt: boolean

  constructor(workflow: AnyWorkflow, options: { input?: unknown; prompt?: boolean } = {}) {
    this.#workflow = workflow
    this.prompt = options.prompt ?? true
    this.runId = this.orchestrator.create(workflow.id, options.input ?? null).id
  }

  get now(): number {
    return this.orchestrator.nowMs
  }
  set now(ms: number) {
    this.orchestrator.nowMs = ms
  }
  get run(): MemoryRun {
    const run = this.orchestrator.runs.get(this.runId)
    if (run === undefined) throw new Error('the run is gone')
    return run
  }
  get uncommitted(): readonly Command[] {
    return this.#sent.filter((sent) => sent.reply === null).map((sent) => sent.command)
  }
  get unanswered(): number {
    return this.#sent.filter((sent) => sent.reply !== null).length
  }

  /** A new worker claims the run and begins it. */
  claim(): RunExecution {
    this.#worker += 1
    const workerId = `w${this.#worker}`
    const [reply] = this.orchestrator.apply(workerId, [
      { kind: 'claim', run_id: this.runId, epoch: this.run.epoch, want_input: true },
    ])
    if (reply?.kind !== 'claimed') throw new Error(`the claim was answered ${reply?.kind}`)
    const host = this.#host(workerId)
    const execution = new RunExecution({ claimed: reply.run, workflow: this.#workflow, host })
    this.execution = execution
    this.end = null
    this.#watch(execution).catch(() => {})
    execution.start(null)
    return execution
  }

  async #watch(execution: RunExecution): Promise<void> {
    const end = await execution.ended
    if (this.execution === execution) this.end = end
  }

  #host(workerId: string): RunHost {
    return {
      send: async (command) =>
        await new Promise<CommandReply>((resolve) => {
          if (workerId !== `w${this.#worker}` || this.execution === null) return
          this.commands.push(command)
          this.#sent.push({ command, workerId, reply: null, resolve })
          if (this.prompt) this.settle()
        }),
      now: () => this.now,
      delay: async (ms, signal) => {
        this.delays.push(ms)
        if (signal.aborted) return
        await new Promise<void>((resolve) => {
          this.#wakes.push(resolve)
          signal.addEventListener('abort', () => resolve())
        })
      },
      random: () => 0.25,
      uuid: () => `uuid-${++this.#uuids}`,
      build: 'b2',
      log: this.#log(),
      statsOf: () => this.stats,
    }
  }

  #log(): Logger {
    const at = (level: string) => (_fields: object, message: string) => {
      this.lines.push({ level, message })
    }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }

  /** The orchestrator takes a command: the oldest, or that of one of the lanes. */
  commit(which?: number): void {
    const open = this.#sent.filter((one) => one.reply === null)
    const sent = which === undefined ? open[0] : pick(heads(open), which)
    if (sent === undefined) return
    const [reply] = this.orchestrator.apply(sent.workerId, [sent.command])
    sent.reply = reply ?? null
  }

  /** An answer arrives: the oldest, or that of one of the lanes. */
  answer(which?: number): void {
    const sent = which === undefined ? this.#sent[0] : pick(heads(this.#sent), which)
    if (sent === undefined || sent.reply === null) return
    this.#sent.splice(this.#sent.indexOf(sent), 1)
    sent.resolve(sent.reply)
  }

  /** What a dead worker had sent arrives after all. */
  straggle(): void {
    const sent = this.#stragglers.shift()
    if (sent !== undefined) this.orchestrator.apply(sent.workerId, [sent.command])
  }

  settle(): void {
    while (this.uncommitted.length > 0) this.commit()
    while (this.unanswered > 0) this.answer()
  }

  /** The worker dies: what it sent and was not committed comes late or never, and nothing answers its code any more. */
  crash(): void {
    this.execution?.lose('the test killed its worker')
    this.execution = null
    this.#stragglers.push(...this.#sent.filter((sent) => sent.reply === null))
    this.#sent = []
    this.#wakes = []
    this.orchestrator.recover(this.runId)
  }

  /** All delays are over. */
  elapse(): void {
    const wakes = this.#wakes
    this.#wakes = []
    for (const wake of wakes) wake()
  }

  /** Lets the workflow's code come to rest. */
  async rest(turns = 4): Promise<void> {
    for (let turn = 0; turn < turns; turn += 1)
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
  }

  /** Until the run left this worker's hands. Time does not pass. */
  async finish(): Promise<RunEnd> {
    this.prompt = true
    for (let turn = 0; turn < 5_000 && this.end === null; turn += 1) {
      this.settle()
      this.elapse()
      await this.rest(1)
    }
    if (this.end === null) throw new Error('the run does not end')
    return this.end
  }

  result(): unknown {
    const { output, error } = this.run
    return error === null ? JSON.parse(output ?? 'null') : JSON.parse(error)
  }
}

/** The oldest of each lane. */
function heads(sent: readonly Sent[]): Sent[] {
  const lanes = new Map<string, Sent>()
  for (const one of sent) if (!lanes.has(laneOf(one.command))) lanes.set(laneOf(one.command), one)
  return [...lanes.values()]
}

const pick = <Item>(items: readonly Item[], which: number): Item | undefined => items[which % items.length]
