import { eventually, type OwnKafka, readTopic, startOwnKafka } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, createBroker } from './broker.ts'
import type { ProduceOutcome } from './produce/produce-outcome.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
let kafka: OwnKafka
let broker: Broker

beforeAll(async () => {
  kafka = await startOwnKafka()
  broker = createBroker({ brokers: kafka.brokers, clientId: 'test', logger })
})
afterAll(async () => await broker.close())

describe('while Kafka is away', () => {
  it('callers are answered within their deadline, nothing reported written is lost, and all goes on when it is back', async () => {
    const topic = 'outage.events'
    await broker.topics.ensureTopics([{ name: topic, partitions: 2, config: {} }])
    const seen: string[] = []
    const consumer = broker.consumer({
      groupId: 'outage.group',
      topics: [topic],
      fromBeginning: true,
      heartbeatIntervalMs: 300,
      lane: () => ({
        isFull: () => false,
        push: ({ records }) => {
          for (const { value } of records) seen.push(String(value))
          return 'accepted'
        },
      }),
    })
    consumer.start()
    const producer = broker.producer()
    const answers = new Map<string, ProduceOutcome>()
    let next = 0
    const writing = new AbortController()
    // Writers go on through the whole outage; what they are told is compared with the log at the end.
    const write = async (deadlineMs: number) => {
      const value = String(next)
      next += 1
      const [outcome] = await producer.produce([{ topic, partition: null, key: value, value, headers: {} }], {
        deadlineMs,
      })
      answers.set(value, outcome!)
      return outcome!
    }
    const writers = Array.from({ length: 8 }, async () => {
      while (!writing.signal.aborted) await write(500)
    })
    const count = (status: ProduceOutcome['status']) =>
      [...answers.values()].filter((outcome) => outcome.status === status).length
    await eventually('written', () => count('written') > 500)

    await kafka.kill()
    await kafka.refused()
    await expect(broker.ping()).rejects.toMatchObject({ code: 'kafka_unreachable', retryable: true })
    await eventually('refused', () => count('refused') > 20)
    expect(await write(200)).toMatchObject({ status: 'refused', code: 'kafka_unreachable', retryable: true })
    await kafka.start()

    const before = count('written')
    await eventually('written again', () => count('written') > before + 500)
    writing.abort()
    await Promise.all(writers)
    await eventually('all read', () => seen.length >= count('written'))
    const log = (await readTopic(kafka.brokers, topic)).map(({ value }) => value!)
    const inLog = new Map<string, number>()
    for (const value of log) inLog.set(value, (inLog.get(value) ?? 0) + 1)
    const copies = (status: ProduceOutcome['status']) =>
      new Set(
        [...answers]
          .filter(([, outcome]) => outcome.status === status)
          .map(([value]) => inLog.get(value) ?? 0),
      )
    expect(copies('written')).toEqual(new Set([1]))
    expect(copies('refused')).toEqual(new Set([0]))
    await eventually('the consumer saw the log', () => new Set(seen).size === new Set(log).size)
    await consumer.stop()
  })
})
