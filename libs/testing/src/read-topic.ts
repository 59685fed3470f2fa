import { randomBytes } from 'node:crypto'
import { Kafka, logLevel } from 'kafkajs'
import { topicMarks } from './topic-marks.ts'

/** A record as it stands in the log. */
export interface LogRecord {
  partition: number
  offset: number
  /** Milliseconds since the epoch. */
  timestamp: number
  key: string | null
  value: string | null
  headers: Record<string, string>
}

/**
 * Every record of a topic up to its present end, by partition and offset. An independent witness: a plain kafkajs
 * consumer that shares no code with `libs/broker`, so that a fault there cannot hide itself.
 */
export async function readTopic(brokers: string[], topic: string): Promise<LogRecord[]> {
  const kafka = new Kafka({ clientId: 'witness', brokers, logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  const groupId = `witness-${randomBytes(6).toString('hex')}`
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false, maxWaitTimeInMs: 100 })
  await admin.connect()
  try {
    const unread = new Map<number, number>()
    for (const { partition, low, high } of await topicMarks(admin, topic)) {
      if (Number(high) > Number(low)) unread.set(partition, Number(high) - 1)
    }
    const records: LogRecord[] = []
    if (unread.size > 0) {
      const { promise: read, resolve } = Promise.withResolvers<void>()
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatch: ({ batch }) => {
          for (const message of batch.messages) {
            records.push(toRecord(batch.partition, message))
          }
          const last = unread.get(batch.partition)
          if (last !== undefined && Number(batch.lastOffset()) >= last) unread.delete(batch.partition)
          if (unread.size === 0) resolve()
          return Promise.resolve()
        },
      })
      await read
    }
    return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset)
  } finally {
    await consumer.disconnect()
    // The group was ours alone; one that never joined is not there.
    await admin.deleteGroups([groupId]).catch(() => undefined)
    await admin.disconnect()
  }
}

interface RawMessage {
  offset: string
  timestamp: string
  key: Buffer | null
  value: Buffer | null
  headers?: Record<string, Buffer | string | (Buffer | string)[] | undefined>
}

function toRecord(partition: number, { offset, timestamp, key, value, headers = {} }: RawMessage): LogRecord {
  return {
    partition,
    offset: Number(offset),
    timestamp: Number(timestamp),
    key: key?.toString() ?? null,
    value: value?.toString() ?? null,
    headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, String(text)])),
  }
}
