import { abortTransaction, eventually, infra } from '@headrace/testing'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Broker, createBroker } from '../broker.ts'
import type { CoalescingProducer } from '../produce/produce-outcome.ts'
import type { IncomingBatch } from '../records.ts'
import type { LanedConsumer, LanedConsumerOptions, LaneHandler, PushAnswer } from './lane.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
let brokers: string[]
let prefix: string
let broker: Broker
let producer: CoalescingProducer
let count = 0
let topic: string
const consumers: LanedConsumer[] = []

/** An owner that takes everything, and remembers it. */
class Owner {
  readonly values: string[] = []
  readonly batches: IncomingBatch[] = []
  readonly heads = new Map<string, number>()
  readonly made: string[] = []
  readonly lost: string[] = []
  readonly missing: (readonly string[])[] = []
  answer: (batch: IncomingBatch) => PushAnswer = () => 'accepted'
  full = false
  consumer!: LanedConsumer

  start(options: Partial<LanedConsumerOptions> & { handler?: Partial<LaneHandler> } = {}): this {
    this.consumer = broker.consumer({
      groupId: `${topic}.group`,
      topics: [topic],
      fromBeginning: true,
      heartbeatIntervalMs: 200,
      metadataIntervalMs: 300,
      maxWaitMs: 100,
      lane: (args) => this.#lane(args, options.handler ?? {}),
      onTopicsMissing: (missing) => this.missing.push(missing),
      ...options,
    })
    consumers.push(this.consumer)
    this.consumer.start()
    return this
  }

  #lane(
    { topic: name, partition, signal }: { topic: string; partition: number; signal: AbortSignal },
    handler: Partial<LaneHandler>,
  ) {
    const key = `${name}/${partition}`
    this.made.push(key)
    signal.addEventListener('abort', () => this.lost.push(key))
    return {
      isFull: () => this.full,
      push: (batch: IncomingBatch) => {
        const answer = this.answer(batch)
        if (answer !== 'accepted') return answer
        this.batches.push(batch)
        for (const { value } of batch.records) this.values.push(String(value))
        return answer
      },
      atHead: ({ position }: { position: number }) => this.heads.set(key, position),
      ...handler,
    }
  }

  owns(): string[] {
    return this.consumer.assignment
      .flatMap(({ topic: name, partitions }) => partitions.map((one) => `${name}/${one}`))
      .sort()
  }
}

async function write(values: string[], to: { topic?: string; partition?: number } = {}): Promise<void> {
  const records = values.map((value) => ({
    topic: to.topic ?? topic,
    partition: to.partition ?? null,
    key: value,
    value,
    headers: {},
  }))
  const outcomes = await producer.produce(records)
  expect(outcomes.filter(({ status }) => status !== 'written')).toEqual([])
}

async function makeTopic(name: string, partitions: number): Promise<void> {
  await broker.topics.ensureTopics([{ name, partitions, config: {} }])
}

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => String(from + index))
const numeric = (values: readonly string[]) => values.map(Number).sort((a, b) => a - b)

beforeAll(async () => {
  const given = await infra()
  brokers = given.brokers
  prefix = given.prefix
  broker = createBroker({ brokers, clientId: 'test', logger })
  producer = broker.producer()
})
afterAll(async () => await broker.close())
beforeEach(() => {
  count += 1
  topic = `${prefix}.lanes-${count}`
})
afterEach(async () => await Promise.all(consumers.splice(0).map(async (consumer) => await consumer.stop())))

