import { type Duration, durationMs, type RunStatus, type WireError } from '@headrace/schemas'
import { type CauseOption, causeOf, HeadraceError } from './headrace-error.ts'

/**
 * Throw it in a step's body when another attempt cannot help: the step gives up at once.
 *
 * ```ts
 * if (response.status === 402) throw new NonRetryableError('the card was declined')
 * ```
 */
export class NonRetryableError extends HeadraceError {
  override name = 'NonRetryableError'
  readonly code = 'non_retryable'
  readonly retryable = false

  constructor(message: string, options?: CauseOption) {
    super(message, causeOf(options))
  }
}

/**
 * Throw it in a step's body to say when the next attempt is worth making: seconds, or `'5m'`.
 * The attempt still counts against `maxAttempts`.
 */
export class RetryAfterError extends HeadraceError {
  override name = 'RetryAfterError'
  readonly code = 'retry_after'
  readonly retryable = true
  readonly retryAfterMs: number

  /** Throws RangeError when `delay` is no duration. */
  constructor(message: string, delay: Duration, options?: CauseOption) {
    super(message, causeOf(options))
    const ms = durationMs(delay)
    if (ms === null) throw new RangeError(`"${delay}" is no duration; write seconds, or '250ms', '30s', '5m'`)
    this.retryAfterMs = ms
  }

  override details(): Record<string, unknown> {
    return { retryAfterMs: this.retryAfterMs }
  }
}

/**
 * A step gave up: its attempts are used up, or its error was not retryable. It is stored, thrown into the workflow,
 * where it can be caught, and thrown again in the same place by every replay. `cause` is the error of the last attempt.
 */
export class StepFailedError extends HeadraceError {
  override name = 'StepFailedError'
  readonly code = 'step_failed'
  readonly retryable = false
  readonly stepKey: string
  readonly attempts: number

  constructor(params: { stepKey: string; attempts: number; cause: Error }) {
    const { stepKey, attempts, cause } = params
    const times = attempts === 1 ? '1 attempt' : `${attempts} attempts`
    super(`step "${stepKey}" failed after ${times}: ${cause.message}`, { cause })
    this.stepKey = stepKey
    this.attempts = attempts
  }

  override details(): Record<string, unknown> {
    return { stepKey: this.stepKey, attempts: this.attempts }
  }
}

/**
 * Nothing answered a `waitForEvent`, an `invokeAndWait` or a `suspend` in time. It is stored, thrown into the workflow, where it can be caught, and thrown
 * again in the same place by every replay.
 *
 * ```ts
 * const approval = await ctx.step.waitForEvent('approval', { topic, timeout: '1h' }).catch((error: unknown) => {
 *   if (error instanceof WaitTimeoutError) return null
 *   throw error
 * })
 * ```
 */
export class WaitTimeoutError extends HeadraceError {
  override name = 'WaitTimeoutError'
  readonly code = 'wait_timeout'
  readonly retryable = false
  readonly stepKey: string
  /** Null where no event was waited for. */
  readonly topic: string | null
  /** The timeout that was asked for, in ms. */
  readonly timeoutMs: number
  /**
   * True when it could not be proved that no answer was on its way: Kafka could not be asked, or what copies the stream's
   * events to waits stood still for a minute past the timeout.
   */
  readonly unverified: boolean

  constructor(params: { stepKey: string; topic: string | null; timeoutMs: number; unverified?: boolean }) {
    const { stepKey, topic, timeoutMs, unverified = false } = params
    const what = topic === null ? ', and nothing answered it' : ` for an event on ${topic}, and none came`
    super(`step "${stepKey}" waited ${timeoutMs / 1_000} s${what}`)
    this.stepKey = stepKey
    this.topic = topic
    this.timeoutMs = timeoutMs
    this.unverified = unverified
  }

  override details(): Record<string, unknown> {
    const { stepKey, topic, timeoutMs, unverified } = this
    return { stepKey, topic, timeoutMs, unverified }
  }
}

/**
 * The run that an `invokeAndWait` started ended otherwise than completed: it failed, was cancelled or timed out. It is stored,
 * thrown into the workflow, where it can be caught, and thrown again in the same place by every replay. `cause` is what the
 * child failed with.
 */
export class ChildRunError extends HeadraceError {
  override name = 'ChildRunError'
  readonly code = 'child_run_failed'
  readonly retryable = false
  readonly stepKey: string
  /** The child run. */
  readonly runId: string
  readonly status: RunStatus
  /** What it stored as its error; null where it has none. */
  readonly error: WireError | null

  constructor(
    params: { stepKey: string; runId: string; status: RunStatus; error: WireError | null } & CauseOption,
  ) {
    const { stepKey, runId, status, error } = params
    const why = error === null ? '' : `: ${error.message}`
    super(
      `run ${runId}, which step "${stepKey}" waited for, ${status.replace('_', ' ')}${why}`,
      causeOf(params),
    )
    this.stepKey = stepKey
    this.runId = runId
    this.status = status
    this.error = error
  }

  override details(): Record<string, unknown> {
    const { stepKey, runId, status, error } = this
    return { stepKey, runId, status, error }
  }
}

/**
 * What a body (or a workflow) returned cannot be kept as JSON: a bigint, a function, a symbol, a Map or Set, NaN or an
 * infinity, an object that contains itself, or one nested deeper than 64 levels. `path` is a JSON pointer to it.
 */
export class StepOutputError extends HeadraceError {
  override name = 'StepOutputError'
  readonly code = 'step_output_not_json'
  readonly retryable = false
  readonly path: string

  constructor(params: { path: string; detail: string }) {
    super(`the result cannot be kept as JSON: ${params.path || 'the value'} ${params.detail}`)
    this.path = params.path
  }

  override details(): Record<string, unknown> {
    return { path: this.path }
  }
}

/** A limit was exceeded; the message names it with its unit, and the step where there is one. */
export class LimitExceededError extends HeadraceError {
  override name = 'LimitExceededError'
  readonly code = 'limit_exceeded'
  readonly retryable = false
  /** The limit's name: `stepOutputBytesMax`. */
  readonly limit: string

  constructor(params: { limit: string; message: string }) {
    super(params.message)
    this.limit = params.limit
  }

  override details(): Record<string, unknown> {
    return { limit: this.limit }
  }
}

/** One fault that a schema found: a JSON pointer and what is wrong there. */
export interface SchemaFault {
  path: string
  message: string
}

/**
 * Data did not pass its schema: an event or an input before the handler starts (the run fails at once, because another
 * attempt would read the same data), or an event before it is published.
 */
export class SchemaValidationError extends HeadraceError {
  override name = 'SchemaValidationError'
  readonly code = 'schema_invalid'
  readonly retryable = false
  readonly issues: readonly SchemaFault[]

  constructor(subject: string, issues: readonly SchemaFault[]) {
    const shown = issues.slice(0, 5).map((issue) => `${issue.path || 'the value'}: ${issue.message}`)
    const more = issues.length > shown.length ? ` (and ${issues.length - shown.length} more)` : ''
    super(`${subject} does not pass its schema: ${shown.join('; ')}${more}`)
    this.issues = issues
  }

  override details(): Record<string, unknown> {
    return { issues: this.issues.slice(0, 20) }
  }
}
