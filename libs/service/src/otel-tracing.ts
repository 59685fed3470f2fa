import {
  diag,
  DiagLogLevel,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer,
} from '@opentelemetry/api'
import { type ExportResult, ExportResultCode, parseTraceParent, TraceState } from '@opentelemetry/core'
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base'
import type { Clock } from './clock.ts'
import { limited, type Logger } from './log.ts'
import {
  type NewSpan,
  SPAN_LINKS_MAX,
  type SpanAttributes,
  type SpanEnd,
  type TraceSpan,
  type Tracing,
} from './tracing.ts'
import { version } from './version.ts'

/** What a stop waits for the collector; what it has not taken by then is lost. */
const STOP_MS_MAX = 3_000
/** A collector that is away fails every batch. */
const SAY_EVERY_MS = 60_000
/** W3C: what a tracestate has at least to be carried at. A longer one is left out. */
const TRACESTATE_CHARACTERS_MAX = 512

const NOT_SENT = { event: 'traces.not_sent', code: 'traces_not_sent' }
const DIAGNOSTIC = { event: 'traces.diagnostic', code: 'traces_diagnostic' }

const kinds = { server: SpanKind.SERVER, producer: SpanKind.PRODUCER, consumer: SpanKind.CONSUMER }

export interface CreateTracing {
  /** `service.name`, where neither `OTEL_SERVICE_NAME` nor `OTEL_RESOURCE_ATTRIBUTES` says another. */
  service: string
  log: Logger
  clock: Clock
}

/**
 * Spans by OpenTelemetry's SDK, sent in batches by OTLP over HTTP. Sampling, limits, queue and exporter are those of the
 * `OTEL_*` variables. It is registered nowhere: several apps may share a process, each under its own name.
 */
export function createTracing({ service, log, clock }: CreateTracing): Tracing & { stop(): Promise<void> } {
  const said = limited(log, NOT_SENT.event, SAY_EVERY_MS, clock)
  sayDiagnostics(limited(log, DIAGNOSTIC.event, SAY_EVERY_MS, clock))
  const own = resourceFromAttributes({ 'service.name': service, 'service.version': version })
  const provider = new BasicTracerProvider({
    resource: own.merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new TellingExporter(otlpExporter(), said))],
  })
  const tracer = provider.getTracer('headrace', version)
  return {
    begin: (name, span) => begin(tracer, name, span),
    async stop() {
      const { promise: late, resolve } = Promise.withResolvers<'late'>()
      const timer = setTimeout(() => resolve('late'), STOP_MS_MAX)
      const outcome = await Promise.race([provider.shutdown().catch(() => undefined), late])
      clearTimeout(timer)
      if (outcome === 'late') said.warn(NOT_SENT, 'the collector did not take the last spans before the stop')
    },
  }
}

function begin(tracer: Tracer, name: string, { kind, parent, attributes, links = [] }: NewSpan): TraceSpan {
  const remote = parent === null ? null : remoteContext(parent.traceparent, parent.tracestate)
  const within = remote === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remote)
  const span = tracer.startSpan(name, { kind: kinds[kind], attributes, links: linksOf(links) }, within)
  const { traceId, spanId, traceFlags } = span.spanContext()
  return {
    traceparent: `00-${traceId}-${spanId}-${(traceFlags & TraceFlags.SAMPLED).toString(16).padStart(2, '0')}`,
    end: (end = {}) => endSpan(span, end),
  }
}

function endSpan(span: Span, { name, attributes, links = [], error = null }: SpanEnd): void {
  if (name !== undefined) span.updateName(name)
  if (attributes !== undefined) span.setAttributes(attributes)
  if (links.length > 0) span.addLinks(linksOf(links))
  if (error !== null) {
    const failed: SpanAttributes = { 'error.type': error }
    span.setAttributes(failed).setStatus({ code: SpanStatusCode.ERROR })
  }
  span.end()
}

const linksOf = (links: readonly string[]): Link[] =>
  links.slice(0, SPAN_LINKS_MAX).flatMap((link) => {
    const context = remoteContext(link, undefined)
    return context === null ? [] : [{ context }]
  })

function remoteContext(traceparent: unknown, tracestate: unknown): SpanContext | null {
  const context = typeof traceparent === 'string' ? parseTraceParent(traceparent) : null
  if (context === null) return null
  const keepsState = typeof tracestate === 'string' && tracestate.length <= TRACESTATE_CHARACTERS_MAX
  return {
    ...context,
    isRemote: true,
    ...(keepsState ? { traceState: new TraceState(tracestate) } : {}),
  }
}

/** Of the protocols that OTLP has over HTTP; protobuf is what collectors expect. */
function otlpExporter(): SpanExporter {
  // An empty variable is as good as none, says OpenTelemetry's specification.
  const protocol = [
    process.env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'],
    process.env['OTEL_EXPORTER_OTLP_PROTOCOL'],
  ]
    .map((value) => value?.trim() ?? '')
    .find((value) => value !== '')
  return protocol === 'http/json' ? new JsonExporter() : new ProtobufExporter()
}

/**
 * What OpenTelemetry says of itself: variables that it cannot read, spans dropped because its queue was full. It has one place for
 * that in a process, where the app that began last is told.
 */
function sayDiagnostics(log: Logger): void {
  const say = (level: 'warn' | 'error') => (detail: string) =>
    log[level]({ ...DIAGNOSTIC, detail }, 'OpenTelemetry says so of its own work')
  const logger = { error: say('error'), warn: say('warn'), info() {}, debug() {}, verbose() {} }
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true })
}

/** Says what was not sent, at most once a minute; the spans are gone, and whoever made them hears nothing of it. */
class TellingExporter implements SpanExporter {
  readonly #exporter: SpanExporter
  readonly #said: Logger

  constructor(exporter: SpanExporter, said: Logger) {
    this.#exporter = exporter
    this.#said = said
  }

  export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.#exporter.export(spans, ({ code, error }) => {
      if (code === ExportResultCode.FAILED)
        this.#said.warn(
          { ...NOT_SENT, spans: spans.length, detail: error?.message },
          'spans could not be sent to the collector; they are dropped',
        )
      done({ code: ExportResultCode.SUCCESS })
    })
  }

  async forceFlush(): Promise<void> {
    await this.#exporter.forceFlush?.()
  }

  async shutdown(): Promise<void> {
    await this.#exporter.shutdown()
  }
}
