import type { TraceSpan, Tracing } from '@headrace/service'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { PreparedEvent } from '../ingest/prepare-events.ts'
import { parseTraceparent } from '../ingest/traceparent.ts'
import type { EventOutcome } from '../produce/event-outcome.ts'

/** Makes the spans of requests that publish; null where no traces are wanted. */
export interface PublishTraces {
  tracing: Tracing
  /** The Kafka topic of a stream. */
  topicOf: (stream: string) => string
}

/**
 * The spans of one request that publishes: that of the request, within the caller's trace, and in it one for each batch of
 * events that is handed to Kafka. Events carry the context of the latter, unless they brought one of their own: that
 * is where they come from, which is not this request's to change; the batch links to it.
 */
export class RequestTrace {
  readonly #traces: PublishTraces | null
  readonly #given: string | null
  readonly #span: TraceSpan | null
  #batch: TraceSpan | null = null

  constructor(traces: PublishTraces | null, request: FastifyRequest, reply: FastifyReply) {
    this.#traces = traces
    this.#given = parseTraceparent(request.headers['traceparent'])
    this.#span = traces === null ? null : beginRequest(traces.tracing, request, reply)
  }

  /** What the events of the next batch carry; begins its span. */
  beginBatch(): string | null {
    if (this.#traces === null || this.#span === null) return this.#given
    this.#batch = this.#traces.tracing.begin('send', {
      kind: 'producer',
      parent: this.#span,
      attributes: { 'messaging.system': 'kafka', ...SEND },
    })
    return this.#batch.traceparent
  }

  /** The fates of a batch, in its order. A batch of which nothing is handed to Kafka has no span. */
  endBatch(events: readonly PreparedEvent[], outcomes: readonly EventOutcome[]): void {
    const [batch, traces] = [this.#batch, this.#traces]
    this.#batch = null
    if (batch === null || traces === null || events.length === 0) return
    const failed = outcomes.find((outcome) => outcome.kind === 'failed')
    const [only, ...others] = new Set(events.map(({ stream }) => stream))
    const topic = only !== undefined && others.length === 0 ? traces.topicOf(only) : null
    batch.end({
      ...(topic === null ? {} : { name: `send ${topic}` }),
      attributes: {
        ...(topic === null ? {} : { 'messaging.destination.name': topic }),
        ...(events.length === 1 ? placeOf(outcomes[0]) : { 'messaging.batch.message_count': events.length }),
      },
      links: [...new Set(events.map(({ record }) => record.headers['traceparent'] ?? ''))].filter(
        (own) => own !== batch.traceparent,
      ),
      error: failed?.problem.code ?? null,
    })
  }
}

const SEND = { 'messaging.operation.name': 'send', 'messaging.operation.type': 'send' }
const ROUTE = '/v1/events'

/** Ended by the answer's last byte, whoever gives it, or by the end of the connection. */
function beginRequest(tracing: Tracing, request: FastifyRequest, reply: FastifyReply): TraceSpan {
  const { headers, method } = request
  const span = tracing.begin(`${method} ${ROUTE}`, {
    kind: 'server',
    parent: { traceparent: headers['traceparent'], tracestate: headers['tracestate'] },
    attributes: {
      'http.request.method': method,
      'http.route': ROUTE,
      'url.path': ROUTE,
      'url.scheme': 'http',
      'headrace.request.id': request.id,
    },
  })
  reply.raw.once('close', () => {
    const { statusCode, headersSent, writableFinished } = reply.raw
    const failure = statusCode >= 500 ? String(statusCode) : null
    span.end({
      attributes: headersSent ? { 'http.response.status_code': statusCode } : {},
      error: writableFinished ? failure : 'client_left',
    })
  })
  return span
}

function placeOf(outcome: EventOutcome | undefined): Record<string, string | number> {
  if (outcome?.kind !== 'written') return {}
  const { partition, sequence_id: sequenceId } = outcome.event
  return { 'messaging.destination.partition.id': String(partition), 'messaging.kafka.offset': sequenceId }
}
