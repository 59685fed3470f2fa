import { crashPoint } from '@headrace/core'
import type { ClaimedRun, CommandReply, Task } from '@headrace/schemas'
import { RunExecution } from '../run/run-execution.ts'
import type { Logger, RunHost } from '../run/run-host.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'
import type { InHandRun, InHandTable } from './in-hand-table.ts'

/** A run that lost its workers so often may be what kills them: it gets this worker for itself. */
const ALONE_FROM_LOST = 2
/** So long nothing else is begun for the sake of a run that is to be alone. */
const ALONE_HOLD_MS = 5_000
/** A task that is to be alone is offered twice a second; past this it is not offered any more. */
const ALONE_FORGOTTEN_MS = 2_000
/** Runs of one steal: their inputs and steps come in one answer. */
const STEAL_MAX = 100

/** A run that is to have this worker for itself: it waits until the worker is idle, then runs, then makes room. */
type Alone =
  | { kind: 'task'; name: string; until: number }
  | { kind: 'stolen'; claimed: ClaimedRun; until: number }
  | { kind: 'running'; name: string }

export interface RunPoolParams {
  /** Those this worker may run: of its queue. */
  workflows: ReadonlyMap<string, AnyWorkflow>
  concurrency: number
  host: RunHost
  inHand: InHandTable
  log: Logger
  /** There may be room for another task. */
  onRoom: () => void
}

/**
 * The runs in this worker's hands. A slot is taken from the claim (or the steal) to the run's end; a run is bound to
 * this worker and its epoch, so a rebalance does not touch it.
 */
export class RunPool {
  readonly #params: RunPoolParams
  readonly #executions = new Map<string, RunExecution>()
  #slots = 0
  #claims = 0
  #alone: Alone | null = null
  #stealing = false
  #draining: 'no' | 'boundary' | 'at_once' = 'no'
  #onEmpty: (() => void) | null = null

  constructor(params: RunPoolParams) {
    this.#params = params
  }

  /** Free slots; none while a run is, or waits to be, alone. */
  get room(): number {
    return this.#alone !== null || this.#draining !== 'no' ? 0 : this.#params.concurrency - this.#slots
  }
  get running(): number {
    return this.#executions.size
  }
  get isStealing(): boolean {
    return this.#stealing
  }