describe('lanes', () => {
  it('see every record once, in order, and learn that they are at the head', async () => {
    await makeTopic(topic, 3)
    await write(numbers(0, 100))
    const owner = new Owner().start()
    await eventually('all read', () => owner.values.length === 100)
    await write(numbers(100, 200))
    await eventually('all read', () => owner.values.length === 200)
    expect(numeric(owner.values)).toEqual(numbers(0, 200).map(Number))
    const marks = await broker.offsets(topic)
    await eventually('all at the head', () =>
      [...marks].every(([partition, { high }]) => owner.heads.get(`${topic}/${partition}`) === high),
    )
    for (const batches of [0, 1, 2].map((one) =>
      owner.batches.filter(({ partition }) => partition === one),
    )) {
      let position = 0
      for (const batch of batches) {
        expect(batch.fetchedOffset).toBe(position)
        position = batch.nextOffset
      }
    }
  })

  it('pass over an aborted tail and find the head behind it', async () => {
    await makeTopic(topic, 1)
    await abortTransaction(brokers, topic, 0)
    const owner = new Owner().start()
    await eventually('at the head', () => owner.heads.get(`${topic}/0`) === 2)
    expect(owner.values).toEqual([])
    expect(owner.batches.at(-1)).toMatchObject({ records: [], nextOffset: 2 })
  })

  it('stay before a transaction that is open, and reach the end once it is aborted', async () => {
    await makeTopic(topic, 1)
    await write(['a', 'b'])
    const kafka = new Kafka({ brokers, clientId: 'witness', logLevel: logLevel.NOTHING })
    const transactional = kafka.producer({
      idempotent: true,
      transactionalId: `${topic}.tx`,
      maxInFlightRequests: 1,
    })
    await transactional.connect()
    const transaction = await transactional.transaction()
    await transaction.send({ topic, messages: [{ value: 'never', partition: 0 }] })
    await write(['behind'])
    const owner = new Owner().start()
    await eventually('at the head', () => owner.heads.get(`${topic}/0`) === 2)
    expect(owner.values).toEqual(['a', 'b'])
    expect(await broker.stableEnds(topic)).toEqual(new Map([[0, 2]]))
    await transaction.abort()
    await transactional.disconnect()
    await eventually('at the end', () => owner.heads.get(`${topic}/0`) === 5)
    expect(owner.values).toEqual(['a', 'b', 'behind'])
    expect(await broker.stableEnds(topic)).toEqual(new Map([[0, 5]]))
  })

  it('start where their owner says, and not before it could say so', async () => {
    await makeTopic(topic, 2)
    await write(numbers(0, 10), { partition: 0 })
    await write(numbers(10, 20), { partition: 1 })
    let asked = 0
    const owner = new Owner().start({
      onAssigned: async (added) => {
        asked += 1
        if (asked < 3) throw new Error('the cursors cannot be read yet')
        expect(added).toEqual([{ topic, partitions: [0, 1] }])
        return await Promise.resolve(new Map([[`${topic}/0`, 7]]))
      },
    })
    await eventually('read', () => owner.values.length === 13)
    expect(numeric(owner.values)).toEqual([...numbers(7, 10), ...numbers(10, 20)].map(Number))
    expect(asked).toBe(3)
  })

  it('that are full, paused or failing hold up no other, and lose nothing', async () => {
    await makeTopic(topic, 4)
    let refusals = 3
    let throws = 1
    const owner = new Owner()
    owner.answer = ({ partition }) => {
      if (partition === 0 && refusals > 0) {
        refusals -= 1
        return 'full'
      }
      if (partition === 1 && throws > 0) {
        throws -= 1
        throw new TypeError('a fault of the owner')
      }
      return 'accepted'
    }
    owner.start()
    await eventually('assigned', () => owner.owns().length === 4)
    owner.consumer.pause(topic, 2)
    for (const partition of [0, 1, 2, 3]) await write([String(partition)], { partition })
    await eventually('the others read', () => owner.values.length === 3)
    expect(numeric(owner.values)).toEqual([0, 1, 3])
    owner.consumer.resume(topic, 2)
    await eventually('the paused one read', () => owner.values.includes('2'))
  })

  it('are not fetched while full', async () => {
    await makeTopic(topic, 1)
    await write(numbers(0, 5))
    const owner = new Owner()
    owner.full = true
    owner.answer = () => (owner.full ? 'full' : 'accepted')
    owner.start()
    await eventually('assigned', () => owner.owns().length === 1)
    owner.full = false
    await eventually('read', () => owner.values.length === 5)
  })

  it('go on where they were sought, from inside and outside', async () => {
    await makeTopic(topic, 1)
    await write(numbers(0, 5))
    const owner = new Owner()
    let again = true
    owner.answer = () => {
      if (!again) return 'accepted'
      again = false
      return { seek: 3 }
    }
    owner.start()
    await eventually('read', () => owner.values.length === 2)
    owner.consumer.seek(topic, 0, 1)
    await eventually('read again', () => owner.values.length === 6)
    expect(owner.values).toEqual(['3', '4', '1', '2', '3', '4'])
  })

  it('whose position is outside the log ask their owner, and jump nowhere by themselves', async () => {
    await makeTopic(topic, 1)
    await write(numbers(0, 3))
    const asked: object[] = []
    const owner = new Owner().start({
      onAssigned: async () => await Promise.resolve(new Map([[`${topic}/0`, 1_000]])),
      handler: {
        outOfRange: (range) => {
          asked.push(range)
          return 1
        },
      },
    })
    await eventually('read', () => owner.values.length === 2)
    expect(asked).toEqual([{ position: 1_000, low: 0, high: 3 }])
  })
})

