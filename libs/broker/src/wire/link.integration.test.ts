import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createBroker } from '../broker.ts'
import { linkSettings } from '../broker-config.ts'
import { Link } from './link.ts'
import { StubBroker } from './stub-broker.fixture.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
/** kafkajs looks at its deadlines ten times a second. */
const SHORT_MS = 100
const LONG_MS = 1_000_000
const metadata = { topics: ['t'], allowAutoTopicCreation: false }

let stub: StubBroker

beforeEach(async () => {
  stub = new StubBroker()
  stub.topics = [{ name: 't', errorCode: 0, partitions: 1 }]
  await stub.start()
})
afterEach(async () => await stub.stop())

const config = () => ({
  brokers: [`127.0.0.1:${stub.port}`],
  clientId: 'test',
  requestTimeoutMs: SHORT_MS,
  logger,
})

describe('a connection whose other end is gone without a word', () => {
  it('is given up at the first request that gets no answer, and the next goes over another', async () => {
    const broker = createBroker(config())
    await broker.ping()
    stub.deafen()
    await expect(broker.ping()).rejects.toMatchObject({ code: 'kafka_no_answer', sent: true })
    await expect(broker.ping()).resolves.toEqual({ brokers: [`127.0.0.1:${stub.port}`] })
    await broker.close()
  })

  it('is kept while an older request, which may take longer, holds the others up', async () => {
    const link = new Link({ host: '127.0.0.1', port: stub.port }, linkSettings(config()))
    await link.open()
    stub.deafen()
    const long = link.request('Metadata', metadata, { timeoutMs: LONG_MS }).catch((error: unknown) => error)
    await expect(link.request('Metadata', metadata)).rejects.toMatchObject({ code: 'kafka_no_answer' })
    expect(link.usable).toBe(true)
    link.close()
    expect(await long).toMatchObject({ code: 'kafka_no_answer' })
  })
})
