import type {
  ClaimedRun,
  Command,
  CommandReply,
  CompleteCommand,
  FailCommand,
  ReleaseCommand,
  StepCommand,
  StoredStep,
} from '@headrace/schemas'

export interface MemoryRun {
  id: string
  workflow: string
  status: 'queued' | 'running' | 'completed' | 'failed'
  epoch: number
  lost: number
  workerId: string | null
  input: string
  output: string | null
  error: string | null
  steps: Map<string, StoredStep>
  /** Who ended or released which epoch, so that a resend is answered as the first was. */
  left: { epoch: number; workerId: string } | null
}

/** The orchestrator's side of the worker protocol, with its real rules, in memory. */
export class MemoryOrchestrator {
  readonly runs = new Map<string, MemoryRun>()
  #made = 0

  create(workflow: string, input: unknown = null): MemoryRun {
    this.#made += 1
    const run: MemoryRun = {
      id: `00000000-0000-7000-8000-${String(this.#made).padStart(12, '0')}`,
      workflow,
      status: 'queued',
      epoch: 1,
      lost: 0,
      workerId: null,
      input: JSON.stringify(input),
      output: null,
      error: null,
      steps: new Map(),
      left: null,
    }
    this.runs.set(run.id, run)
    return run
  }

  /** Its worker is declared dead: queued again at the next epoch. */
  recover(id: string): void {
    const run = this.#run(id)
    if (run.status !== 'running') return
    Object.assign(run, { status: 'queued', epoch: run.epoch + 1, lost: run.lost + 1, workerId: null })
  }

  apply(workerId: string, commands: readonly Command[]): CommandReply[] {
    return commands.map((command) => this.#answer(workerId, command))
  }

  #answer(workerId: string, command: Command): CommandReply {
    if (command.kind === 'steal') return this.#steal(workerId, command.workflows, command.limit)
    const run = this.#run(command.run_id)
    if (command.kind === 'claim') return this.#claim(run, workerId, command.epoch)
    const ours = run.status === 'running' && run.workerId === workerId && run.epoch === command.epoch
    if (command.kind === 'step') return ours ? this.#store(run, command) : { kind: 'lost' }
    if (ours) return this.#leave(run, workerId, command)
    const again = run.left?.epoch === command.epoch && run.left.workerId === workerId
    return again ? { kind: 'done' } : { kind: 'lost' }
  }

  #claim(run: MemoryRun, workerId: string, epoch: number): CommandReply {
    const free = run.status === 'queued' || (run.status === 'running' && run.workerId === workerId)
    if (!free || run.epoch !== epoch) return { kind: 'lost' }
    return { kind: 'claimed', run: this.#take(run, workerId) }
  }

  #steal(workerId: string, workflows: readonly string[], limit: number): CommandReply {
    const queued = [...this.runs.values()].filter(
      (run) => run.status === 'queued' && workflows.includes(run.workflow),
    )
    return { kind: 'stolen', runs: queued.slice(0, limit).map((run) => this.#take(run, workerId)) }
  }

  #take(run: MemoryRun, workerId: string): ClaimedRun {
    Object.assign(run, { status: 'running', workerId })
    return {
      run_id: run.id,
      epoch: run.epoch,
      wake: 0,
      workflow: run.workflow,
      build: 'b1',
      attempt: 1,
      lost: run.lost,
      input: run.input,
      tags: {},
      trigger: null,
      parent_run_id: null,
      traceparent: null,
      started_at: 0,
      steps: [...run.steps.values()].sort((a, b) => a.n - b.n),
    }
  }

  #store(run: MemoryRun, command: StepCommand): CommandReply {
    const { key, step_kind, n, seen, epoch, output, error, attempts } = command
    const stored = run.steps.get(key)
    if (stored !== undefined) {
      const resend = stored.epoch === epoch && stored.output === output && stored.error === error
      return resend ? { kind: 'stored' } : { kind: 'exists', step: stored }
    }
    run.steps.set(key, { key, step_kind, n, seen, epoch, output, error, attempts })
    return { kind: 'stored' }
  }

  #leave(
    run: MemoryRun,
    workerId: string,
    command: CompleteCommand | FailCommand | ReleaseCommand,
  ): CommandReply {
    run.left = { epoch: command.epoch, workerId }
    if (command.kind === 'release')
      Object.assign(run, { status: 'queued', epoch: run.epoch + 1, workerId: null })
    else if (command.kind === 'complete') Object.assign(run, { status: 'completed', output: command.output })
    else Object.assign(run, { status: 'failed', error: command.error })
    return { kind: 'done' }
  }

  #run(id: string): MemoryRun {
    const run = this.runs.get(id)
    if (run === undefined) throw new Error(`there is no run ${id}`)
    return run
  }
}
