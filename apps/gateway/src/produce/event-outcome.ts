import type { ProduceOutcome } from '@headrace/broker'
import { isoTime } from '@headrace/core'
import { ProblemError, type PublishedEvent } from '@headrace/schemas'
import type { PreparedEvent } from '../ingest/prepare-events.ts'

/** The fate of one event, as its publisher is told (P1). */
export type EventOutcome =
  | { kind: 'written'; event: PublishedEvent }
  /** Certainly not written, or (code `unknown`) perhaps; `id` only where the caller gave one. */
  | { kind: 'failed'; id: string | null; problem: ProblemError }

export function eventOutcome(event: PreparedEvent, outcome: ProduceOutcome): EventOutcome {
  if (outcome.status !== 'written')
    return { kind: 'failed', id: event.callerId, problem: problemOfOutcome(outcome) }
  return {
    kind: 'written',
    event: {
      id: event.id,
      topic: event.topic,
      stream: event.stream,
      partition: outcome.partition,
      sequence_id: outcome.offset,
      created_at: isoTime(outcome.timestamp),
    },
  }
}

type NotWritten = Exclude<ProduceOutcome, { status: 'written' }>

function problemOfOutcome(outcome: NotWritten): ProblemError {
  if (outcome.status === 'unknown') {
    const detail = `Kafka's answer is missing, so the event may have been written or not (${outcome.message}); send it again with the same id, which marks it as a repeat`
    return new ProblemError('unknown', detail)
  }
  switch (outcome.code) {
    case 'not_attempted':
      return new ProblemError(
        'not_attempted',
        'An earlier event of this request was not written to the same partition; sending this one would have changed their order',
      )
    case 'kafka_unreachable':
    case 'kafka_tls_failed':
    case 'kafka_authentication_failed':
    case 'leader_not_available':
    case 'deadline_exceeded':
      return new ProblemError('kafka_unavailable', `The event was not written: ${outcome.message}`)
    case 'producer_closed':
      return new ProblemError('shutting_down', 'This instance is stopping; the event was not written')
    default:
      return new ProblemError(
        'refused_by_kafka',
        `Kafka refused the event (${outcome.code}): ${outcome.message}`,
      )
  }
}
