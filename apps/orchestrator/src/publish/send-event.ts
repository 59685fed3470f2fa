import {
  BrokerError,
  type CoalescingProducer,
  type ProduceOutcome,
  type StreamCatalog,
  type StreamDirectory,
  StreamsRefusedError,
} from '@headrace/broker'
import { isoTime, STREAM_HEADER } from '@headrace/core'
import { type CommandReply, type ProblemCode, ProblemError } from '@headrace/schemas'
import type { Activity, Clock } from '@headrace/service'
import { answerWithin } from '../http/answer-within.ts'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { PreparedEvent } from './prepare-event.ts'

export interface SendEventParts {
  producer: CoalescingProducer
  streams: StreamDirectory
  catalog: Pick<StreamCatalog, 'bindingOf' | 'topicOf'>
  metrics: OrchestratorMetrics
  activity: Activity
  clock: Clock
}

/** What became of a command: its reply, or a problem for which the worker sends it again. */
export type Fate = { kind: 'reply'; reply: CommandReply } | { kind: 'again'; problem: ProblemError }

/** For Kafka, from a stream that may have to be made to the last acknowledgement. */
export const KAFKA_MS_MAX = 6_000
/** What is left for the send, however long the look for a new stream took. */
const PRODUCE_MS_LEAST = 1_000

/** Makes the stream where it is missing, writes the event, and says what became of it. */
export async function sendEvent(parts: SendEventParts, event: PreparedEvent): Promise<Fate> {
  const { producer, streams, catalog, metrics, activity } = parts
  const { id, topic, stream } = event
  const startedAtMs = performance.now()
  try {
    await ensureStream(parts, stream)
  } catch (error) {
    return fateOfStream(topic, error)
  }
  const { key, value } = event.record
  const isBound = catalog.bindingOf(stream) !== null
  const headers = isBound ? { ...event.record.headers, [STREAM_HEADER]: stream } : event.record.headers
  const record = { topic: catalog.topicOf(stream), partition: null, key, value, headers }
  const deadlineMs = Math.max(PRODUCE_MS_LEAST, KAFKA_MS_MAX - (performance.now() - startedAtMs))
  const [outcome = noOutcome] = await producer.produce([record], { deadlineMs })
  metrics.publishSeconds.observe((performance.now() - startedAtMs) / 1_000)
  if (outcome.status === 'refused' && outcome.code === 'unknown_topic') streams.forget(stream)
  if (outcome.status !== 'written') return fateOf(outcome)
  const { partition, offset: sequenceId, timestamp } = outcome
  activity.eventAccepted?.({ id, topic, partition, sequenceId })
  return replied({
    kind: 'published',
    event: { id, topic, stream, partition, sequence_id: sequenceId, created_at: isoTime(timestamp) },
  })
}

export const replied = (reply: CommandReply): Fate => ({ kind: 'reply', reply })
const refused = (code: string, detail: string): Fate => replied({ kind: 'refused', code, detail })
const again = (code: ProblemCode, detail: string): Fate => ({
  kind: 'again',
  problem: new ProblemError(code, detail),
})

async function ensureStream({ streams, clock }: SendEventParts, stream: string): Promise<void> {
  const wanted = new Set([stream])
  if (streams.knowsAll(wanted)) return
  await answerWithin(
    clock,
    KAFKA_MS_MAX - PRODUCE_MS_LEAST,
    async () => await streams.ensure(wanted),
    (ms) => new ProblemError('kafka_unavailable', `Kafka did not answer within ${ms} ms`),
  )
}

const noOutcome = {
  status: 'unknown',
  code: 'no_outcome',
  message: 'the producer told nothing about this event',
} as const

/** Of an event whose stream is not there: not to be made here, or Kafka's trouble. */
function fateOfStream(topic: string, error: unknown): Fate {
  if (error instanceof StreamsRefusedError) return refused(error.code, `${topic}: ${error.message}`)
  if (error instanceof BrokerError && error.code === 'topics_missing')
    return refused('stream_not_found', `${topic}: ${error.message}`)
  if (error instanceof BrokerError && !error.retryable)
    return refused('refused_by_kafka', `${topic}: Kafka refused its stream (${error.code}): ${error.message}`)
  if (error instanceof ProblemError) return { kind: 'again', problem: error }
  return again('kafka_unavailable', `The event was not written: ${String(error)}`)
}

/** Of what was not written: refused for good, or to be sent again under the same id. */
export function fateOf(outcome: Exclude<ProduceOutcome, { status: 'written' }>): Fate {
  const { code, message } = outcome
  const detail = `Kafka refused the event (${code}): ${message}`
  if (outcome.status === 'unknown')
    return again(
      'kafka_unavailable',
      `Kafka’s answer is missing, the event may have been written: ${message}`,
    )
  switch (code) {
    case 'record_too_large':
    case 'message_too_large':
      return refused('event_too_large', message)
    case 'producer_closed':
      return again('shutting_down', 'This instance is stopping; the event was not written')
    // The stream was removed a moment ago: the next look makes it again, or refuses it by name.
    case 'unknown_topic':
    case 'unknown_partition':
      return again('refused_by_kafka', detail)
    default:
      return outcome.retryable
        ? again('kafka_unavailable', `The event was not written (${code}): ${message}`)
        : refused('refused_by_kafka', detail)
  }
}
