import { crashPoint, decideRetry } from '@headrace/core'
import {
  type ClaimedRun,
  type CommandReply,
  limits,
  type StepCommand,
  type StoredStep,
} from '@headrace/schemas'
import { RunCancelledError, DuplicateStepKeyError, ReplayMismatchError } from '../errors/run-error.ts'
import { LimitExceededError, StepFailedError } from '../errors/step-error.ts'
import { reviveError, type StoredError, storedErrorOf, wireErrorOf } from '../errors/stored-error.ts'
import { validate } from '../workflow/standard-schema.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'
import { LazyAbort } from './lazy-abort.ts'
import { createContext, type StepCall } from './run-context.ts'
import type { RunHost } from './run-host.ts'
import { readInput } from './run-input.ts'
import { RunMachine } from './run-machine.ts'
import { attemptOf, type Outcome, outputText, retryWishOf, runBody } from './step-body.ts'

/** How a run left this worker's hands. */
export type RunEnd = 'completed' | 'failed' | 'released' | 'lost'

/**
 * One claimed run, from its handler's first line to its end: the shell around RunMachine, which decides.
 *
 *     running ──▶ ending ──▶ over        ending: complete or fail is sent, its answer is awaited
 *        ├──▶ stuck ──┐                  stuck: the code does not fit the run (key twice, key as another kind);
 *        └────────────┴──▶ giving_back ──▶ over        held without running until the worker gives it back
 *     any ──▶ over                       lost: another worker has it
 *
 * Once it is no longer running, every call of a step stays open for ever: a rejection would run the `catch` blocks of a
 * workflow that has not failed.
 */
type State = 'running' | 'ending' | 'stuck' | 'giving_back' | 'over'

interface OpenCall extends StepCall {
  resolve(value: unknown): void
  reject(error: Error): void
}

export class RunExecution {
  readonly claimed: ClaimedRun
  readonly #workflow: AnyWorkflow
  readonly #host: RunHost
  readonly #machine: RunMachine
  readonly #outcomes = new Map<string, Outcome>()
  readonly #calls = new Map<string, OpenCall>()
  readonly #abort = new LazyAbort()
  /** Ends the pauses between attempts when the run is to be given back. */
  readonly #hurry = new LazyAbort()
  #state: State = 'running'
  /** Steps called by an earlier try of the handler must not mix with those of the present one. */
  #try = 0
  #bodies = 0
  #withheld = false
  #atRest = true
  #onIdle: (() => void) | null = null
  #end: (end: RunEnd) => void = () => {}

  /** Resolves when the run is out of this worker's hands; never rejects. */
  readonly ended: Promise<RunEnd>
  /** Called once if the code turns out not to fit the run; the run is held until `release`. */
  onStuck: () => void = () => {}

