import { expect, test } from 'vitest'
import { bindingRuleSchema } from '@headrace/schemas'
import { BoundStreams } from './bound-streams.ts'
import { createStreamDirectory, StreamsRefusedError } from './stream-directory.ts'
import type { TopicAdmin } from './topic-admin.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** Topics as Kafka would have them; `asked` counts the questions. */
function topicsOf(...existing: string[]) {
  const have = new Set(existing.map((stream) => `p.events.${stream}`))
  const asked = { describe: 0, created: [] as string[] }
  const topics = {
    describe(names: readonly string[]) {
      asked.describe += 1
      const failed = names.filter((name) => !have.has(name))
      return Promise.resolve({
        known: new Map(),
        failed: new Map(failed.map((name) => [name, 'unknown_topic'])),
      })
    },
    list: () => Promise.resolve([...have]),
    ensureTopics(wanted: readonly { name: string }[]) {
      for (const { name } of wanted) {
        have.add(name)
        asked.created.push(name)
      }
      return Promise.resolve({ created: [], existing: [], warnings: [] })
    },
  } as unknown as TopicAdmin
  return { topics, asked }
}

const directoryOf = (topics: TopicAdmin, autocreate = true, catalog = new BoundStreams('p')) =>
  createStreamDirectory({
    topics,
    prefix: 'p',
    catalog,
    streamsMax: 200,
    partitions: 4,
    autocreate,
    log: silent,
  })

const boundTo = (kafkaTopic: string, writable: boolean): BoundStreams => {
  const rule = bindingRuleSchema.parse({
    kafka_topic: kafkaTopic,
    topic: { const: 'orders/placed' },
    writable,
  })
  const catalog = new BoundStreams('p')
  catalog.set([{ stream: 'orders', rule, revision: 1 }])
  return catalog
}

test('a stream that was seen once is never asked for again, until it is forgotten', async () => {
  const { topics, asked } = topicsOf('orders')
  const directory = directoryOf(topics)
  const orders = new Set(['orders'])
  expect(directory.knowsAll(orders)).toBe(false)
  await directory.ensure(orders)
  await directory.ensure(orders)
  expect([directory.knowsAll(orders), asked.describe, asked.created]).toEqual([true, 1, []])
  directory.forget('orders')
  expect(directory.knowsAll(orders)).toBe(false)
})

test('a new stream is asked for and made once, however many publish to it at once', async () => {
  const { topics, asked } = topicsOf()
  const directory = directoryOf(topics)
  await Promise.all(Array.from({ length: 20 }, async () => await directory.ensure(new Set(['orders']))))
  expect(asked.created).toEqual(['p.events.orders'])
})

test('a request is not refused for a stream that only another one named', async () => {
  const { topics } = topicsOf()
  const directory = directoryOf(topics)
  const long = 'x'.repeat(245)
  const [refused, fine] = await Promise.allSettled([
    directory.ensure(new Set(['orders', long])),
    directory.ensure(new Set(['orders'])),
  ])
  expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'invalid_topic', streams: [long] } })
  expect(fine.status).toBe('fulfilled')
})

test('where publishing makes no streams, a missing one is refused by name', async () => {
  const { topics, asked } = topicsOf('orders')
  const ensured = directoryOf(topics, false).ensure(new Set(['orders', 'users']))
  await expect(ensured).rejects.toBeInstanceOf(StreamsRefusedError)
  await expect(ensured).rejects.toMatchObject({ code: 'stream_autocreate_off', streams: ['users'] })
  expect(asked.created).toEqual([])
})

test('a stream that others write is refused, also when it was known before it was bound', async () => {
  const { topics, asked } = topicsOf('orders')
  const catalog = new BoundStreams('p')
  const directory = directoryOf(topics, true, catalog)
  const orders = new Set(['orders'])
  await directory.ensure(orders)
  catalog.set(boundTo('shop.orders', false).all)
  expect(directory.knowsAll(orders)).toBe(false)
  await expect(directory.ensure(orders)).rejects.toMatchObject({
    code: 'stream_read_only',
    streams: ['orders'],
  })
  expect(asked.created).toEqual([])
})

test('a bound stream is never made, writable or not', async () => {
  const { topics, asked } = topicsOf()
  const directory = directoryOf(topics, true, boundTo('shop.orders', true))
  await expect(directory.ensure(new Set(['orders']))).rejects.toMatchObject({ code: 'kafka_topic_not_found' })
  expect(asked.created).toEqual([])
})

test('nothing is asked or made before the bindings are known', async () => {
  const { topics, asked } = topicsOf()
  const { promise, resolve } = Promise.withResolvers<void>()
  const catalog = new BoundStreams('p')
  const directory = createStreamDirectory({
    topics,
    prefix: 'p',
    catalog,
    streamsMax: 200,
    partitions: 4,
    autocreate: true,
    log: silent,
    whenKnown: async () => await promise,
  })
  const made = directory.ensure(new Set(['orders']))
  catalog.set(boundTo('shop.orders', false).all)
  resolve()
  await expect(made).rejects.toMatchObject({ code: 'stream_read_only' })
  expect(asked.describe).toBe(0)
})
