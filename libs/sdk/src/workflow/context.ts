import type { Jsonify } from './jsonify.ts'
import type { Retries } from './retries.ts'

/** What the handler gets beside its input. */
export interface WorkflowContext {
  readonly step: Steps
  readonly run: RunInfo
  /** Writes nothing while the run replays what was logged before; every line carries run, workflow and epoch. */
  readonly log: RunLog
  /**
   * Aborted when this worker may not go on with the run: it was cancelled, another worker has it (`reason` is a
   * `RunCancelledError`), the worker stops and its drain timeout has passed, or the run ended while a body still ran.
   * Hand it to what a body calls.
   */
  readonly signal: AbortSignal
}

/**
 * A step's result is stored under its key before the next body starts; once stored its body never runs again, and every
 * replay gets the same result. A body whose result was not stored may run again (at least once): give what it calls an
 * idempotency key, such as `` `${ctx.run.id}/charge` ``.
 *
 * Keys are 1 to 200 characters, each used once in a run, and at most 1,000 in a run. Code between steps runs again on
 * every replay: anything that is not the same each time (time, random, I/O) belongs into a step.
 */
export interface Steps {
  /**
   * Runs a body once and keeps its result (JSON, at most 1 MiB). It is retried as `retries` says, else as the workflow's
   * `retries` say. Throws `StepFailedError`, whose `cause` is the last attempt's error, when it gives up;
   * `NonRetryableError` gives up at once, `RetryAfterError` says when to try again.
   *
   * ```ts
   * const charge = await ctx.step.run('charge', ({ signal }) => stripe.charge(order, { signal }), {
   *   retries: { maxAttempts: 6, initialDelay: '500ms' },
   * })
   * ```
   */
  run<Result>(
    key: string,
    body: (attempt: StepAttempt) => Result | PromiseLike<Result>,
    options?: StepOptions,
  ): Promise<Jsonify<Awaited<Result>>>
  /** A random UUID (version 4), the same on every replay. */
  uuid(key: string): Promise<string>
  /** The worker's clock, the same on every replay. */
  now(key: string): Promise<Date>
  /** A number from 0 (included) to 1 (not included), the same on every replay. */
  random(key: string): Promise<number>
}

export interface StepOptions {
  /** What is left out is taken from the workflow's `retries`. */
  retries?: Retries
}

export interface StepAttempt {
  /** 1 at first. Counted in this worker: a run that moves to another begins at 1 again. */
  readonly number: number
  /** `ctx.signal`. */
  readonly signal: AbortSignal
}

export interface RunInfo {
  readonly id: string
  readonly workflow: string
  /** The build the run began on. */
  readonly build: string | null
  /** 1; a retry of a failed run is a new run, with the next number. */
  readonly attempt: number
  /** Rises each time the run is handed out again. */
  readonly epoch: number
  readonly startedAt: Date
  readonly tags: Readonly<Record<string, string>>
  /** Where its events came from; null for a run that was started directly. */
  readonly trigger: {
    readonly id: string
    readonly stream: string
    readonly partition: number
    readonly firstSequenceId: number
    readonly lastSequenceId: number
  } | null
  readonly parentRunId: string | null
  readonly traceparent: string | null
}

/** `ctx.log.info('charged')`, or with fields: `ctx.log.info('charged', { amount })`. */
export interface RunLog {
  debug(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
}
