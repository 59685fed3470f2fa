import { randomBytes } from 'node:crypto'
import { SPAN_LINKS_MAX, type TraceSpan, type Tracing } from '@headrace/service'
import type { WindowEntry } from './flush-entry.ts'

/** Begins the span of a window that becomes a run. Ended once the run is stored; until then there is none. */
export type TraceWindow = (entry: WindowEntry, runId: string) => Pick<TraceSpan, 'traceparent' | 'end'>

export interface WindowTraceParts {
  tracing: Tracing
  /** The Kafka topic of a stream. */
  topicOf: (stream: string) => string
}

/**
 * A run has one trace. A window of one event goes on with that of its event; one of several, which come from anywhere,
 * begins a trace of its own that links to theirs: each context once, because events of one request share theirs. Where all
 * events were published in traces that are not sampled, that one is not either.
 */
export function createTraceWindow({ tracing, topicOf }: WindowTraceParts): TraceWindow {
  return (entry, runId) => {
    const { events } = entry.closed
    const [first] = events
    const contexts = [...new Set(events.map(({ traceparent }) => traceparent))]
    if (events.length > 1 && contexts.every((context) => context !== null && !isSampled(context)))
      return unsampledTrace()
    const links = events.length === 1 ? [] : contexts.filter((context) => context !== null)
    const topic = topicOf(entry.follower.lane.stream)
    return tracing.begin(`process ${topic}`, {
      kind: 'consumer',
      parent: events.length === 1 && first !== undefined ? first : null,
      attributes: { ...attributesOf(entry, runId, topic), ...droppedOf(links) },
      links,
    })
  }
}

function attributesOf({ follower, closed }: WindowEntry, runId: string, topic: string) {
  const [first] = closed.events
  const isOne = closed.events.length === 1 && first !== undefined
  return {
    'messaging.system': 'kafka',
    'messaging.operation.name': 'process',
    'messaging.operation.type': 'process',
    'messaging.destination.name': topic,
    'messaging.destination.partition.id': String(follower.lane.partition),
    ...(isOne
      ? { 'messaging.kafka.offset': first.offset }
      : { 'messaging.batch.message_count': closed.events.length }),
    'headrace.run.id': runId,
    'headrace.workflow': follower.trigger.workflow,
    'headrace.trigger': follower.cursorOf.id,
  }
}

function droppedOf({ length }: readonly string[]): Record<string, number> {
  return length > SPAN_LINKS_MAX ? { 'headrace.window.links_dropped': length - SPAN_LINKS_MAX } : {}
}

/** The lowest bit of the last field. */
const isSampled = (traceparent: string): boolean => (Number.parseInt(traceparent.slice(-2), 16) & 1) === 1

function unsampledTrace(): ReturnType<TraceWindow> {
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
  return { traceparent: `00-${traceId}-${spanId}-00`, end: () => undefined }
}
