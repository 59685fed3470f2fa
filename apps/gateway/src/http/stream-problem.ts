import { BrokerError } from '@headrace/broker'
import { noStream } from '../streams/read-streams.ts'

/** Names the stream in what Kafka says about its topic. */
export async function streamProblem<Answer>(stream: string, work: Promise<Answer>): Promise<Answer> {
  try {
    return await work
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== 'unknown_topic') throw error
    throw noStream(stream)
  }
}
