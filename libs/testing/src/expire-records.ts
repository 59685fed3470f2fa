import { Kafka, logLevel } from 'kafkajs'
import { topicMarks } from './topic-marks.ts'

/** Takes the records below an offset from a partition, as retention does. */
export async function expireRecords(
  brokers: string[],
  { topic, partition, before }: { topic: string; partition: number; before: number },
): Promise<void> {
  const admin = new Kafka({ clientId: 'retention', brokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    // kafkajs knows the leaders of topics that it was asked about before, and of no others.
    await topicMarks(admin, topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
  } finally {
    await admin.disconnect()
  }
}
