import {
  type Duration,
  endedRunStatuses,
  type Json,
  limits,
  type ResumeStep,
  type RunStatus,
  type StartRun,
  type WireList,
  type WireRun,
} from '@headrace/schemas'
import { RunFailedError, RunNotEndedError } from '../errors/run-error.ts'
import { startInputOf } from '../workflow/start-input.ts'
import type { AnyWorkflow, Workflow } from '../workflow/workflow.ts'
import { type CallOptions, type ClientSettings, timeoutMsOf } from './client-options.ts'
import { callApi } from './http.ts'
import { type Run, runOf } from './run.ts'
import { ulid } from './ulid.ts'

export interface StartOptions extends CallOptions {
  /** Your own id: one run a workflow and id. Made when absent, so that a repeated request starts nothing twice. */
  id?: string
  /** When a run with this id exists: give that one back (default), or throw an ApiError `run_exists`. */
  onConflict?: 'return' | 'fail'
  /** At most 20, of 200 characters. */
  tags?: Record<string, string>
  /** Holds the run so long before it starts: seconds, or `'10m'`; at most 366 days. */
  delay?: Duration
}

export interface ListOptions extends CallOptions {
  workflow?: string
  status?: RunStatus
  trigger?: string
  /** `key:value`. */
  tag?: string
  /** Runs that were handed an event of this topic. */
  topic?: string
  /** Runs that were handed the event with this id. */
  eventId?: string
  createdAfter?: Date | string
  createdBefore?: Date | string
  /** 1 to 200; default 50. */
  limit?: number
  /** `nextCursor` of the page before. */
  cursor?: string
}

export interface ResultOptions extends CallOptions {
  /** How long to wait for the end: seconds, or `'30s'`. Default: as long as it takes. */
  wait?: Duration
}

/** A run that was started. */
export interface RunHandle<Output> {
  readonly id: string
  /** True when it was there already: a run with the id that was given, or the retry that was asked for before. */
  readonly existing: boolean
  get(options?: CallOptions): Promise<Run<Output>>
  /** See `runs.result`. */
  result(options?: ResultOptions): Promise<Output>
}

type StartedRun = WireRun & { existing?: boolean }

/** One long poll; the API bounds it. */
const POLL_MS_MAX = 30_000

export class Runs {
  readonly #settings: ClientSettings

  constructor(settings: ClientSettings) {
    this.#settings = settings
  }

  /**
   * Starts a run of a workflow, given itself or by its id. A triggered workflow takes `{ events: [{ topic, data }] }`.
   * The input is at most 1 MiB of JSON.
   *
   * ```ts
   * const run = await client.runs.start(report, { day: '2026-11-22' }, { id: 'report-2026-11-22' })
   * const { rows } = await run.result({ wait: '1m' })
   * ```
   *
   * Throws ApiError (`workflow_not_found`, `run_exists`, …), SchemaValidationError when the input does not pass.
   */
  start<Start, Output>(
    workflow: Workflow<Start, Output>,
    input: Start,
    options?: StartOptions,
  ): Promise<RunHandle<Output>>
  start(workflow: string, input?: unknown, options?: StartOptions): Promise<RunHandle<Json>>
  async start(
    workflow: AnyWorkflow | string,
    input?: unknown,
    options: StartOptions = {},
  ): Promise<RunHandle<Json>> {
    const body: StartRun = {
      workflow: typeof workflow === 'string' ? workflow : workflow.id,
      input: await startInputOf(workflow, input, { id: () => ulid(Date.now()), now: Date.now() }),
      id: options.id ?? ulid(Date.now()),
      on_conflict: options.onConflict ?? 'return',
      ...(options.tags === undefined ? {} : { tags: options.tags }),
      ...(options.delay === undefined ? {} : { delay: options.delay }),
    }
    const run = (await this.#call('POST', '/v1/runs', options, body)) as StartedRun
    return this.#handle(run.id, options.id !== undefined && run.existing === true)
  }

  #handle<Output>(id: string, existing: boolean): RunHandle<Output> {
    return {
      id,
      existing,
      get: async (options) => await this.get<Output>(id, options),
      result: async (options) => await this.result<Output>(id, options),
    }
  }

  /** Throws ApiError `run_not_found`. */
  async get<Output = Json>(id: string, options: CallOptions = {}): Promise<Run<Output>> {
    const answer = await this.#call('GET', `/v1/runs/${encodeURIComponent(id)}`, options)
    return runOf<Output>(answer as WireRun)
  }

