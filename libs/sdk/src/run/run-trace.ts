import {
  type Context,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
} from '@opentelemetry/api'
import type { ClaimedRun, StepKind } from '@headrace/schemas'
import type { StoredError } from '../errors/stored-error.ts'
import { sdkVersion } from '../sdk-version.ts'
import type { RunEnd } from './run-notes.ts'
import type { Outcome } from './step-outcome.ts'

/** What a span says of an error. */
type Told = Pick<StoredError, 'name' | 'message' | 'stack'>

/** A span, and what happens inside it. */
class OpenSpan {
  protected readonly span: Span
  protected readonly context: Context

  protected constructor(span: Span, parent: Context) {
    this.span = span
    this.context = trace.setSpan(parent, span)
  }

  /** What goes on with it elsewhere is told. Nothing where it is not recorded. */
  get left(): { traceparent?: string } {
    return this.span.isRecording() ? { traceparent: textOf(this.span.spanContext()) } : {}
  }

  /** Code that runs inside it: spans that it makes are children of this one. */
  within<Result>(code: () => Result): Result {
    return context.with(this.context, code)
  }

  retried(error: unknown, attempt: number, delayMs: number): void {
    if (!this.span.isRecording()) return
    const { name, message } = error instanceof Error ? error : { name: typeof error, message: String(error) }
    this.span.addEvent('headrace.retry', {
      'exception.type': name,
      'exception.message': message,
      'headrace.attempt': attempt,
      'headrace.delay_ms': delayMs,
    })
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
  constructor(claimed: ClaimedRun, build: string) {
    const parent = contextOf(claimed.traceparent)
    const before = contextOf(claimed.former_traceparent ?? null)
    const attributes = {
      'headrace.run.id': claimed.run_id,
      'headrace.workflow': claimed.workflow,
      'headrace.epoch': claimed.epoch,
      'headrace.build': build,
    }
    const links = before === null ? [] : [{ context: before }]
    const within = parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent)
    super(
      tracer().startSpan('headrace.run', { kind: SpanKind.CONSUMER, attributes, links }, within),
      ROOT_CONTEXT,
    )
  }

  /** Of the run's log lines; null where it has no trace. */
  get traceId(): string | null {
    const own = this.span.spanContext()
    return isSpanContextValid(own) ? own.traceId : null
  }

  step(key: string, kind: StepKind): StepTrace {
    return new StepTrace(this.context, { 'headrace.step.key': key, 'headrace.step.kind': kind })
  }

  /** A wait is registered; its answer may take any time, so it is no span. */
  waits(key: string, kind: StepKind): void {
    this.span.addEvent('headrace.wait', { 'headrace.step.key': key, 'headrace.step.kind': kind })
  }

  failed(error: Told): void {
    fail(this.span, error)
  }

  end(how: RunEnd): void {
    this.span.setAttribute('headrace.run.end', how)
    this.span.end()
  }
}

/** A body from its first attempt to its result. */
export class StepTrace extends OpenSpan {
  constructor(parent: Context, attributes: Record<string, string>) {
    super(tracer().startSpan('headrace.step', { kind: SpanKind.INTERNAL, attributes }, parent), parent)
  }

  /** Null: it was interrupted, and has none. */
  end(outcome: Outcome | null): void {
    if (this.span.isRecording() && outcome !== null) {
      this.span.setAttribute('headrace.step.attempts', outcome.attempts)
      if (outcome.error !== null) fail(this.span, JSON.parse(outcome.error) as Told)
    }
    this.span.end()
  }
}

const tracer = () => trace.getTracer('@headrace/sdk', sdkVersion)

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
