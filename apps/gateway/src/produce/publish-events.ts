import {
  type CoalescingProducer,
  type OutgoingRecord,
  type StreamCatalog,
  type StreamDirectory,
} from '@headrace/broker'
import { crashPoint, STREAM_HEADER } from '@headrace/core'
import { type Activity, limited, type Logger } from '@headrace/service'
import type { PreparedEvent } from '../ingest/prepare-events.ts'
import type { GatewayMetrics } from '../gateway-metrics.ts'
import { eventOutcome, type EventOutcome } from './event-outcome.ts'

export interface PublisherParts {
  producer: CoalescingProducer
  streams: StreamDirectory
  catalog: Pick<StreamCatalog, 'bindingOf' | 'topicOf'>
  metrics: GatewayMetrics
  activity: Activity
  log: Logger
}

/** An outage fails every request; one line a second says as much as a thousand. */
const SAY_EVERY_MS = 1_000

/** From the whole body to the answer. Below the 5 s within which every publisher is told something. */
export const PUBLISH_MS_MAX = 4_500
/** What is left for the send, however long the look for a new stream took. */
export const PRODUCE_MS_LEAST = 500

/** Writes events and tells the fate of each, in their order. Resolves within `deadlineMs`. */
export type PublishEvents = (events: readonly PreparedEvent[], deadlineMs: number) => Promise<EventOutcome[]>

/**
 * Hands all events of a request to the producer at once: it gathers them with those of other requests while a send is
 * in flight, keeps the order within a partition, and attempts nothing there after a failure.
 */
export function createPublishEvents({
  producer,
  streams,
  catalog,
  metrics,
  activity,
  log,
}: PublisherParts): PublishEvents {
  const failures = limited(log, 'events.not_written', SAY_EVERY_MS)

  return async (events, deadlineMs) => {
    const records = events.map(({ stream, record }): OutgoingRecord => {
      const { key, value } = record
      const isBound = catalog.bindingOf(stream) !== null
      const headers = isBound ? { ...record.headers, [STREAM_HEADER]: stream } : record.headers
      return { topic: catalog.topicOf(stream), partition: null, key, value, headers }
    })
    crashPoint('gateway.before-produce')
    const began = performance.now()
    const outcomes = await producer.produce(records, { deadlineMs })
    metrics.produced(events.length, (performance.now() - began) / 1_000)
    crashPoint('gateway.after-produce-before-reply')
    const told = events.map((event, index) => {
      const outcome = outcomes[index] ?? noOutcome
      if (outcome.status === 'refused' && outcome.code === 'unknown_topic') streams.forget(event.stream)
      return eventOutcome(event, outcome)
    })
    for (const outcome of told) tell(outcome, { metrics, activity })
    const failed = told.find((outcome) => outcome.kind === 'failed')
    if (failed !== undefined)
      failures.warn(
        { event: 'events.not_written', code: failed.problem.code, detail: failed.problem.message },
        'events could not be written; their publishers were told so',
      )
    return told
  }
}

const noOutcome = {
  status: 'unknown',
  code: 'no_outcome',
  message: 'the producer told nothing about this event',
} as const

function tell(
  outcome: EventOutcome,
  { metrics, activity }: Pick<PublisherParts, 'metrics' | 'activity'>,
): void {
  if (outcome.kind === 'failed') {
    metrics.rejected(outcome.problem.code, 1)
    return
  }
  const { id, topic, stream, partition, sequence_id: sequenceId } = outcome.event
  metrics.accepted(stream)
  activity.eventAccepted?.({ id, topic, partition, sequenceId })
}
