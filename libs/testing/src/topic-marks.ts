import type { Admin, SeekEntry } from 'kafkajs'
import { eventually } from './eventually.ts'

/**
 * The marks of a topic's partitions. A broker that has been told to lead a new partition says for a moment that it does not:
 * kafkajs takes that for an answer, so it is asked again.
 */
export async function topicMarks(
  admin: Admin,
  topic: string,
): Promise<(SeekEntry & { high: string; low: string })[]> {
  return await eventually(`the marks of ${topic} are told`, async () => {
    try {
      return await admin.fetchTopicOffsets(topic)
    } catch (error) {
      if (error instanceof Error && 'retriable' in error && error.retriable === true) return null
      throw error
    }
  })
}
