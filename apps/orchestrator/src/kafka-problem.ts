import { BrokerError } from '@headrace/broker'
import { ProblemError } from '@headrace/schemas'

/** Kafka's refusals as problems; null: the failure is not Kafka's. */
export function kafkaProblem(error: unknown): ProblemError | null {
  if (!(error instanceof BrokerError)) return null
  if (error.code === 'topics_missing' || error.code === 'unknown_topic') {
    return new ProblemError('stream_not_found', error.message, { cause: error })
  }
  return new ProblemError('kafka_unavailable', `Kafka: ${error.message}`, { cause: error })
}
