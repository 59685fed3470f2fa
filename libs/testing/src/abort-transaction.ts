import { Kafka, logLevel } from 'kafkajs'

/**
 * Writes a record to one partition inside a transaction, and aborts it: what stays are two offsets, the record's and the
 * control record's, which no reader of committed records ever sees. Behind everything else, as a tail.
 */
export async function abortTransaction(brokers: string[], topic: string, partition: number): Promise<void> {
  const kafka = new Kafka({ clientId: 'transactional', brokers, logLevel: logLevel.NOTHING })
  const producer = kafka.producer({
    idempotent: true,
    transactionalId: `${topic}.${partition}.aborted`,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  try {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'never', partition }] })
    await transaction.abort()
  } finally {
    await producer.disconnect()
  }
}