describe('the group', () => {
  it('shares lanes with a newcomer; those that stay keep their position; those of a leaver are taken over', async () => {
    await makeTopic(topic, 4)
    await write(numbers(0, 40))
    const first = new Owner().start()
    await eventually('all read', () => first.values.length === 40)
    const second = new Owner().start({ fromBeginning: false })
    await eventually('shared', () => first.owns().length === 2 && second.owns().length === 2)
    expect(first.made).toHaveLength(4)
    expect(first.lost.sort()).toEqual(second.owns())
    await eventually('the newcomer is at the head', () => second.owns().every((key) => second.heads.has(key)))
    await write(numbers(40, 80))
    await eventually('all read', () => first.values.length + second.values.length === 80)
    expect(numeric([...first.values, ...second.values])).toEqual(numbers(0, 80).map(Number))
    await first.consumer.flushCommits()
    await first.consumer.stop()
    expect(first.consumer.assignment).toEqual([])
    await eventually('taken over', () => second.owns().length === 4)
  })

  it('goes on at the offset that was committed', async () => {
    await makeTopic(topic, 1)
    await write(numbers(0, 10))
    const first = new Owner().start()
    await eventually('read', () => first.values.length === 10)
    first.consumer.commit(topic, 0, 6)
    await first.consumer.stop()
    const second = new Owner().start()
    await eventually('read', () => second.values.length === 4)
    expect(second.values).toEqual(numbers(6, 10))
  })

  it('gives a topic only to members that want it, whoever leads', async () => {
    const other = `${topic}.other`
    await makeTopic(topic, 2)
    await makeTopic(other, 2)
    const first = new Owner().start()
    const second = new Owner().start({ topics: [other] })
    const third = new Owner().start({ topics: [topic, other] })
    await eventually('all owned', () => {
      const all = [...first.owns(), ...second.owns(), ...third.owns()].sort()
      return all.join() === [`${other}/0`, `${other}/1`, `${topic}/0`, `${topic}/1`].sort().join()
    })
    expect(first.owns().every((key) => key.startsWith(`${topic}/`))).toBe(true)
    expect(second.owns().every((key) => key.startsWith(`${other}/`))).toBe(true)
  })

  it('notices new partitions', async () => {
    await makeTopic(topic, 1)
    const owner = new Owner().start()
    await eventually('assigned', () => owner.owns().length === 1)
    const admin = new Kafka({ brokers, clientId: 'witness', logLevel: logLevel.NOTHING }).admin()
    await admin.connect()
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    await admin.disconnect()
    await eventually('assigned', () => owner.owns().length === 3)
    expect(owner.lost).toEqual([])
  })

  it('leaves out topics that do not exist, says so, and joins them when they are made', async () => {
    const later = `${topic}.later`
    await makeTopic(topic, 1)
    const owner = new Owner().start({ topics: [topic, later] })
    await eventually('assigned', () => owner.owns().length === 1)
    expect(owner.missing).toEqual([[later]])
    await makeTopic(later, 2)
    await write(['new'], { topic: later })
    await eventually('read', () => owner.values.includes('new'))
    expect(owner.missing).toEqual([[later], []])
    expect(owner.lost).toEqual([])
  })

  it('goes on with the rest when a topic is deleted', async () => {
    const doomed = `${topic}.doomed`
    await makeTopic(topic, 1)
    await makeTopic(doomed, 1)
    const owner = new Owner().start({ topics: [topic, doomed] })
    await eventually('assigned', () => owner.owns().length === 2)
    await broker.topics.deleteTopic(doomed)
    await eventually('left out', () => owner.lost.length === 1)
    expect(owner.lost).toEqual([`${doomed}/0`])
    expect(owner.missing).toEqual([[doomed]])
    await write(['still'])
    await eventually('read', () => owner.values.includes('still'))
  })

  it('takes other topics when told, and stands by without any', async () => {
    const other = `${topic}.other`
    await makeTopic(topic, 1)
    await makeTopic(other, 1)
    const owner = new Owner().start({ topics: [] })
    await eventually('standing by', () => owner.consumer.state === 'waiting_for_topics')
    owner.consumer.setTopics([topic])
    await eventually('assigned', () => owner.owns().join() === `${topic}/0`)
    owner.consumer.setTopics([topic, other])
    await eventually('assigned', () => owner.owns().length === 2)
    owner.consumer.setTopics([other])
    await eventually('assigned', () => owner.owns().join() === `${other}/0`)
    expect(owner.lost).toEqual([`${topic}/0`])
  })

  it('survives callbacks that throw', async () => {
    await makeTopic(topic, 1)
    const fail = () => {
      throw new RangeError('a fault of the owner')
    }
    const owner = new Owner().start({
      topics: [topic, `${topic}.no`],
      onState: fail,
      onRevoked: fail,
      onTopicsMissing: fail,
    })
    await write(['seen'])
    await eventually('read', () => owner.values.includes('seen'))
    await owner.consumer.stop()
    expect(owner.consumer.state).toBe('stopped')
  })
})
