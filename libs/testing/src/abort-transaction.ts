import { Kafka, logLevel } from 'kafkajs'

/**
 * Writes records to one partition inside a transaction, one unless said, and aborts it: what stays are their offsets and the
 * control record's, which no reader of committed records ever sees. Behind everything else, as a tail.
 */
export async function abortTransaction(
  brokers: string[],
  topic: string,
  partition: number,
  values: readonly string[] = ['never'],
): Promise<void> {
  const kafka = new Kafka({ clientId: 'transactional', brokers, logLevel: logLevel.NOTHING })
  const producer = kafka.producer({
    idempotent: true,
    transactionalId: `${topic}.${partition}.aborted`,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  try {
    const transaction = await producer.transaction()
    for (const value of values) await transaction.send({ topic, messages: [{ value, partition }] })
    await transaction.abort()
  } finally {
    await producer.disconnect()
  }
}
