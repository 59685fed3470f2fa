import { CompressionTypes, Kafka, logLevel } from 'kafkajs'

/** A record as somebody else's program writes it. */
export interface ForeignRecord {
  key?: string | Buffer | null
  value: string | Buffer | null
  partition?: number
  headers?: Record<string, string | Buffer>
}

/** Writes records by a plain kafkajs producer, which shares no code with `libs/broker`; compressed if asked. Each is there once. */
export async function sendForeign(
  brokers: string[],
  topic: string,
  records: readonly ForeignRecord[],
  { gzip = false }: { gzip?: boolean } = {},
): Promise<void> {
  const kafka = new Kafka({ clientId: 'foreign', brokers, logLevel: logLevel.NOTHING })
  const producer = kafka.producer({ allowAutoTopicCreation: false, idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  try {
    const compression = gzip ? CompressionTypes.GZIP : CompressionTypes.None
    await producer.send({ topic, messages: [...records], compression })
  } finally {
    await producer.disconnect()
  }
}
