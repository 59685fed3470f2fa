import { crashPoint } from '@headrace/core'
import type { CommandReply, StepCommand, StoredStep } from '@headrace/schemas'
import { ReplayMismatchError, RunCancelledError } from '../errors/run-error.ts'
import { LimitExceededError, NonRetryableError } from '../errors/step-error.ts'
import { storedErrorOf } from '../errors/stored-error.ts'
import { note, noteRetry } from './run-notes.ts'
import type { RunParts } from './run-parts.ts'
import { countStepSeconds } from './run-stats.ts'
import type { StepTrace } from './run-trace.ts'
import type { InvokeCall, PublishCall, RunCall, ValueCall } from './step-call.ts'
import { outputText, runBody } from './step-body.ts'
import type { Outcome } from './step-outcome.ts'

/** The bodies of one run's steps: runs them, and sends their results to be stored. */
export class RunBodies {
  readonly #parts: RunParts
  #running = 0

  constructor(parts: RunParts) {
    this.#parts = parts
  }

  /** Bodies that have not ended, and publishes and invokes without an answer. */
  get running(): number {
    return this.#running
  }

  begin(call: RunCall | ValueCall | PublishCall | InvokeCall): void {
    const { host, trace, hurry, isRunning, withhold } = this.#parts
    const startedAt = host.now()
    if (call.kind === 'value') return this.#ended(call, this.#made(call), startedAt)
    if (!isRunning()) return
    if (hurry.aborted) return withhold()
    this.#running += 1
    const step = trace.step(call.key, call.kind)
    const ended = (outcome: Outcome | null): void => {
      this.#running -= 1
      step.end(outcome)
      if (outcome === null) this.#parts.withhold()
      else if (this.#parts.isRunning()) this.#ended(call, outcome, startedAt)
      this.#parts.goOn()
    }
    if (call.kind === 'publish') this.#publish(call, step, ended)
    else if (call.kind === 'invoke') this.#invoke(call, step, ended)
    else this.#run(call, step, ended)
  }

  #made({ key, make }: ValueCall): Outcome {
    return { output: outputText(key, make()), error: null, attempts: 1 }
  }

  #run({ key, body, policy }: RunCall, step: StepTrace, ended: (outcome: Outcome | null) => void): void {
    const { host, abort, hurry, isRunning, fail, pause, pausesExhausted } = this.#parts
    runBody({
      key,
      body: (attempt) => step.within(() => body(attempt)),
      policy,
      abort,
      interrupted: () => hurry.aborted || !isRunning(),
      pause: (ms) => host.delay(ms, hurry.signal),
      random: () => host.random(),
      onRetry: (error, attempt, delayMs) => {
        step.retried(error, attempt, delayMs)
        noteRetry(this.#parts, { event: 'step.retry', key, attempt, delayMs }, error)
      },
      ...(pausesExhausted ? { onExhausted: (error) => pause('retries_exhausted', error, key) } : {}),
    })
      .then(ended)
      .catch(fail)
  }

  /** Sent until it is answered; that Kafka stalls is no attempt of the step. */
  #publish({ key, event }: PublishCall, step: StepTrace, ended: (outcome: Outcome) => void): void {
    const { run_id, epoch } = this.#parts.claimed
    this.#parts.send({ kind: 'publish', run_id, epoch, key, ...event, ...step.left }, (reply) => {
      if (reply.kind === 'published') ended({ output: JSON.stringify(reply.event), error: null, attempts: 1 })
      else if (reply.kind === 'refused') ended(refused(key, 'the event', reply))
      else {
        step.end(null)
        if (this.#parts.isRunning()) this.#parts.notOurs(reply)
      }
    })
  }

  #invoke({ key, kind, child }: InvokeCall, step: StepTrace, ended: (outcome: Outcome | null) => void): void {
    const { pause, isRunning, notOurs } = this.#parts
    const { run_id, epoch } = this.#parts.claimed
    this.#parts.send({ kind, run_id, epoch, key, ...child }, (reply) => {
      if (reply.kind === 'invoked') {
        const output = JSON.stringify({ run_id: reply.run_id, workflow: child.workflow })
        ended({ output, error: null, attempts: 1 })
      } else if (reply.kind === 'refused' && reply.code === 'replay_mismatch') {
        const { detail } = reply
        const error = new ReplayMismatchError({ stepKey: key, storedKind: kind, calledKind: kind, detail })
        pause('replay_mismatch', error, key)
        ended(null)
      } else if (reply.kind === 'refused') ended(refused(key, 'the run', reply))
      else {
        step.end(null)
        if (isRunning()) notOurs(reply)
      }
    })
  }

  #ended(call: RunCall | ValueCall | PublishCall | InvokeCall, outcome: Outcome, startedAt: number): void {
    crashPoint('step.before-commit')
    const { claimed, host, machine, keep, handOut, send } = this.#parts
    keep(call.key, outcome)
    const { n, seen } = machine.ended(call.key)
    // Handed out before it is sent: what the code does next, perhaps its last line, joins the same request.
    handOut()
    const finishedAt = host.now()
    if (call.kind !== 'value')
      countStepSeconds(host.statsOf(claimed.workflow), Math.max(0, finishedAt - startedAt) / 1_000)
    const command: StepCommand = {
      kind: 'step',
      run_id: claimed.run_id,
      epoch: claimed.epoch,
      key: call.key,
      step_kind: call.kind,
      n,
      seen,
      ...outcome,
      started_at: startedAt,
      finished_at: finishedAt,
    }
    send(command, (reply) => this.#answered(command, reply))
  }

  #answered(command: StepCommand, reply: CommandReply): void {
    const { claimed, host, isLeaving, fail, notOurs } = this.#parts
    if (isLeaving()) return
    const stats = host.statsOf(claimed.workflow)
    switch (reply.kind) {
      case 'stored':
        crashPoint('after-step-commit-before-reply')
        stats.stepsStored += 1
        if (command.error !== null) stats.stepsFailed += 1
        return this.#acked(command.n)
      case 'exists':
        stats.stepsRerun += 1
        return isSameResult(reply.step, command) ? this.#acked(command.n) : this.#conflict(command.key)
      case 'refused':
        return fail(new LimitExceededError({ limit: reply.code, message: reply.detail }))
      case 'lost':
      case 'done':
      case 'waiting':
      case 'answers':
      case 'published':
      case 'invoked':
      case 'claimed':
      case 'stolen':
        return notOurs(reply)
    }
  }

  #acked(n: number): void {
    for (const key of this.#parts.machine.acked(n)) this.#parts.begin(key)
    this.#parts.goOn()
  }

  /** The stored result is the one that counts, and the code has gone on with ours: only a replay mends that. */
  #conflict(key: string): void {
    const detail = `another result is stored for step "${key}"`
    note(
      this.#parts,
      'warn',
      'step.conflict',
      { step_key: key },
      'another result is stored; the run replays with it',
    )
    const { abort, claimed, giveBack } = this.#parts
    abort.abort(() => new RunCancelledError({ runId: claimed.run_id, detail }))
    giveBack()
  }
}

function refused(key: string, what: string, { code, detail }: { code: string; detail: string }): Outcome {
  const error = new NonRetryableError(`${what} was refused (${code}): ${detail}`)
  error.stack = `${error.name}: ${error.message}`
  return { output: null, error: JSON.stringify(storedErrorOf(error, key)), attempts: 1 }
}

/** The code that went on with what was sent has what is stored. */
export const isSameResult = (stored: StoredStep, sent: StepCommand): boolean =>
  stored.step_kind === sent.step_kind && stored.output === sent.output && stored.error === sent.error
