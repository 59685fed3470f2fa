import { decideRetry } from '@headrace/core'
import type { ClaimedRun, Command, CommandReply, PauseCommand, PauseReason } from '@headrace/schemas'
import { RunCancelledError, DuplicateStepKeyError, ReplayMismatchError } from '../errors/run-error.ts'
import {
  ChildRunError,
  LimitExceededError,
  SchemaValidationError,
  StepFailedError,
  WaitTimeoutError,
} from '../errors/step-error.ts'
import { storedErrorOf, wireErrorOf } from '../errors/stored-error.ts'
import { validate } from '../workflow/standard-schema.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'
import { LazyAbort } from './lazy-abort.ts'
import { RunBodies } from './run-bodies.ts'
import { createContext } from './run-context.ts'
import type { RunHost } from './run-host.ts'
import { readInput } from './run-input.ts'
import { isOwed, RunMachine } from './run-machine.ts'
import { countEnd, note, noteRetry, type RunEnd } from './run-notes.ts'
import type { RunParts } from './run-parts.ts'
import { RunTrace } from './run-trace.ts'
import { RunWaits } from './run-waits.ts'
import { checkStepKey, overLimit } from './step-arguments.ts'
import { outputText, retryWishOf } from './step-body.ts'
import type { StepCall } from './step-call.ts'
import { type Outcome, thrownBy } from './step-outcome.ts'

export type { RunEnd } from './run-notes.ts'

/**
 * One claimed run, from its handler's first line until it leaves this worker: the shell around RunMachine, which decides.
 *
 *     ┌─────── answers came ───────┐
 *     ▼                            │
 *     running ──▶ suspending ──────┴──▶ over     suspending: nothing but answers can move it; it asks to be parked
 *        ├──────▶ ending ─────────────▶ over     ending: complete or fail is sent, its answer is awaited
 *        └──────▶ giving_back ────────▶ over     giving_back: release, or pause, is sent
 *     any ──▶ over                               lost: another worker has it
 *
 * A run is paused where its code does not fit it (key twice, key as another kind) or its retries are used up, if its
 * workflow says so: while running nothing new is begun or handed out from then on, bodies under way end and are stored,
 * then it leaves.
 *
 * Once it is no longer running, every call of a step stays open for ever: a rejection would run the `catch` blocks of a
 * workflow that has not failed. While it is suspending, it waits for the answer to that.
 */
type State = 'running' | 'suspending' | 'ending' | 'giving_back' | 'over'

interface OpenCall {
  readonly call: StepCall
  resolve(value: unknown): void
  reject(error: Error): void
}

export class RunExecution {
  readonly claimed: ClaimedRun
  readonly #workflow: AnyWorkflow
  readonly #host: RunHost
  readonly #machine: RunMachine
  readonly #trace: RunTrace
  readonly #outcomes = new Map<string, Outcome>()
  readonly #calls = new Map<string, OpenCall>()
  readonly #abort = new LazyAbort()
  readonly #hurry = new LazyAbort()
  readonly #bodies: RunBodies
  readonly #waits: RunWaits
  #state: State = 'running'
  /** The run is to be paused once no body runs. */
  #pausing: Pick<PauseCommand, 'reason' | 'error'> | null = null
  /** Steps called by an earlier try of the handler must not mix with those of the present one. */
  #try = 0
  /** The handler returned or threw: its code calls nothing more, and sees nothing more. */
  #returned = false
  #withheld = false
  #atOnce = false
  #atRest = true
  /** Calls of owed steps whose arguments are being checked. */
  #preparing = 0
  /** Who waits for something to change: the end of bodies and publishes, the answer to a suspend. */
  #onChange: (() => void)[] = []
  #end: (end: RunEnd) => void = () => {}

  /** Resolves when the run is out of this worker's hands; never rejects. */
  readonly ended: Promise<RunEnd>

  constructor(params: { claimed: ClaimedRun; workflow: AnyWorkflow; host: RunHost }) {
    this.claimed = params.claimed
    this.#workflow = params.workflow
    this.#host = params.host
    this.#machine = new RunMachine(params.claimed)
    this.#trace = new RunTrace(params.claimed, params.host)
    for (const step of params.claimed.steps) this.#outcomes.set(step.key, step)
    const parts = this.#parts()
    this.#bodies = new RunBodies(parts)
    this.#waits = new RunWaits(parts)
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  #parts(): RunParts {
    return {
      claimed: this.claimed,
      host: this.#host,
      machine: this.#machine,
      trace: this.#trace,
      abort: this.#abort,
      hurry: this.#hurry,
      isRunning: () => this.#state === 'running',
      isLeaving: () => this.#state === 'giving_back' || this.#state === 'over',
      send: (command, answered) => this.#send(command, answered),
      keep: (key, outcome) => this.#outcomes.set(key, outcome),
      begin: (key) => this.#begin(key),
      handOut: () => this.#handOut(),
      goOn: () => this.#goOn(),
      withhold: () => this.#withhold(),
      fail: (error) => this.#fail(error),
      pause: (reason, error, stepKey) => this.#pauseFor(reason, error, stepKey),
      pausesExhausted: this.#workflow.onExhausted === 'pause',
      giveBack: () => this.#giveBack(),
      notOurs: (reply) => this.#notOurs(reply),
    }
  }

