import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Broker, createBroker } from '../broker.ts'
import type { OutgoingRecord } from '../records.ts'
import { StubBroker, type StubBatch } from '../wire/stub-broker.fixture.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const record = (value: string, partition = 0, topic = 't'): OutgoingRecord => ({
  topic,
  partition,
  key: null,
  value,
  headers: {},
})
const fine = ({ topic, partition }: StubBatch, baseOffset = 0) => ({
  topic,
  partition,
  errorCode: 0,
  baseOffset,
})
const NOT_LEADER = 6
const MESSAGE_TOO_LARGE = 10
const UNKNOWN_TOPIC = 3

let stub: StubBroker
let broker: Broker

beforeEach(async () => {
  stub = new StubBroker()
  stub.topics = [{ name: 't', errorCode: 0, partitions: 2 }]
  await stub.start()
  broker = createBroker({ brokers: [`127.0.0.1:${stub.port}`], clientId: 'test', logger })
})

afterEach(async () => {
  await broker.close()
  await stub.stop()
})

describe("where kafkajs's producer would lose or repeat records", () => {
  it('a lost answer is followed by the same batch under the same numbers, and nothing overtakes it', async () => {
    stub.react = (batches, request) => (request === 1 ? 'cut' : batches.map((batch) => fine(batch, 7)))
    const producer = broker.producer()
    const first = producer.produce([record('a'), record('b')])
    await vi.waitUntil(() => stub.produced.length > 0)
    const second = producer.produce([record('c')])
    expect(await first).toMatchObject([
      { status: 'written', offset: 7 },
      { status: 'written', offset: 8 },
    ])
    expect(await second).toMatchObject([{ status: 'written' }])
    const [lost, resent, next] = stub.produced.map(([batch]) => batch!)
    expect(resent).toEqual(lost)
    expect(next).toMatchObject({ firstSequence: 2, records: 1, producerId: lost!.producerId })
  })

  it('answers that never come make it unknown within the deadline, and the next send takes a new identity', async () => {
    stub.react = () => 'cut'
    const reasons: string[] = []
    const producer = broker.producer({ onProducerRecreated: (reason) => reasons.push(reason) })
    expect(await producer.produce([record('a')], { deadlineMs: 500 })).toMatchObject([
      { status: 'unknown', code: 'kafka_no_answer' },
    ])
    expect(reasons).toHaveLength(1)
    stub.react = (batches) => batches.map((batch) => fine(batch))
    expect(await producer.produce([record('b')])).toMatchObject([{ status: 'written' }])
    const identities = new Set(stub.produced.map(([batch]) => batch!.producerId))
    expect(identities.size).toBe(2)
    expect(stub.produced.at(-1)![0]).toMatchObject({ firstSequence: 0 })
  })

  it("one partition's error in an answer leaves the others their results, and they are not sent again", async () => {
    stub.react = (batches) =>
      batches.map((batch) =>
        batch.partition === 0 ? { ...fine(batch), errorCode: MESSAGE_TOO_LARGE } : fine(batch),
      )
    const producer = broker.producer()
    expect(await producer.produce([record('a', 0), record('b', 1)])).toMatchObject([
      { status: 'refused', code: 'message_too_large' },
      { status: 'written', partition: 1 },
    ])
    expect(stub.produced).toHaveLength(1)
  })

  it('a partition that is missing in the answer is not written: unknown, when nothing more is heard of it', async () => {
    stub.react = (batches) => batches.filter(({ partition }) => partition === 1).map((batch) => fine(batch))
    const producer = broker.producer()
    expect(await producer.produce([record('a', 0), record('b', 1)], { deadlineMs: 500 })).toMatchObject([
      { status: 'unknown', code: 'kafka_no_answer' },
      { status: 'written' },
    ])
  })

  it('a leader that moved is asked again with the same numbers, since it may have written', async () => {
    stub.react = (batches, request) =>
      batches.map((batch) =>
        request === 1 ? { ...fine(batch), errorCode: NOT_LEADER, baseOffset: -1 } : fine(batch, 3),
      )
    const producer = broker.producer()
    expect(await producer.produce([record('a')])).toMatchObject([{ status: 'written', offset: 3 }])
    expect(stub.produced[1]).toEqual(stub.produced[0])
  })
})

describe("where kafkajs's metadata would stop everything", () => {
  it("one topic's error does not touch the others", async () => {
    stub.topics = [
      { name: 'gone', errorCode: UNKNOWN_TOPIC, partitions: 0 },
      { name: 't', errorCode: 0, partitions: 2 },
    ]
    stub.react = (batches) => batches.map((batch) => fine(batch))
    const described = await broker.topics.describe(['gone', 't'])
    expect(described.known).toEqual(new Map([['t', { partitions: 2 }]]))
    expect(described.failed).toEqual(new Map([['gone', 'unknown_topic']]))
    expect(await broker.producer().produce([record('a', 0, 'gone'), record('b', 0, 't')])).toMatchObject([
      { status: 'refused', code: 'unknown_topic' },
      { status: 'written' },
    ])
  })
})
