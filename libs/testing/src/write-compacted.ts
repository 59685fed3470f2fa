import kafkajs, { Kafka, logLevel } from 'kafkajs'
import { eventually } from './eventually.ts'
import { readTopic } from './read-topic.ts'
import { topicMarks } from './topic-marks.ts'

/** Segments of one record each: a segment ends with a record so much younger than its first. */
const SEGMENT_MS = 1_000
/** How old the first is; they get younger with their offsets, as if so much time had gone by between them. */
const AGO_MS = 3_600_000
/** How often Kafka looks for what it may compact; its default is 15 s. */
const LOOK_EVERY_MS = 100

/**
 * Writes records, in order, to the one partition of a topic that keeps the last one of each key, and resolves when the log has
 * no others left. The last record must have a key that is nowhere else: Kafka leaves the end of a log alone.
 */
export async function writeCompacted(
  brokers: string[],
  topic: string,
  records: readonly { key: string; value: string }[],
): Promise<void> {
  const kafka = new Kafka({ clientId: 'compacted', brokers, logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  const producer = kafka.producer({ allowAutoTopicCreation: false, idempotent: true, maxInFlightRequests: 1 })
  await admin.connect()
  await producer.connect()
  try {
    const topicConfig = {
      'cleanup.policy': 'compact',
      'segment.ms': SEGMENT_MS,
      'min.cleanable.dirty.ratio': '0.001',
      'message.timestamp.type': 'CreateTime',
    }
    const configEntries = Object.entries(topicConfig).map(([name, value]) => ({ name, value: String(value) }))
    await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }], waitForLeaders: true })
    const [end] = await topicMarks(admin, topic)
    for (const [at, record] of records.entries()) {
      const timestamp = String(Date.now() - AGO_MS + (Number(end?.high) + at) * 2 * SEGMENT_MS)
      await producer.send({ topic, messages: [{ ...record, timestamp }] })
    }
    await setBrokers(admin, [{ name: 'log.cleaner.backoff.ms', value: String(LOOK_EVERY_MS) }])
    await eventually(`${topic} is compacted`, async () => {
      const keys = (await readTopic(brokers, topic)).map(({ key }) => key)
      return new Set(keys).size === keys.length
    })
  } finally {
    await setBrokers(admin, [])
    await producer.disconnect()
    await admin.disconnect()
  }
}

/** What of the brokers' settings is other than they were started with. */
async function setBrokers(
  admin: ReturnType<Kafka['admin']>,
  configEntries: { name: string; value: string }[],
): Promise<void> {
  const { brokers } = await admin.describeCluster()
  const resources = brokers.map(({ nodeId }) => ({
    type: kafkajs.ConfigResourceTypes.BROKER,
    name: String(nodeId),
    configEntries,
  }))
  await admin.alterConfigs({ validateOnly: false, resources })
}