  constructor(params: { claimed: ClaimedRun; workflow: AnyWorkflow; host: RunHost }) {
    this.claimed = params.claimed
    this.#workflow = params.workflow
    this.#host = params.host
    this.#machine = new RunMachine(params.claimed.steps)
    for (const step of params.claimed.steps) this.#outcomes.set(step.key, step)
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  /** Begins to run the handler. `input` is the task's, where the claim returned none. */
  start(input: string | null): void {
    this.#host.stats.runsStarted += 1
    // Whatever escapes ends this run, never the worker (P6).
    this.#runHandler(this.claimed.input ?? input ?? 'null').catch((error: unknown) => this.#fail(error))
  }

  /** Gives the run back: at the next step boundary, or `atOnce`, when `ctx.signal` is aborted. */
  release({ atOnce }: { atOnce: boolean }): void {
    if (this.#state === 'over' || this.#state === 'giving_back') return
    this.#hurry.abort(() => this.#cancelled('it is given back'))
    if (this.#state === 'stuck') this.#giveBack()
    else if (atOnce) {
      this.#abort.abort(() => this.#cancelled('the worker stops'))
      if (this.#state === 'running') this.#giveBack()
    } else this.#releaseAtRest()
  }

  /**
   * The run is another worker's now: nothing more is sent for it. Not while its end or its release is on the way: then
   * it may be gone because that was done, and the answer will tell.
   */
  lose(detail: string): void {
    if (this.#state === 'running' || this.#state === 'stuck') this.#drop(detail)
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
      this.#rest()
      try {
        const value = await this.#workflow.handler(this.#context(this.#try), input)
        return await this.#complete(value)
      } catch (error) {
        if (!(await this.#mayTryAgain(error, attempts))) return this.#fail(error)
      }
    }
  }

  #context(attempt: number) {
    return createContext({
      claimed: this.claimed,
      policy: this.#workflow.retries,
      host: this.#host,
      abort: this.#abort,
      silent: () => this.#machine.replaying || this.#try !== attempt,
      call: (step) => (this.#try === attempt ? this.#call(step) : forever()),
    })
  }

  /** An error of the handler's own code: once its bodies are done and the delay is over, the code begins again. */
  async #mayTryAgain(error: unknown, attempts: number): Promise<boolean> {
    if (!this.#workflow.retriesHandler || this.#state !== 'running') return false
    const { retries: policy } = this.#workflow
    const decision = decideRetry({ policy, attempts, ...retryWishOf(error), random: this.#host.random() })
    if (decision.kind === 'give_up') return false
    this.#try += 1
    this.#warnRetry('handler.retry', null, error, attempts, decision.delayMs)
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve
      this.#noticeIdle()
    })
    await this.#host.delay(decision.delayMs, this.#hurry.signal)
    this.#calls.clear()
    this.#machine.restart()
    return true
  }

  #noticeIdle(): void {
    if (this.#bodies > 0 || this.#onIdle === null) return
    this.#onIdle()
    this.#onIdle = null
  }

  // --- steps ---

  async #call(step: StepCall): Promise<unknown> {
    if (this.#state !== 'running') return await forever()
    if (step.key.length === 0 || step.key.length > limits.stepKeyCharactersMax || !step.key.isWellFormed())
      throw new TypeError(
        `a step key has 1 to ${limits.stepKeyCharactersMax} well-formed characters, not ${JSON.stringify(step.key.slice(0, 80))}`,
      )
    // Called after I/O of the workflow's own: what else it calls in this breath may have a lower n.
    this.#rest()
    const { key, kind: calledKind } = step
    const answer = this.#machine.call(key, calledKind)
    if (answer.kind === 'key_twice') return await this.#stick(new DuplicateStepKeyError(key))
    if (answer.kind === 'other_kind')
      return await this.#stick(
        new ReplayMismatchError({ stepKey: key, storedKind: answer.storedKind, calledKind }),
      )
    if (answer.kind === 'too_many')
      throw new LimitExceededError({
        limit: 'stepsPerRunMax',
        message: `step "${key}" would be number ${limits.stepsPerRunMax + 1} of its run; at most ${limits.stepsPerRunMax} are kept`,
      })
    return await this.#open(step, answer.kind)
  }

  #open(step: StepCall, next: 'replay' | 'start' | 'wait'): Promise<unknown> {
    const result = new Promise((resolve, reject) => {
      this.#calls.set(step.key, { ...step, resolve, reject })
    })
    if (next === 'start') this.#begin(step)
    return result
  }

  #begin(step: StepCall): void {
    if (step.kind === 'value') return this.#stepEnded(step, this.#value(step), this.#host.now())
    if (this.#state !== 'running') return
    if (this.#hurry.aborted) {
      this.#withheld = true
      return this.#releaseAtRest()
    }
    this.#bodies += 1
    const startedAt = this.#host.now()
    const bodyEnded = (outcome: Outcome | null): void => {
      this.#bodies -= 1
      if (outcome === null) this.#withheld = true
      else if (this.#state === 'running') this.#stepEnded(step, outcome, startedAt)
      this.#noticeIdle()
      this.#releaseAtRest()
    }
    runBody({
      key: step.key,
      body: step.body,
      policy: step.policy,
      abort: this.#abort,
      interrupted: () => this.#hurry.aborted || this.#state !== 'running',
      pause: (ms) => this.#host.delay(ms, this.#hurry.signal),
      random: () => this.#host.random(),
      onRetry: (error, attempt, ms) => this.#warnRetry('step.retry', step.key, error, attempt, ms),
    }).then(bodyEnded, (error: unknown) => this.#fail(error))
  }

  #value(step: StepCall): Outcome {
    const value = step.body(attemptOf(1, this.#abort))
    return { output: outputText(step.key, value), error: null, attempts: 1 }
  }

  #stepEnded(step: StepCall, outcome: Outcome, startedAt: number): void {
    crashPoint('step.before-commit')
    this.#outcomes.set(step.key, outcome)
    const n = this.#machine.ended(step.key)
    // Handed out before it is sent: what the code does next, perhaps its last line, joins the same request.
    this.#handOut()
    const command: StepCommand = {
      kind: 'step',
      run_id: this.claimed.run_id,
      epoch: this.claimed.epoch,
      key: step.key,
      step_kind: step.kind,
      n,
      seen: this.claimed.wake,
      ...outcome,
      started_at: startedAt,
      finished_at: this.#host.now(),
    }
    this.#send(command, (reply) => this.#stepAnswered(command, reply))
  }

  #stepAnswered(command: StepCommand, reply: CommandReply): void {
    if (this.#state === 'over' || this.#state === 'giving_back') return
    switch (reply.kind) {
      case 'stored':
        crashPoint('after-step-commit-before-reply')
        this.#host.stats.stepsStored += 1
        if (command.error !== null) this.#host.stats.stepsFailed += 1
        return this.#acked(command.n)
      case 'exists':
        this.#host.stats.stepsRerun += 1
        return isSameResult(reply.step, command) ? this.#acked(command.n) : this.#conflict(command.key)
      case 'refused':
        return this.#fail(new LimitExceededError({ limit: reply.code, message: reply.detail }))
      case 'lost':
      case 'done':
      case 'claimed':
      case 'stolen':
        return this.#notOurs(reply)
    }
  }

  #acked(n: number): void {
    for (const key of this.#machine.acked(n)) {
      const call = this.#calls.get(key)
      if (call !== undefined) this.#begin(call)
    }
  }

  /** The stored result is the one that counts, and the code has gone on with ours: only a replay mends that. */
  #conflict(key: string): void {
    this.#note(
      'warn',
      'step.conflict',
      { step_key: key },
      'another result is stored; the run replays with it',
    )
    this.#abort.abort(() => this.#cancelled(`another result is stored for step "${key}"`))
    this.#giveBack()
  }

  // --- handing out ---

  /** Lets what the code does now come to rest before the next result is handed out (I4 of RunMachine). */
  #rest(): void {
    if (!this.#atRest) return
    this.#atRest = false
    // Microtasks and nextTicks are done before an immediate runs; only real I/O is not, which belongs into a step.
    setImmediate(() => {
      this.#atRest = true
      this.#handOut()
      this.#releaseAtRest()
    })
  }

  #handOut(): void {
    if (!this.#atRest || this.#state !== 'running') return
    const key = this.#machine.handOut()
    if (key === null) return
    this.#rest()
    const call = this.#calls.get(key)
    const outcome = this.#outcomes.get(key)
    if (call === undefined || outcome === undefined) throw new Error(`step "${key}" has nothing to hand out`)
    if (outcome.error === null) call.resolve(JSON.parse(outcome.output ?? 'null'))
    else call.reject(stepFailed(key, outcome.attempts, outcome.error))
  }

  // --- the end ---

  async #complete(value: unknown): Promise<void> {
    if (this.#state !== 'running') return
    const schema = this.#workflow.outputSchema
    if (schema !== null) await validate({ schema, value, subject: 'the output' })
    const output = outputText(null, value)
    if (this.#state !== 'running') return
    this.#state = 'ending'
    const { run_id, epoch } = this.claimed
    this.#send({ kind: 'complete', run_id, epoch, output }, (reply) => this.#endAnswered('completed', reply))
  }

  #fail(error: unknown): void {
    if (this.#state !== 'running' && this.#state !== 'ending') return
    this.#state = 'ending'
    const { run_id, epoch } = this.claimed
    const stepKey = error instanceof StepFailedError ? error.stepKey : null
    const stored = wireErrorOf(storedErrorOf(error, stepKey))
    this.#note('warn', 'run.failed', { code: stored.code, error: stored.message }, 'the run failed')
    this.#send({ kind: 'fail', run_id, epoch, error: JSON.stringify(stored) }, (reply) =>
      this.#endAnswered('failed', reply),
    )
  }

  #endAnswered(end: 'completed' | 'failed', reply: CommandReply): void {
    if (reply.kind === 'done') this.#over(end, null)
    else if (this.#state !== 'ending') return
    else if (reply.kind === 'refused' && end === 'completed')
      this.#fail(new LimitExceededError({ limit: reply.code, message: reply.detail }))
    else this.#notOurs(reply)
  }

  #stick(error: DuplicateStepKeyError | ReplayMismatchError): Promise<never> {
    this.#state = 'stuck'
    this.#host.stats.runsStuck += 1
    this.#note(
      'error',
      'run.stuck',
      { code: error.code, step_key: error.stepKey, begun_on_build: this.claimed.build },
      `${error.message}. The run is held, not failed; it goes on when a worker with code that fits takes over`,
    )
    this.onStuck()
    return forever()
  }

  #releaseAtRest(): void {
    // A boundary: nothing runs, nothing is left to hand out, and a body was kept from starting.
    if (!this.#withheld || this.#state !== 'running') return
    if (this.#bodies === 0 && this.#atRest && this.#machine.readyCount === 0) this.#giveBack()
  }

  #giveBack(): void {
    this.#state = 'giving_back'
    const { run_id, epoch } = this.claimed
    this.#send({ kind: 'release', run_id, epoch }, (reply) => {
      if (reply.kind === 'done') this.#over('released', null)
      else this.#notOurs(reply)
    })
  }

  #notOurs(reply: CommandReply): void {
    if (reply.kind !== 'lost')
      this.#note('error', 'run.protocol', { reply: reply.kind }, 'an answer that does not fit its command')
    this.#drop('another worker has it, or it was cancelled')
  }

  #over(end: RunEnd, reason: RunCancelledError | null): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#hurry.abort(() => this.#cancelled(`it is ${end}`))
    // Losers of a race still run: nothing they return is kept, so they are told.
    if (reason !== null || this.#bodies > 0)
      this.#abort.abort(() => reason ?? this.#cancelled(`it is ${end} already`))
    this.#count(end)
    this.#end(end)
  }

  #count(end: RunEnd): void {
    const { stats } = this.#host
    if (end === 'completed') stats.runsCompleted += 1
    else if (end === 'failed') stats.runsFailed += 1
    else if (end === 'released') stats.runsReleased += 1
    else stats.runsLost += 1
  }

  #send(command: Parameters<RunHost['send']>[0], answered: (reply: CommandReply) => void): void {
    this.#host.send(command).then(answered, () => this.#drop('the worker lost its link to the orchestrator'))
  }

  #warnRetry(event: string, key: string | null, error: unknown, attempt: number, delayMs: number): void {
    this.#host.stats.stepRetries += 1
    const message = error instanceof Error ? error.message : String(error)
    this.#note(
      'warn',
      event,
      { step_key: key, attempt, delay_ms: delayMs, error: message },
      'tried again later',
    )
  }

  #note(level: 'warn' | 'error', event: string, fields: object, message: string): void {
    const { run_id, workflow, epoch } = this.claimed
    this.#host.log[level]({ event, run_id, workflow, epoch, ...fields }, message)
  }
}

/** Never settles, and is collected with the code that awaits it. */
const forever = (): Promise<never> => new Promise<never>(() => {})

const isSameResult = (stored: StoredStep, sent: StepCommand): boolean =>
  stored.step_kind === sent.step_kind && stored.output === sent.output && stored.error === sent.error

function stepFailed(key: string, attempts: number, text: string): StepFailedError {
  const cause = reviveError(JSON.parse(text) as StoredError)
  const failed = new StepFailedError({ stepKey: key, attempts, cause })
  // Its own stack would show this engine; the cause's shows what went wrong.
  failed.stack = `${failed.name}: ${failed.message}\n${cause.stack ?? ''}`
  return failed
}
