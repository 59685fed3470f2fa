import type { Duration } from '@headrace/schemas'
import type { EventDefinition } from './define-event.ts'
import type { Event, PublishedEvent } from './event.ts'
import type { Jsonify } from './jsonify.ts'
import type { Retries } from './retries.ts'
import type { SchemaOutput, StandardSchema } from './standard-schema.ts'
import type {
  ChildRun,
  InvokeOptions,
  StepEvent,
  StepEventArguments,
  SuspendOptions,
  WaitArguments,
  WaitOptions,
} from './step-options.ts'
import type { Workflow } from './workflow.ts'

/** What the handler gets beside its input. */
export interface WorkflowContext {
  readonly step: Steps
  readonly run: RunInfo
  /** Writes nothing while the run replays what was logged before; every line carries run, workflow and epoch. */
  readonly log: RunLog
  /**
   * Aborted when this worker may not go on with the run: it was cancelled, another worker has it (`reason` is a
   * `RunCancelledError`), the worker stops and its drain timeout has passed, or the run ended while a body still ran. Not
   * when the run is parked by a wait: then no body runs. Hand it to what a body calls.
   */
  readonly signal: AbortSignal
}

/**
 * A step's result is stored under its key before the next body starts; once stored its body never runs again, and every
 * replay gets the same result. A body whose result was not stored may run again (at least once): give what it calls an
 * idempotency key, such as `` `${ctx.run.id}/charge` ``.
 *
 * A run whose code waits for answers alone leaves its worker; when one comes it is replayed, there or elsewhere. I/O of
 * the code's own, outside steps, does not keep it: it is let go, and begun again by the replay.
 *
 * Keys are 1 to 200 characters, each used once in a run, and at most 1,000 in a run, 100 open waits at a time. Code between steps runs again on
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
  /**
   * Publishes an event and resolves once Kafka has it, with its place. Its id is the run's id and the key, so that a
   * second record after a crash starts nothing twice, and its `source` is `headrace:run`. While Kafka is away it goes on
   * trying; the run ends only when it is written, also if the handler does not await it.
   *
   * ```ts
   * await ctx.step.publishEvent('send', { topic: `requests/${id}`, data: { action: 'process' }, eventType: 'request' })
   * await ctx.step.publishEvent('announce', orderCreated, { data: { order_id: '123', total: 99.99 } })
   * ```
   *
   * Throws TypeError for a topic that is none, a field that is malformed, or data that is no JSON;
   * `LimitExceededError` for data over 1,000,000 bytes, `SchemaValidationError` where it does not pass the schema, all
   * before anything is sent; `StepFailedError` where the stream does not take it.
   */
  publishEvent<Pattern extends string, Input>(
    key: string,
    definition: EventDefinition<Pattern, Input, unknown>,
    event: StepEventArguments<Pattern, Input>,
  ): Promise<PublishedEvent>
  publishEvent(key: string, event: StepEvent): Promise<PublishedEvent>
  /**
   * Waits for an event on a topic, for a second or a year: while nothing else of the run goes on, no worker holds it. An
   * event that came before, since the run began, answers too. In a loop, waits see a topic's events in order, none twice.
   *
   * ```ts
   * const response = await ctx.step.waitForEvent('response', { topic: `responses/${id}`, timeout: '5m' })
   * const { data } = await ctx.step.waitForEvent('approval', approval, { params: { id }, if: 'event.data.level > 1' })
   * ```
   *
   * Throws `WaitTimeoutError` when none came in time, and `SchemaValidationError` where its data does not pass the schema.
   * Throws TypeError for a pattern, an option that is malformed or a filter that does not compile, and
   * `LimitExceededError` for a timeout over 366 days or a 101st open wait, before anything is sent.
   */
  waitForEvent<Pattern extends string, Input, Output>(
    key: string,
    definition: EventDefinition<Pattern, Input, Output>,
    ...options: WaitArguments<Pattern>
  ): Promise<Event<Output>>
  waitForEvent(key: string, options: WaitOptions & { topic: string }): Promise<Event>
  /**
   * Sleeps so long from when the run first gets here, without holding a worker: seconds, or `'5m'`; at most 366 days.
   * Resolves within a second of its time, later where no worker is free.
   */
  sleep(key: string, duration: Duration): Promise<void>
  /** Sleeps until a time: a `Date`, an RFC 3339 text with its offset, or ms since 1970. A time that is past is no wait. */
  sleepUntil(key: string, time: Date | string | number): Promise<void>
  /**
   * Starts a run of another workflow, once, and resolves with its id without waiting for it. It is given the workflow, whose
   * input is checked and typed, or its id. It is a run of its own: it goes on whatever becomes of this one. A run ends only
   * when what it invoked is started, awaited or not.
   *
   * ```ts
   * const { id } = await ctx.step.invoke('report', report, { day: '2026-11-22' })
   * ```
   *
   * Throws TypeError for input that is no JSON, `LimitExceededError` for more than 1 MiB, `SchemaValidationError` where it
   * does not pass the schema, all before anything is sent; `StepFailedError` where no such workflow is registered.
   */
  invoke<Start, Output>(key: string, workflow: Workflow<Start, Output>, input: Start): Promise<ChildRun>
  invoke(key: string, workflow: string, input?: unknown): Promise<ChildRun>
  /**
   * Starts a run of another workflow, once, and resolves with what it returned; while nothing else of this run goes on, no
   * worker holds it. Cancelling this run, or a timeout, leaves the child running.
   *
   * ```ts
   * const { rows } = await ctx.step.invokeAndWait('report', report, { day: '2026-11-22' }, { timeout: '1h' })
   * ```
   *
   * Throws what `invoke` throws before anything is sent; `ChildRunError` when the child failed, was cancelled or timed out, or no
   * such workflow is registered; `WaitTimeoutError` when it has not ended in time.
   */
  invokeAndWait<Start, Output>(
    key: string,
    workflow: Workflow<Start, Output>,
    input: Start,
    options?: InvokeOptions,
  ): Promise<Output>
  invokeAndWait(key: string, workflow: string, input?: unknown, options?: InvokeOptions): Promise<unknown>
  /**
   * Waits until somebody resumes this step: `client.runs.resumeStep(runId, key, data)`, or
   * `POST /v1/runs/{id}/steps/{key}/resume`. Resolves with `data`, checked by `schema` where one is given. Nobody can resume it
   * before the run has come here.
   *
   * ```ts
   * const { approved } = await ctx.step.suspend('approval', { timeout: '7d', schema: z.object({ approved: z.boolean() }) })
   * ```
   *
   * Throws `WaitTimeoutError` when nobody did in time, and `SchemaValidationError` where the data does not pass the schema.
   */
  suspend<Schema extends StandardSchema>(
    key: string,
    options: SuspendOptions & { schema: Schema },
  ): Promise<SchemaOutput<Schema>>
  suspend(key: string, options?: SuspendOptions): Promise<unknown>
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
