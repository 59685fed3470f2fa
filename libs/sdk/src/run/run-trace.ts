import {
  type Context,
  context,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  trace,
  TraceFlags,
} from '@opentelemetry/api'
import type { ClaimedRun, StepKind } from '@headrace/schemas'
import type { StoredError } from '../errors/stored-error.ts'
import { sdkVersion } from '../sdk-version.ts'
import type { Logger, RunHost } from './run-host.ts'
import type { RunEnd } from './run-notes.ts'
import type { Outcome } from './step-outcome.ts'

/** What a span says of an error. */
type Told = Pick<StoredError, 'name' | 'message' | 'stack'>

/**
 * Calls of an OpenTelemetry that is not ours. What its processors, samplers and exporters throw is a spoiled span and a line of the
 * log, once a run: no run ends, hangs or fails by it.
 */
class Spared {
  readonly #log: Logger
  readonly #claimed: ClaimedRun
  #isTold = false

  constructor(log: Logger, claimed: ClaimedRun) {
    this.#log = log
    this.#claimed = claimed
  }

  call<Result>(code: () => Result, otherwise: Result): Result {
    try {
      return code()
    } catch (error) {
      this.#tell(error)
      return otherwise
    }
  }

  #tell(error: unknown): void {
    if (this.#isTold) return
    this.#isTold = true
    const { run_id, workflow, epoch } = this.#claimed
    this.#log.warn(
      { event: 'run.trace_spoiled', run_id, workflow, epoch, error: String(error) },
      'OpenTelemetry threw, so spans of the run are missing; the run goes on',
    )
  }
}

interface Begin {
  name: string
  options: SpanOptions
  /** What it is begun in, and its code runs in. */
  parent: Context
  spared: Spared
}

/** A span, and what happens inside it. */
abstract class OpenSpan {
  protected readonly context: Context
  protected readonly spared: Spared
  readonly #span: Span

  constructor({ name, options, parent, spared }: Begin) {
    this.spared = spared
    this.#span = spared.call(
      () => trace.getTracer('@headrace/sdk', sdkVersion).startSpan(name, options, parent),
      trace.wrapSpanContext(INVALID_SPAN_CONTEXT),
    )
    this.context = trace.setSpan(parent, this.#span)
  }

  /** What goes on with it elsewhere is told. Nothing where it is not recorded. */
  get left(): { traceparent?: string } {
    return this.told((span) => (span.isRecording() ? { traceparent: textOf(span.spanContext()) } : {}), {})
  }

  /** Code that runs inside it: spans that it makes are children of this one. */
  within<Result>(code: () => Result): Result {
    return context.with(this.context, code)
  }

  retried(error: unknown, attempt: number, delayMs: number): void {
    this.told((span) => {
      if (!span.isRecording()) return
      const { name, message } =
        error instanceof Error ? error : { name: typeof error, message: String(error) }
      span.addEvent('headrace.retry', {
        'exception.type': name,
        'exception.message': message,
        'headrace.attempt': attempt,
        'headrace.delay_ms': delayMs,
      })
    }, undefined)
  }

  protected told<Result>(code: (span: Span) => Result, otherwise: Result): Result {
    return this.spared.call(() => code(this.#span), otherwise)
  }
}

/**
 * The spans of one claim: `headrace.run`, and below it one `headrace.step` for each body that runs here. They are made by
 * the OpenTelemetry that the program has set up, in which its own spans are then children of them; without one nothing
 * is made, and the rest is a few calls that do nothing.
 *
 * The trace is that of the run. A wait ends the span: what goes on afterwards is another one, perhaps a month later and
 * elsewhere, which links to the one before.
 */
export class RunTrace extends OpenSpan {
  /** Of the run's log lines; null where it has no trace. */
  readonly traceId: string | null

  constructor(claimed: ClaimedRun, { build, log }: Pick<RunHost, 'build' | 'log'>) {
    const parent = contextOf(claimed.traceparent)
    const before = contextOf(claimed.former_traceparent ?? null)
    const attributes = {
      'headrace.run.id': claimed.run_id,
      'headrace.workflow': claimed.workflow,
      'headrace.epoch': claimed.epoch,
      'headrace.build': build,
    }
    const links = before === null ? [] : [{ context: before }]
    super({
      name: 'headrace.run',
      options: { kind: SpanKind.CONSUMER, attributes, links },
      parent: parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent),
      spared: new Spared(log, claimed),
    })
    const own = this.told((span) => span.spanContext(), INVALID_SPAN_CONTEXT)
    this.traceId = isSpanContextValid(own) ? own.traceId : null
  }

  step(key: string, kind: StepKind): StepTrace {
    return new StepTrace({
      name: 'headrace.step',
      options: {
        kind: SpanKind.INTERNAL,
        attributes: { 'headrace.step.key': key, 'headrace.step.kind': kind },
      },
      parent: this.context,
      spared: this.spared,
    })
  }

  /** A wait is registered; its answer may take any time, so it is no span. */
  waits(key: string, kind: StepKind): void {
    const attributes = { 'headrace.step.key': key, 'headrace.step.kind': kind }
    this.told((span) => void span.addEvent('headrace.wait', attributes), undefined)
  }

  failed(error: Told): void {
    this.told((span) => fail(span, error), undefined)
  }

  end(how: RunEnd): void {
    this.told((span) => span.setAttribute('headrace.run.end', how).end(), undefined)
  }
}

/** A body from its first attempt to its result. */
export class StepTrace extends OpenSpan {
  /** Null: it was interrupted, and has none. */
  end(outcome: Outcome | null): void {
    this.told((span) => {
      if (span.isRecording() && outcome !== null) {
        span.setAttribute('headrace.step.attempts', outcome.attempts)
        if (outcome.error !== null) fail(span, JSON.parse(outcome.error) as Told)
      }
      span.end()
    }, undefined)
  }
}

function fail(span: Span, { name, message, stack }: Told): void {
  span.recordException({ name, message, ...(typeof stack === 'string' ? { stack } : {}) })
  span.setStatus({ code: SpanStatusCode.ERROR, message })
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

function contextOf(traceparent: string | null): SpanContext | null {
  const [, traceId = '', spanId = '', flags = ''] = TRACEPARENT.exec(traceparent ?? '') ?? []
  const context = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED,
    isRemote: true,
  }
  return isSpanContextValid(context) ? context : null
}

const textOf = ({ traceId, spanId, traceFlags }: SpanContext): string =>
  `00-${traceId}-${spanId}-${(traceFlags & TraceFlags.SAMPLED).toString(16).padStart(2, '0')}`
