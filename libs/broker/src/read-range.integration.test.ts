import { eventually, infra } from '@headrace/testing'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, createBroker } from './broker.ts'
import type { RangeChunk, ReadRange } from './read-range.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
let broker: Broker
let brokers: string[]
let topic: string

async function read(
  range: Omit<ReadRange, 'topic' | 'partition'>,
): Promise<{ values: string[]; last: RangeChunk }> {
  const values: string[] = []
  let last: RangeChunk | null = null
  for await (const chunk of broker.readRange({ topic, partition: 0, ...range })) {
    expect(last?.end ?? null).toBeNull()
    values.push(...chunk.records.map(({ offset, value }) => `${offset}=${value?.toString()}`))
    last = chunk
  }
  return { values, last: last! }
}

beforeAll(async () => {
  const given = await infra()
  brokers = given.brokers
  broker = createBroker({ brokers, clientId: 'test', logger })
  topic = `${given.prefix}.ranges`
  await broker.topics.ensureTopics([{ name: topic, partitions: 1, config: {} }])
  // 0 1: plain · 2 and its mark 3: committed · 4 and its mark 5: aborted
  const producer = broker.producer()
  await producer.produce(
    ['a', 'b'].map((value) => ({ topic, partition: 0, key: null, value, headers: { h: 'x' } })),
  )
  const kafka = new Kafka({ brokers, clientId: 'witness', logLevel: logLevel.NOTHING })
  const transactional = kafka.producer({
    idempotent: true,
    transactionalId: `${topic}.tx`,
    maxInFlightRequests: 1,
  })
  await transactional.connect()
  for (const [value, end] of [
    ['c', 'commit'],
    ['d', 'abort'],
  ] as const) {
    const transaction = await transactional.transaction()
    await transaction.send({ topic, messages: [{ value, partition: 0 }] })
    await transaction[end]()
  }
  await transactional.disconnect()
})

afterAll(async () => await broker.close())

it('the stable end lies before a transaction that is open, and behind what was committed and aborted', async () => {
  const kafka = new Kafka({ brokers, clientId: 'witness', logLevel: logLevel.NOTHING })
  const name = `${topic}.open`
  await broker.topics.ensureTopics([{ name, partitions: 2, config: {} }])
  const producer = kafka.producer({ idempotent: true, transactionalId: `${name}.tx`, maxInFlightRequests: 1 })
  await producer.connect()
  const transaction = await producer.transaction()
  await transaction.send({ topic: name, messages: [{ value: 'a', partition: 0 }] })
  expect(await broker.stableEnds(name)).toEqual(
    new Map([
      [0, 0],
      [1, 0],
    ]),
  )
  expect((await broker.offsets(name)).get(0)).toEqual({ low: 0, high: 1 })
  await transaction.abort()
  await producer.disconnect()
  await eventually('the abort is written', async () => (await broker.stableEnds(name)).get(0) === 2)
})

describe('reading a range of a partition', () => {
  it('gives what was committed, and the end of the log behind an aborted tail', async () => {
    const { values, last } = await read({ from: 0, to: null })
    expect(values).toEqual(['0=a', '1=b', '2=c'])
    expect(last).toMatchObject({ end: 'log_end', nextOffset: 6, highWatermark: 6, lowWatermark: 0 })
  })

  it('stops before the offset asked for', async () => {
    const { values, last } = await read({ from: 1n, to: 2n })
    expect(values).toEqual(['1=b'])
    expect(last).toMatchObject({ end: 'reached_to', nextOffset: 2 })
  })

  it('proves a hole: nothing between, and it was reached', async () => {
    const { values, last } = await read({ from: 3, to: 6 })
    expect(values).toEqual([])
    expect(last).toMatchObject({ end: 'reached_to', nextOffset: 6 })
  })

  it('at the end of the log shows nothing', async () => {
    expect((await read({ from: 6, to: null })).last).toMatchObject({
      end: 'log_end',
      nextOffset: 6,
      records: [],
    })
  })

  it('outside the log says so, with the marks', async () => {
    expect((await read({ from: 99, to: null })).last).toMatchObject({
      end: 'out_of_range',
      nextOffset: 99,
      lowWatermark: 0,
      highWatermark: 6,
    })
  })

  it('comes in chunks, none skipped and none twice', async () => {
    const { values } = await read({ from: 0, to: null, maxBytes: 1 })
    expect(values).toEqual(['0=a', '1=b', '2=c'])
  })

  it('keeps key, headers, time and size of a record', async () => {
    for await (const { records } of broker.readRange({ topic, partition: 0, from: 0, to: 1 })) {
      for (const record of records) {
        expect(record).toMatchObject({ key: null, headers: { h: Buffer.from('x') }, bytes: 3 })
        expect(record.timestamp).toBeGreaterThan(1_500_000_000_000)
      }
    }
  })

  it('ends with the signal', async () => {
    await expect(read({ from: 0, to: null, signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    )
  })

  it('of a topic or partition that does not exist is an error with a code', async () => {
    const next = async (range: ReadRange) => await broker.readRange(range).next()
    await expect(next({ topic: `${topic}.no`, partition: 0, from: 0, to: null })).rejects.toMatchObject({
      code: 'unknown_topic',
    })
    await expect(next({ topic, partition: 7, from: 0, to: null })).rejects.toMatchObject({
      code: 'unknown_partition',
    })
  })
})

describe('offsets', () => {
  it('are the marks of each partition, for writers', async () => {
    expect(await broker.offsets(topic)).toEqual(new Map([[0, { low: 0, high: 6 }]]))
  })

  it('of a time are the first record not older, or none', async () => {
    expect(await broker.offsetsForTime(topic, 0)).toEqual(new Map([[0, 0]]))
    expect(await broker.offsetsForTime(topic, Date.now() + 3_600_000)).toEqual(new Map([[0, null]]))
  })

  it('of an unknown topic are an error with a code', async () => {
    await expect(broker.offsets(`${topic}.no`)).rejects.toMatchObject({
      code: 'unknown_topic',
      retryable: false,
    })
  })
})
