import { BrokerError } from '@headrace/broker'
import { ProblemError } from '@headrace/schemas'

/** What Kafka, or the way to it, did to a request, in the words of the contract; null: nothing of Kafka's. */
export function problemOfKafka(error: unknown): ProblemError | null {
  if (!(error instanceof BrokerError)) return null
  switch (error.code) {
    case 'unknown_topic':
      return new ProblemError('stream_not_found', 'There is no such stream', { cause: error })
    case 'unknown_partition':
      return new ProblemError('event_not_found', 'The stream has no such partition', { cause: error })
    case 'topics_missing':
      return new ProblemError('stream_not_found', error.message, { cause: error })
    default:
      return new ProblemError(
        error.retryable ? 'kafka_unavailable' : 'refused_by_kafka',
        `Kafka did not answer as it should (${error.code}); nothing was changed as far as is known`,
        { cause: error },
      )
  }
}