  /**
   * A page of runs, the newest first, without input and output. It may be short, or empty, and have a `nextCursor`: where few
   * runs are what is asked for.
   */
  async list(options: ListOptions = {}): Promise<{ data: Run[]; nextCursor: string | null }> {
    const { workflow, status, trigger, tag, topic, eventId, createdAfter, createdBefore, limit, cursor } =
      options
    const query = new URLSearchParams()
    const created = { created_after: timeOf(createdAfter), created_before: timeOf(createdBefore) }
    const filters = { workflow, status, trigger, tag, topic, event_id: eventId, ...created, limit, cursor }
    for (const [name, value] of Object.entries(filters))
      if (value !== undefined) query.set(name, String(value))
    const answer = (await this.#call('GET', `/v1/runs?${query.toString()}`, options)) as WireList<WireRun>
    return { data: answer.data.map((run) => runOf<Json>(run)), nextCursor: answer.next_cursor }
  }

  /**
   * What a run returned, once it has ended. Throws RunFailedError when it did not complete, RunNotEndedError when `wait`
   * is over first, ApiError when the API cannot be asked.
   */
  async result<Output = Json>(id: string, options: ResultOptions = {}): Promise<Output> {
    const waitMs = timeoutMsOf(options.wait, Number.POSITIVE_INFINITY)
    const until = performance.now() + waitMs
    for (;;) {
      const pollMs = Math.round(
        Math.max(0, Math.min(until - performance.now(), POLL_MS_MAX, limits.runWaitMsMax)),
      )
      const path = `/v1/runs/${encodeURIComponent(id)}?wait=${pollMs}ms`
      const run = (await this.#call('GET', path, options, undefined, pollMs)) as WireRun
      if (run.status === 'completed') return run.output as Output
      if (isEnded(run.status))
        throw new RunFailedError({ runId: run.id, status: run.status, error: run.error })
      if (performance.now() >= until) throw new RunNotEndedError({ runId: run.id, status: run.status })
    }
  }

  /**
   * Ends a run, now. A worker that has it in hand is told by its next command or heartbeat: `ctx.signal` is aborted, and
   * nothing more is stored. Child runs go on. A run that is cancelled already is given back as it is; throws ApiError
   * `run_ended` where it ended otherwise.
   */
  async cancel<Output = Json>(id: string, options: CallOptions = {}): Promise<Run<Output>> {
    return await this.#steer<Output>(id, 'cancel', options)
  }

  /** Takes a run from its worker, if it has one, and holds it until `resume`. Its time-outs go on. */
  async pause<Output = Json>(id: string, options: CallOptions = {}): Promise<Run<Output>> {
    return await this.#steer<Output>(id, 'pause', options)
  }

  /** Queues a paused run again: it goes on from its last stored step. */
  async resume<Output = Json>(id: string, options: CallOptions = {}): Promise<Run<Output>> {
    return await this.#steer<Output>(id, 'resume', options)
  }

  /**
   * Starts a new run for one that failed, was cancelled or timed out: with its input, its successful steps and the answers
   * it received. A run is retried once, so that the call may be repeated; then its retry is retried. Throws ApiError
   * `run_not_retryable` where it has not ended, or is completed.
   */
  async retry<Output = Json>(id: string, options: CallOptions = {}): Promise<RunHandle<Output>> {
    const path = `/v1/runs/${encodeURIComponent(id)}/retry`
    const run = (await this.#call('POST', path, options)) as StartedRun
    return this.#handle<Output>(run.id, run.existing === true)
  }

  /**
   * Answers a step that waits for somebody: `ctx.step.suspend` resolves with `data` (JSON, at most 1 MiB). The first call
   * counts, and the same again changes nothing. Throws ApiError `run_not_found`; `wait_not_found`, also while the run has not
   * come to the step yet; `wait_settled` where it was resumed with other data, has timed out, or the run has ended.
   *
   * ```ts
   * await client.runs.resumeStep(runId, 'approval', { approved: true, by: 'ann' })
   * ```
   */
  async resumeStep(id: string, key: string, data: unknown, options: CallOptions = {}): Promise<void> {
    const path = `/v1/runs/${encodeURIComponent(id)}/steps/${encodeURIComponent(key)}/resume`
    const body: ResumeStep = { data: data ?? null }
    await this.#call('POST', path, options, body)
  }

  async #steer<Output>(
    id: string,
    action: 'cancel' | 'pause' | 'resume',
    options: CallOptions,
  ): Promise<Run<Output>> {
    const answer = await this.#call('POST', `/v1/runs/${encodeURIComponent(id)}/${action}`, options)
    return runOf<Output>(answer as WireRun)
  }

  async #call(
    method: 'GET' | 'POST',
    path: string,
    options: CallOptions,
    body?: unknown,
    pollMs = 0,
  ): Promise<unknown> {
    const timeoutMs = timeoutMsOf(options.timeout, this.#settings.timeoutMs) + pollMs
    const answer = await callApi(this.#settings, {
      method,
      path,
      timeoutMs,
      signal: options.signal ?? null,
      ...(body === undefined ? {} : { body }),
      ...(pollMs === 0 ? {} : { attemptMs: pollMs + 10_000 }),
    })
    return answer.body
  }
}

const isEnded = (status: RunStatus): boolean => (endedRunStatuses as readonly RunStatus[]).includes(status)

const timeOf = (time: Date | string | undefined): string | undefined =>
  time instanceof Date ? time.toISOString() : time
