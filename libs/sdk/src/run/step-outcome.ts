import type { RunStatus, StepKind, WireError } from '@headrace/schemas'
import { ChildRunError, StepFailedError, WaitTimeoutError } from '../errors/step-error.ts'
import { reviveError, type StoredError } from '../errors/stored-error.ts'
import { isWait } from './run-machine.ts'

/** A step's result as it is stored: exactly one of `output` and `error` is JSON text. */
export interface Outcome {
  readonly output: string | null
  readonly error: string | null
  readonly attempts: number
}

/** What the orchestrator stores when a wait's time is over. */
interface StoredTimeout extends StoredError {
  /** Null where no event was waited for. */
  topic: string | null
  timeout_ms: number
  unverified: boolean
}

/** What the orchestrator stores when a child run ended otherwise than completed. */
interface StoredChildEnd extends StoredError {
  run_id: string
  status: RunStatus
  /** What it failed with. */
  error: WireError | null
}

/** The error that a step throws into the workflow, now and on every replay. */
export function thrownBy(step: { key: string; kind: StepKind }, attempts: number, text: string): Error {
  const stored = JSON.parse(text) as StoredError | StoredTimeout | StoredChildEnd
  if (!isWait(step.kind)) return stepFailed(step.key, attempts, reviveError(stored))
  if ('timeout_ms' in stored) return timedOut(step.key, stored)
  return 'run_id' in stored ? childEnded(step.key, stored) : reviveError(stored)
}

function stepFailed(key: string, attempts: number, cause: Error): StepFailedError {
  const failed = new StepFailedError({ stepKey: key, attempts, cause })
  // Its own stack would show this engine; the cause's shows what went wrong.
  failed.stack = `${failed.name}: ${failed.message}\n${cause.stack ?? ''}`
  return failed
}

function timedOut(
  key: string,
  { topic, timeout_ms: timeoutMs, unverified }: StoredTimeout,
): WaitTimeoutError {
  const error = new WaitTimeoutError({ stepKey: key, topic, timeoutMs, unverified })
  error.stack = `${error.name}: ${error.message}`
  return error
}

function childEnded(
  key: string,
  { run_id: runId, status, error: childError }: StoredChildEnd,
): ChildRunError {
  const cause = childError === null ? undefined : reviveError(childError)
  const error = new ChildRunError({ stepKey: key, runId, status, error: childError, cause })
  // As with a failed step: what went wrong is where the child's own code is.
  error.stack = `${error.name}: ${error.message}\n${cause?.stack ?? ''}`
  return error
}
