import type { Command, CommandReply } from '@headrace/schemas'
import { RunExecution, type RunEnd } from '../src/run/run-execution.ts'
import type { Logger, RunHost, RunStats } from '../src/run/run-host.ts'
import type { AnyWorkflow } from '../src/workflow/workflow.ts'
import { MemoryOrchestrator, type MemoryRun } from './memory-orchestrator.ts'

const noStats = (): RunStats => ({
  runsStarted: 0,
  runsCompleted: 0,
  runsFailed: 0,
  runsReleased: 0,
  runsLost: 0,
  runsStuck: 0,
  stepsStored: 0,
  stepsFailed: 0,
  stepRetries: 0,
  stepsRerun: 0,
})

interface Sent {
  command: Command
  reply: CommandReply | null
  resolve: (reply: CommandReply) => void
}

/**
 * One run on a worker whose link is in the test's hands: `commit` lets the orchestrator take a command, `answer` lets
 * the reply arrive, `crash` forgets the worker in between. Time stands still but for `now`.
 */
export class RunBench {
  readonly orchestrator = new MemoryOrchestrator()
  readonly lines: { level: string; message: string }[] = []
  readonly delays: number[] = []
  readonly #workflow: AnyWorkflow
  readonly runId: string
  #sent: Sent[] = []
  #worker = 0
  #uuids = 0
  #wakes: (() => void)[] = []
  execution: RunExecution | null = null
  end: RunEnd | null = null
  now = 1_000
  stats = noStats()
  /** Answers at once while true. */
  prompt: boolean

  constructor(workflow: AnyWorkflow, options: { input?: unknown; prompt?: boolean } = {}) {
    this.#workflow = workflow
    this.prompt = options.prompt ?? true
    this.runId = this.orchestrator.create(workflow.id, options.input ?? null).id
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
    const [reply] = this.orchestrator.apply(`w${this.#worker}`, [
      { kind: 'claim', run_id: this.runId, epoch: this.run.epoch, want_input: true },
    ])
    if (reply?.kind !== 'claimed') throw new Error(`the claim was answered ${reply?.kind}`)
    const execution = new RunExecution({ claimed: reply.run, workflow: this.#workflow, host: this.#host() })
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

  #host(): RunHost {
    return {
      send: async (command) =>
        await new Promise<CommandReply>((resolve) => {
          this.#sent.push({ command, reply: null, resolve })
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
      log: this.#log(),
      stats: this.stats,
    }
  }

  #log(): Logger {
    const at = (level: string) => (_fields: object, message: string) => {
      this.lines.push({ level, message })
    }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }

  /** The orchestrator takes the oldest command. */
  commit(): void {
    const sent = this.#sent.find((one) => one.reply === null)
    if (sent === undefined) return
    const [reply] = this.orchestrator.apply(`w${this.#worker}`, [sent.command])
    sent.reply = reply ?? null
  }

  /** The oldest answer arrives. */
  answer(): void {
    const [first] = this.#sent
    if (first === undefined || first.reply === null) return
    this.#sent.shift()
    first.resolve(first.reply)
  }

  settle(): void {
    while (this.uncommitted.length > 0) this.commit()
    while (this.unanswered > 0) this.answer()
  }

  /** The worker dies: what it sent and was not committed is gone, and nothing answers its code any more. */
  crash(): void {
    this.execution?.lose('the test killed its worker')
    this.execution = null
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

  /** Until the run left this worker's hands. */
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
