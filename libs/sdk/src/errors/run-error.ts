import type { RunStatus, WireError } from '@headrace/schemas'
import { HeadraceError } from './headrace-error.ts'

/**
 * The run is not this worker's any more: it was cancelled, or recovered by another worker. It is the reason of
 * `ctx.signal`; what the handler does after it is not stored.
 */
export class RunCancelledError extends HeadraceError {
  override name = 'RunCancelledError'
  readonly code = 'run_cancelled'
  readonly retryable = false
  readonly runId: string

  constructor(params: { runId: string; detail: string }) {
    super(`run ${params.runId} stops here: ${params.detail}`)
    this.runId = params.runId
  }

  override details(): Record<string, unknown> {
    return { runId: this.runId }
  }
}

/**
 * Two steps of one run have the same key. Give each its own: in a loop, put the index or an id into it
 * (`ctx.step.run(`charge:${order.id}`, …)`). The run is not failed: it goes on with code that fits.
 */
export class DuplicateStepKeyError extends HeadraceError {
  override name = 'DuplicateStepKeyError'
  readonly code = 'duplicate_step_key'
  readonly retryable = false
  readonly stepKey: string

  constructor(stepKey: string) {
    super(`the step key "${stepKey}" is used twice in one run; each step needs a key of its own`)
    this.stepKey = stepKey
  }

  override details(): Record<string, unknown> {
    return { stepKey: this.stepKey }
  }
}

/**
 * The code does not fit what the run has stored: a key stands for another kind of step than before, or for a wait on
 * another topic or with another filter. The run is not failed: it goes on with code that fits.
 */
export class ReplayMismatchError extends HeadraceError {
  override name = 'ReplayMismatchError'
  readonly code = 'replay_mismatch'
  readonly retryable = false
  readonly stepKey: string
  readonly storedKind: string
  readonly calledKind: string

  /** `detail`: how two steps of one kind differ. */
  constructor(params: { stepKey: string; storedKind: string; calledKind: string; detail?: string }) {
    const { stepKey, storedKind, calledKind, detail } = params
    super(
      detail === undefined
        ? `step "${stepKey}" is stored as a "${storedKind}" step, but the code now calls it as a "${calledKind}" step`
        : `step "${stepKey}" is not what it was when the run came to it first: ${detail}`,
    )
    this.stepKey = stepKey
    this.storedKind = storedKind
    this.calledKind = calledKind
  }

  override details(): Record<string, unknown> {
    return { stepKey: this.stepKey, storedKind: this.storedKind, calledKind: this.calledKind }
  }
}

/** `runs.result` of a run that ended otherwise than completed; `error` is what the run stored. */
export class RunFailedError extends HeadraceError {
  override name = 'RunFailedError'
  readonly code = 'run_failed'
  readonly retryable = false
  readonly runId: string
  readonly status: RunStatus
  readonly error: WireError | null

  constructor(params: { runId: string; status: RunStatus; error: WireError | null }) {
    const { runId, status, error } = params
    super(`run ${runId} ${status.replace('_', ' ')}${error ? `: ${error.message}` : ''}`)
    this.runId = runId
    this.status = status
    this.error = error
  }

  override details(): Record<string, unknown> {
    return { runId: this.runId, status: this.status, error: this.error }
  }
}

/** `runs.result` waited as long as it was asked to, and the run has not ended. Ask again. */
export class RunNotEndedError extends HeadraceError {
  override name = 'RunNotEndedError'
  readonly code = 'run_not_ended'
  readonly retryable = true
  readonly runId: string
  readonly status: RunStatus

  constructor(params: { runId: string; status: RunStatus }) {
    super(`run ${params.runId} has not ended yet: it is ${params.status}`)
    this.runId = params.runId
    this.status = params.status
  }

  override details(): Record<string, unknown> {
    return { runId: this.runId, status: this.status }
  }
}