  /**
   * Takes a task: claims its run, or drops it where that cannot or need not be done. False: not now, ask again when
   * there is room. `settle` is called once the task is of no more use.
   */
  offer(task: Task, settle: () => void): boolean {
    if (this.#draining !== 'no') return false
    const run = { run_id: task.run_id, epoch: task.epoch }
    if (!this.#params.workflows.has(task.workflow) || this.#params.inHand.has(run)) {
      // Ours to drop: a run without our code is found by those who have it, and a second task says nothing new.
      settle()
      return true
    }
    if (task.lost >= ALONE_FROM_LOST) return this.#offerAlone(task, run, settle)
    if (this.room <= 0) return false
    this.#claim(task, run, settle)
    return true
  }

  #offerAlone(task: Task, run: InHandRun, settle: () => void): boolean {
    const name = nameOf(run)
    if (this.#alone === null) this.#alone = { kind: 'task', name, until: this.#now() + ALONE_HOLD_MS }
    if (this.#alone.kind !== 'task' || this.#alone.name !== name) return false
    if (this.#slots === 0) {
      this.#alone = { kind: 'running', name }
      this.#claim(task, run, settle)
      return true
    }
    if (this.#now() < this.#alone.until) return false
    // Long runs are in hand here. It stays queued, and an idle worker steals it.
    this.#alone = null
    settle()
    return true
  }

  #claim(task: Task, run: InHandRun, settle: () => void): void {
    const { inHand, host } = this.#params
    inHand.add(run)
    this.#slots += 1
    this.#claims += 1
    const answered = (reply: CommandReply | null): void => {
      this.#claims -= 1
      if (reply?.kind === 'claimed') {
        crashPoint('worker.after-claim')
        settle()
        return this.#begin(reply.run, task.input ?? null)
      }
      if (reply !== null) settle()
      inHand.remove(run)
      this.#freed(nameOf(run))
    }
    host
      .send({ kind: 'claim', ...run, want_input: task.input === undefined })
      .then(answered, () => answered(null))
  }

  /** Asks for queued runs that no task brought. Resolves to true when it is worth asking again at once. */
  async steal(): Promise<boolean> {
    const { host, inHand, workflows, concurrency } = this.#params
    const limit = Math.min(this.room, STEAL_MAX)
    if (limit <= 0 || this.#stealing) return false
    this.#stealing = true
    this.#slots += limit
    inHand.setStealing(true)
    let stolen: ClaimedRun[] = []
    try {
      const reply = await host.send({ kind: 'steal', workflows: [...workflows.keys()], limit })
      if (reply.kind === 'stolen') stolen = reply.runs
    } catch {
      // The link is closed: whatever was taken is recovered with this worker's other runs.
    }
    // A run that is in hand already (a claim overtook the steal) is the same run at the same epoch: nothing to add.
    const fresh = stolen.filter((run) => inHand.add({ run_id: run.run_id, epoch: run.epoch }))
    inHand.setStealing(false)
    this.#stealing = false
    this.#slots -= limit - fresh.length
    for (const run of fresh) this.#beginStolen(run)
    if (fresh.length < limit) this.#params.onRoom()
    return stolen.length === limit && this.room >= concurrency / 2
  }

  #beginStolen(claimed: ClaimedRun): void {
    if (claimed.lost < ALONE_FROM_LOST) return this.#begin(claimed, null)
    if (this.#alone !== null) return this.#giveBackUnbegun(claimed)
    this.#alone = { kind: 'stolen', claimed, until: this.#now() + ALONE_HOLD_MS }
    this.#slots -= 1
    this.#considerAlone()
  }

  /** Called about twice a second, and whenever a slot becomes free. */
  #considerAlone(): void {
    const alone = this.#alone
    // Its partition went to another worker, which has the task now: nobody would ever offer it here again.
    if (alone?.kind === 'task' && this.#now() >= alone.until + ALONE_FORGOTTEN_MS) this.#alone = null
    if (alone?.kind !== 'stolen') return
    if (this.#slots === 0) {
      this.#alone = { kind: 'running', name: nameOf(alone.claimed) }
      this.#slots += 1
      this.#begin(alone.claimed, null)
    } else if (this.#now() >= alone.until || this.#draining !== 'no') {
      this.#alone = null
      this.#slots += 1
      this.#giveBackUnbegun(alone.claimed)
    }
  }

  tick(): void {
    this.#considerAlone()
    this.#params.onRoom()
  }

  #begin(claimed: ClaimedRun, input: string | null): void {
    const workflow = this.#params.workflows.get(claimed.workflow)
    if (workflow === undefined || this.#draining !== 'no') return this.#giveBackUnbegun(claimed)
    const execution = new RunExecution({ claimed, workflow, host: this.#params.host })
    const name = nameOf(claimed)
    this.#executions.set(name, execution)
    execution.ended.then(
      () => this.#ended(execution),
      () => this.#ended(execution),
    )
    execution.start(input)
  }

  #ended(execution: RunExecution): void {
    const name = nameOf(execution.claimed)
    this.#executions.delete(name)
    this.#params.inHand.remove(execution.claimed)
    this.#freed(name)
  }

  #giveBackUnbegun(claimed: ClaimedRun): void {
    const { run_id, epoch } = claimed
    const freed = (): void => {
      this.#params.inHand.remove({ run_id, epoch })
      this.#freed(nameOf(claimed))
    }
    this.#params.host.send({ kind: 'release', run_id, epoch }).then(freed, freed)
  }

  #freed(name: string): void {
    this.#slots -= 1
    if (this.#alone?.kind === 'running' && this.#alone.name === name) this.#alone = null
    this.#considerAlone()
    this.#noticeEmpty()
    this.#params.onRoom()
  }

  /** Another worker has it now. */
  lose(run: InHandRun): void {
    this.#executions.get(nameOf(run))?.lose('another worker has it, or it was cancelled')
  }

  /** Everything in hand is somebody else's now. */
  loseAll(detail: string): void {
    this.#draining = 'at_once'
    for (const execution of this.#executions.values()) execution.lose(detail)
  }

  /** Begins nothing more and gives back what is in hand: at its next step boundary, or at once. */
  drain(how: 'boundary' | 'at_once'): void {
    this.#draining = how
    this.#considerAlone()
    for (const execution of this.#executions.values()) execution.release({ atOnce: how === 'at_once' })
  }

  /** Resolves once nothing is in hand. */
  async empty(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve
      this.#noticeEmpty()
    })
  }

  #noticeEmpty(): void {
    if (this.#executions.size > 0 || this.#slots > 0 || this.#claims > 0) return
    this.#onEmpty?.()
  }

  #now(): number {
    return this.#params.host.now()
  }
}

const nameOf = (run: InHandRun): string => `${run.run_id}/${run.epoch}`