  /** Begins to run the handler. `input` is the task's, where the claim returned none. */
  start(input: string | null): void {
    this.#host.statsOf(this.claimed.workflow).runsStarted += 1
    // Whatever escapes ends this run, never the worker (P6).
    const text = this.claimed.input ?? input ?? 'null'
    this.#trace.within(() => this.#runHandler(text)).catch((error: unknown) => this.#fail(error))
  }

  /** Gives the run back: at the next step boundary, or `atOnce`, when `ctx.signal` is aborted. */
  release({ atOnce }: { atOnce: boolean }): void {
    if (this.#state === 'over' || this.#state === 'giving_back') return
    this.#hurry.abort(() => this.#cancelled('it is given back'))
    if (atOnce) {
      this.#atOnce = true
      this.#abort.abort(() => this.#cancelled('the worker stops'))
      if (this.#state === 'running') this.#giveBack()
    } else this.#goOn()
  }

  /**
   * The run is another worker's now: nothing more is sent for it. Not while it parks, ends or is given back: then it may
   * be gone because that was done, and the answer will tell.
   */
  lose(detail: string): void {
    if (this.#state === 'running') this.#drop(detail)
  }

  #drop(detail: string): void {
    this.#over('lost', this.#cancelled(detail))
  }

  #cancelled(detail: string): RunCancelledError {
    return new RunCancelledError({ runId: this.claimed.run_id, detail })
  }

  async #runHandler(text: string): Promise<void> {
    const input = (await readInput(this.#workflow, text)) as never
    for (let attempts = 1; this.#state === 'running'; attempts += 1) {
      this.#try += 1
      this.#returned = false
      this.#rest()
      try {
        const value = await this.#workflow.handler(this.#context(this.#try), input)
        this.#returned = true
        if (!this.#mayEnd) await this.#untilMayEnd()
        return await this.#complete(value)
      } catch (error) {
        this.#returned = true
        if (!this.#mayEnd) await this.#untilMayEnd()
        if (!(await this.#mayTryAgain(error, attempts))) return this.#giveUp(error)
      }
    }
  }

  #context(attempt: number) {
    return createContext({
      claimed: this.claimed,
      policy: this.#workflow.retries,
      host: this.#host,
      abort: this.#abort,
      trace: this.#trace,
      silent: () => this.#machine.replaying || this.#try !== attempt,
      call: (step) => (this.#try === attempt ? this.#call(step) : forever()),
      prepare: () => this.#prepare(),
    })
  }

  /** An error of the handler's own code: once its bodies are done and the delay is over, the code begins again. */
  async #mayTryAgain(error: unknown, attempts: number): Promise<boolean> {
    if (!this.#workflow.retriesHandler || this.#state !== 'running') return false
    const { retries: policy } = this.#workflow
    const decision = decideRetry({ policy, attempts, ...retryWishOf(error), random: this.#host.random() })
    if (decision.kind === 'give_up') return false
    const { delayMs } = decision
    this.#trace.retried(error, attempts, delayMs)
    this.#try += 1
    noteRetry(this.#noted, { event: 'handler.retry', key: null, attempt: attempts, delayMs }, error)
    while (this.#bodies.running > 0) await this.#changed()
    await this.#host.delay(delayMs, this.#hurry.signal)
    this.#calls.clear()
    this.#machine.restart()
    return true
  }

  /** Of the handler's own code. What says that another attempt cannot help is no matter of retries. */
  #giveUp(error: unknown): void {
    if (this.#workflow.onExhausted === 'pause' && retryWishOf(error).retryable)
      this.#pauseFor('retries_exhausted', error, null)
    else this.#fail(error)
  }

  /** What it owes is done (I8), and it is not about to park. */
  get #mayEnd(): boolean {
    if (this.#state !== 'running') return this.#state !== 'suspending'
    return this.#machine.mayEnd && this.#preparing === 0
  }

  #prepare(): () => void {
    this.#preparing += 1
    return () => {
      this.#preparing -= 1
      this.#noticeChange()
    }
  }

  async #untilMayEnd(): Promise<void> {
    while (!this.#mayEnd) await this.#changed()
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onChange.push(resolve)
    })
  }

  #noticeChange(): void {
    const waiting = this.#onChange
    this.#onChange = []
    for (const resolve of waiting) resolve()
  }

  // --- steps ---

  async #call(step: StepCall): Promise<unknown> {
    while (this.#state === 'suspending') await this.#changed()
    if (!this.#isGoingOn || (this.#returned && !isOwed(step.kind))) return await forever()
    checkStepKey(step.key)
    // Called after I/O of the workflow's own: what else it calls in this breath may have happened before.
    this.#rest()
    const answer = this.#machine.call(step.key, step.kind)
    switch (answer.kind) {
      case 'replay':
      case 'start':
      case 'wait':
        return await this.#open(step, answer.kind)
      case 'key_twice':
        this.#pauseFor('duplicate_step_key', new DuplicateStepKeyError(step.key), step.key)
        return await forever()
      case 'other_kind': {
        const { storedKind } = answer
        const { key: stepKey, kind: calledKind } = step
        const error = new ReplayMismatchError({ stepKey, storedKind, calledKind })
        this.#pauseFor('replay_mismatch', error, stepKey)
        return await forever()
      }
      case 'too_many_steps':
      case 'too_many_waits':
        break
    }
    throw overLimit(step.key, answer.kind)
  }

  #open(call: StepCall, next: 'replay' | 'start' | 'wait'): Promise<unknown> {
    const result = new Promise((resolve, reject) => {
      this.#calls.set(call.key, { call, resolve, reject })
    })
    if (next === 'start') this.#begin(call.key)
    return result
  }

  #begin(key: string): void {
    const call = this.#calls.get(key)?.call
    if (call === undefined) return
    // What the ended code did not come to: a body of it would run beside that of the next try. But what is owed (I8).
    if (this.#returned && !isOwed(call.kind)) return
    if ('wait' in call) this.#waits.register(call)
    else this.#bodies.begin(call)
  }

  #withhold(): void {
    this.#withheld = true
    this.#goOn()
  }

  // --- handing out ---

  /** Lets what the code does now come to rest before the next result is handed out (I4 of RunMachine). */
  #rest(): void {
    if (!this.#atRest) return
    this.#atRest = false
    // Microtasks and nextTicks are done before an immediate runs; only real I/O is not, which belongs into a step.
    setImmediate(() => {
      this.#atRest = true
      this.#goOn()
    })
  }

  #handOut(): void {
    if (!this.#atRest || !this.#isGoingOn || this.#returned) return
    const key = this.#machine.handOut()
    if (key === null) return
    this.#rest()
    const open = this.#calls.get(key)
    const outcome = this.#outcomes.get(key)
    if (open === undefined || outcome === undefined) throw new Error(`step "${key}" has nothing to hand out`)
    if (outcome.error === null) open.resolve(JSON.parse(outcome.output ?? 'null'))
    else open.reject(thrownBy(open.call, outcome.attempts, outcome.error))
  }

  #goOn(): void {
    if (this.#onChange.length > 0) this.#noticeChange()
    if (this.#state !== 'running') return
    if (this.#pausing !== null) return this.#pause(this.#pausing)
    this.#handOut()
    if (this.#withheld && this.#isAtBoundary()) return this.#giveBack()
    if (this.#machine.parkedCount === 0 || this.#returned) return
    if (this.#atRest && this.#machine.mayPark) this.#suspend()
    else this.#waits.look(this.#bodies)
  }

  /** A step was kept from starting, nothing runs, and nothing is left to hand out. */
  #isAtBoundary(): boolean {
    if (this.#bodies.running > 0 || !this.#atRest) return false
    return this.#returned || this.#machine.readyCount === 0
  }

  // --- the end ---

  /** What the code does on its own meanwhile is let go, and done again when an answer comes. */
  #suspend(): void {
    this.#state = 'suspending'
    const { run_id, epoch } = this.claimed
    this.#send({ kind: 'suspend', run_id, epoch, seen: this.#machine.wake, ...this.#trace.left }, (reply) => {
      if (this.#state !== 'suspending') return
      if (reply.kind === 'done') return this.#over('suspended', null)
      if (reply.kind !== 'answers') return this.#notOurs(reply)
      this.#state = 'running'
      this.#waits.take(reply)
      if (this.#atOnce) this.#giveBack()
      else this.#goOn()
    })
  }

  async #complete(value: unknown): Promise<void> {
    if (!this.#isGoingOn) return
    const schema = this.#workflow.outputSchema
    if (schema !== null) await validate({ schema, value, subject: 'the output' })
    const output = outputText(null, value)
    if (!this.#isGoingOn) return
    this.#state = 'ending'
    const { run_id, epoch } = this.claimed
    this.#send({ kind: 'complete', run_id, epoch, output }, (reply) => this.#endAnswered('completed', reply))
  }

  #fail(error: unknown): void {
    if (!this.#isGoingOn && this.#state !== 'ending') return
    this.#state = 'ending'
    const { run_id, epoch } = this.claimed
    const stored = wireErrorOf(storedErrorOf(error, stepKeyOf(error)))
    this.#trace.failed(stored)
    this.#note('warn', 'run.failed', { code: stored.code, error: stored.message }, 'the run failed')
    // Before the first try it is the input that no attempt can mend: set aside, for people to look at.
    const isInput = this.#try === 0 && error instanceof SchemaValidationError
    this.#send(
      {
        kind: 'fail',
        run_id,
        epoch,
        error: JSON.stringify(stored),
        ...(isInput ? { set_aside: 'schema_invalid' as const } : {}),
      },
      (reply) => this.#endAnswered('failed', reply),
    )
  }

  #endAnswered(end: 'completed' | 'failed', reply: CommandReply): void {
    if (reply.kind === 'done') this.#over(end, null)
    else if (this.#state !== 'ending') return
    else if (reply.kind === 'refused' && end === 'completed')
      this.#fail(new LimitExceededError({ limit: reply.code, message: reply.detail }))
    else this.#notOurs(reply)
  }

  /** Its code is to come no further: neither to its end nor to another reason. */
  get #isGoingOn(): boolean {
    return this.#state === 'running' && this.#pausing === null
  }

  #pauseFor(reason: PauseReason, error: unknown, stepKey: string | null): void {
    if (!this.#isGoingOn) return
    const stored = wireErrorOf(storedErrorOf(error, stepKey ?? stepKeyOf(error)))
    const builds = { begun_on_build: this.claimed.build, build: this.#host.build }
    if (reason !== 'retries_exhausted')
      stored.message += `. It began on build ${builds.begun_on_build}, and this is build ${builds.build}`
    this.#pausing = { reason, error: JSON.stringify(stored) }
    const fields = { code: reason, step_key: stored.step_key, ...builds, error: stored.message }
    this.#note('error', 'run.paused', fields, 'the run is paused, not failed')
    this.#hurry.abort(() => this.#cancelled('it is paused'))
    this.#goOn()
  }

  #pause(why: Pick<PauseCommand, 'reason' | 'error'>): void {
    if (this.#bodies.running > 0) return
    this.#state = 'giving_back'
    const { run_id, epoch } = this.claimed
    this.#send({ kind: 'pause', run_id, epoch, ...why }, (reply) => {
      if (reply.kind === 'done') this.#over('paused', null)
      else this.#notOurs(reply)
    })
  }

  #giveBack(): void {
    this.#state = 'giving_back'
    const { run_id, epoch } = this.claimed
    this.#send({ kind: 'release', run_id, epoch, ...this.#trace.left }, (reply) => {
      if (reply.kind === 'done') this.#over('released', null)
      else this.#notOurs(reply)
    })
  }

  #notOurs(reply: CommandReply): void {
    if (reply.kind !== 'lost')
      this.#note('error', 'run.protocol', { reply: reply.kind }, 'an answer that does not fit its command')
    this.#drop('another worker has it, or it was cancelled')
  }

  #send(command: Command, answered: (reply: CommandReply) => void): void {
    this.#host
      .send(command)
      .then(answered)
      .catch((error: unknown) => this.#drop(String(error)))
  }

  #note(level: 'warn' | 'error', event: string, fields: object, message: string): void {
    note(this.#noted, level, event, fields, message)
  }

  get #noted() {
    return { claimed: this.claimed, host: this.#host, trace: this.#trace }
  }

  #over(end: RunEnd, reason: RunCancelledError | null): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#hurry.abort(() => this.#cancelled(`it is ${end}`))
    // Losers of a race still run: nothing they return is kept, so they are told.
    if (reason !== null || this.#bodies.running > 0)
      this.#abort.abort(() => reason ?? this.#cancelled(`it is ${end} already`))
    this.#trace.end(end)
    countEnd(this.#host.statsOf(this.claimed.workflow), end)
    this.#end(end)
  }
}

function stepKeyOf(error: unknown): string | null {
  const isStep =
    error instanceof StepFailedError || error instanceof WaitTimeoutError || error instanceof ChildRunError
  return isStep ? error.stepKey : null
}

/** Never settles, and is collected with the code that awaits it. */
const forever = (): Promise<never> => new Promise<never>(() => {})
