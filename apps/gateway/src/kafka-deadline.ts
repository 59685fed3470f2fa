import { ProblemError } from '@headrace/schemas'

/**
 * The answer of Kafka, or after `ms` the problem `kafka_unavailable`: nobody who asks the gateway waits for longer.
 * What was asked goes on behind the scenes; its own limits end it.
 */
export async function withinDeadline<Answer>(work: Promise<Answer>, ms: number): Promise<Answer> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new ProblemError('kafka_unavailable', `Kafka did not answer within ${Math.round(ms)} ms`)),
    ms,
  )
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
