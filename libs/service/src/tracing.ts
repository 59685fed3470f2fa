import type { ServiceContext } from './service.ts'

export type SpanAttributes = Readonly<Record<string, string | number | boolean>>

export interface NewSpan {
  kind: 'server' | 'producer' | 'consumer'
  /** What is no trace context counts as none: the span then begins a trace. */
  parent: { traceparent: unknown; tracestate?: unknown } | null
  attributes: SpanAttributes
  /** Contexts of other spans; what is no trace context is left out. */
  links?: readonly string[]
}

export interface SpanEnd {
  /** Where it was not known when the span began. */
  name?: string
  attributes?: SpanAttributes
  links?: readonly string[]
  /** The stable code of what went wrong. */
  error?: string | null
}

/** A span that is not ended is not told of. */
export interface TraceSpan {
  /** Where it stands, as W3C Trace Context. The last field says whether the trace is sampled. */
  readonly traceparent: string
  /** Once; a later end counts for nothing. */
  end(end?: SpanEnd): void
}

/** Makes the spans of one app. Nothing here waits for a collector, and nothing throws. */
export interface Tracing {
  begin(name: string, span: NewSpan): TraceSpan
}

/** Links of one span: what SDKs and collectors keep by default. */
export const SPAN_LINKS_MAX = 128

/** Are traces wanted? By the variables that OpenTelemetry defines: an endpoint, and nothing that turns them off. */
export function isTraced(env: NodeJS.ProcessEnv): boolean {
  if (env['OTEL_SDK_DISABLED']?.trim().toLowerCase() === 'true') return false
  if (env['OTEL_TRACES_EXPORTER']?.trim() === 'none') return false
  return [env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'], env['OTEL_EXPORTER_OTLP_ENDPOINT']].some(
    (endpoint) => endpoint !== undefined && endpoint.trim() !== '',
  )
}

/**
 * The traces of an app, or null where none are wanted: then nothing of OpenTelemetry is even loaded. What is left at the
 * stop is sent, within a bound. The variables are read from the process, as OpenTelemetry's own parts do.
 */
export async function startTracing(context: ServiceContext, service: string): Promise<Tracing | null> {
  if (!isTraced(process.env)) return null
  const { createTracing } = await import('./otel-tracing.ts')
  const tracing = createTracing({ service, log: context.log, clock: context.clock })
  context.onStop(async () => await tracing.stop(), 'traces')
  return tracing
}
