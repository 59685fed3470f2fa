import { infra, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, createBroker } from '../broker.ts'
import type { BrokerLogger, TopicSettings } from '../broker-config.ts'
import { partitionFor } from './partition-for.ts'
import { eventsTopic } from './topic-plan.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
let brokers: string[]
let prefix: string
const open: Broker[] = []

function connect(topics: TopicSettings = {}, log: BrokerLogger = logger): Broker {
  const broker = createBroker({ brokers, clientId: 'test', logger: log, topics })
  open.push(broker)
  return broker
}

beforeAll(async () => {
  const given = await infra()
  brokers = given.brokers
  prefix = given.prefix
})
afterAll(async () => {
  for (const broker of open) await broker.close()
})

describe('topics', () => {
  it('are made once with their plan, and say where they fall short of production', async () => {
    const broker = connect()
    const wanted = [{ ...eventsTopic(prefix, 'made'), partitions: 3 }]
    const first = await broker.topics.ensureTopics(wanted)
    expect(first.created).toEqual([`${prefix}.events.made`])
    expect(first.warnings.map(({ code }) => code)).toEqual([
      'replication_below_production',
      'min_insync_replicas_below_production',
    ])
    expect(await broker.topics.ensureTopics(wanted)).toEqual({
      created: [],
      existing: [`${prefix}.events.made`],
      warnings: [],
    })
    const configs = (await broker.topics.configs([`${prefix}.events.made`])).get(`${prefix}.events.made`)
    expect(configs?.get('message.timestamp.type')).toEqual({ value: 'LogAppendTime', own: true })
    expect(await broker.topics.list(`${prefix}.events.m`)).toEqual([`${prefix}.events.made`])
  })

  it('are made by the brokers’ own defaults where the factor is left to them, and what they are is said once', async () => {
    const said: string[] = []
    const log = { ...logger, warn: (_fields: object, message = '') => said.push(message) }
    const { topics } = connect({ replicationFactor: -1 }, log)
    const plans = ['defaults', 'defaults-too'].map((stream) => eventsTopic(prefix, stream))
    for (const plan of plans) await topics.ensureTopics([{ ...plan, partitions: 1 }])
    const [name] = plans.map((plan) => plan.name)
    expect((await topics.configs([name!])).get(name!)?.get('min.insync.replicas')?.own).toBe(false)
    expect(said).toEqual([
      'topics are made with replication factor 1; production wants 3',
      'topics are made with min.insync.replicas 1; production wants 2',
    ])
  })

  it('made by two at once are made once', async () => {
    const wanted = [{ ...eventsTopic(prefix, 'raced'), partitions: 1 }]
    const reports = await Promise.all(
      [connect(), connect()].map(async ({ topics }) => await topics.ensureTopics(wanted)),
    )
    expect(reports.flatMap(({ created }) => created)).toEqual([`${prefix}.events.raced`])
  })

  it('that exist are left as they are, and the difference is said', async () => {
    const { topics } = connect()
    const plan = eventsTopic(prefix, 'kept')
    await topics.ensureTopics([{ ...plan, partitions: 1 }])
    const config = { ...plan.config, 'retention.ms': '1' }
    const { warnings } = await topics.ensureTopics([{ ...plan, config, partitions: 2 }])
    expect(warnings.map(({ code }) => code)).toEqual(['topic_partitions_differ', 'topic_config_differs'])
  })

  it('that are missing fail the start where they may only be verified, and are not asked for where that is off', async () => {
    const wanted = [{ ...eventsTopic(prefix, 'absent'), partitions: 1 }]
    await expect(connect({ mode: 'verify' }).topics.ensureTopics(wanted)).rejects.toMatchObject({
      code: 'topics_missing',
      message: expect.stringContaining(`${prefix}.events.absent`) as string,
    })
    expect(await connect({ mode: 'off' }).topics.ensureTopics(wanted)).toMatchObject({
      created: [],
      existing: [],
    })
    expect((await connect().topics.describe([`${prefix}.events.absent`])).failed.size).toBe(1)
  })

  it('keep their other settings when one is changed', async () => {
    const { topics } = connect()
    const plan = eventsTopic(prefix, 'altered')
    await topics.ensureTopics([{ ...plan, partitions: 1 }])
    await topics.alterConfigs(plan.name, { 'retention.ms': '86400000' })
    const after = (await topics.configs([plan.name])).get(plan.name)
    expect(after?.get('retention.ms')).toEqual({ value: '86400000', own: true })
    expect(after?.get('max.message.bytes')).toEqual({ value: '2097152', own: true })
  })

  it('that were deleted are refused for writing, and the others are written', async () => {
    const broker = connect()
    const gone = eventsTopic(prefix, 'gone')
    const stays = eventsTopic(prefix, 'stays')
    await broker.topics.ensureTopics([gone, stays].map((plan) => ({ ...plan, partitions: 1 })))
    const producer = broker.producer()
    const records = [gone, stays].map(({ name }) => ({
      topic: name,
      partition: null,
      key: 'k',
      value: '1',
      headers: {},
    }))
    expect((await producer.produce(records)).map(({ status }) => status)).toEqual(['written', 'written'])
    await broker.topics.deleteTopic(gone.name)
    await broker.topics.deleteTopic(gone.name)
    expect(await producer.produce(records)).toMatchObject([
      { status: 'refused', code: 'unknown_topic' },
      { status: 'written', offset: 1 },
    ])
  })
})

describe('a record written', () => {
  it('is where its answer says, with what it was given, for any other client', async () => {
    const broker = connect()
    const plan = eventsTopic(prefix, 'witnessed')
    await broker.topics.ensureTopics([{ ...plan, partitions: 4 }])
    const records = Array.from({ length: 50 }, (_, index) => ({
      topic: plan.name,
      partition: null,
      key: `key-${index}`,
      value: index % 10 === 0 ? null : `value-${index}`,
      headers: { ce_id: String(index), bytes: Buffer.from('ü') },
    }))
    const outcomes = await broker.producer().produce(records)
    const log = await readTopic(brokers, plan.name)
    expect(log).toHaveLength(50)
    for (const [index, outcome] of outcomes.entries()) {
      const found = log.find(({ headers }) => headers['ce_id'] === String(index))
      const { key, value } = records[index]!
      expect(outcome).toEqual({
        status: 'written',
        partition: found!.partition,
        offset: found!.offset,
        timestamp: found!.timestamp,
      })
      expect(found).toMatchObject({ key, value, partition: partitionFor(key, 4), headers: { bytes: 'ü' } })
    }
  })

  it('may be larger than a request: up to 2 MiB', async () => {
    const broker = connect()
    const plan = eventsTopic(prefix, 'large')
    await broker.topics.ensureTopics([{ ...plan, partitions: 1 }])
    const value = 'x'.repeat(1_900_000)
    expect(
      await broker.producer().produce([{ topic: plan.name, partition: 0, key: null, value, headers: {} }]),
    ).toMatchObject([{ status: 'written', offset: 0 }])
  })
})
