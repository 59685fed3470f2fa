import { configTopic, createBroker, createConfigReader, writeSettings } from '@headrace/broker'
import { bindingRuleSchema, type StreamBinding } from '@headrace/schemas'
import { createMetrics, silentLogger, systemClock } from '@headrace/service'
import { bindStream, listStreamBindings, openStore, type Store, unbindStream } from '@headrace/store'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createConfigRepair } from './config-settings.ts'
import { settingOf } from './setting-source.ts'

const { brokers, prefix } = await infra()
const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
const producer = broker.producer()
let store: Store
const repair = () =>
  createConfigRepair({
    broker,
    producer,
    store,
    prefix,
    log: silentLogger,
    clock: systemClock,
    metrics: createMetrics(),
  })

/** Commits a binding and writes no record of it: as a death right after the commit leaves it. */
async function committed(stream: string, more: object = {}): Promise<StreamBinding> {
  const rule = bindingRuleSchema.parse({
    kafka_topic: `shop.${stream}`,
    topic: { const: `${stream}/x` },
    ...more,
  })
  const nowhere = async () => await Promise.resolve(new Map<number, number>())
  const bound = await bindStream(store, {
    stream,
    rule,
    bindingsMax: 200,
    starts: nowhere,
    projectedFrom: nowhere,
  })
  if (bound.kind !== 'bound') throw new Error(bound.kind)
  return bound.binding
}

/** What a gateway that starts now would know. */
async function told(): Promise<[string, number][]> {
  const reader = createConfigReader(broker, prefix)
  await reader.readOn()
  return [...reader.settings('stream').values()].map(({ name, revision }) => [name, revision])
}

beforeAll(async () => {
  store = openStore({ url: (await createDatabase()).url, applicationName: 'test' })
})
afterAll(async () => {
  await broker.close()
  await store.close()
})

describe('the config topic', () => {
  test('is not there, and nobody waits for it, until there is something to tell', async () => {
    expect(await createConfigReader(broker, prefix).readOn()).toBe(false)
    await repair().runOnce()
    expect((await broker.topics.describe([configTopic(prefix).name])).known.size).toBe(0)
  })

  test('is told what was committed before a death, and what was deleted', async () => {
    const orders = await committed('orders')
    const users = await committed('users')
    await repair().runOnce()
    expect(await told()).toEqual([
      ['orders', orders.revision],
      ['users', users.revision],
    ])
    await unbindStream(store, 'users')
    await repair().runOnce()
    expect(await told()).toEqual([['orders', orders.revision]])
    const config = await broker.topics.configs([configTopic(prefix).name])
    expect(config.get(configTopic(prefix).name)?.get('cleanup.policy')?.value).toBe('compact')
  })

  test('heals a record that came late: the higher revision counts, and stands last again', async () => {
    const [before] = await listStreamBindings(store)
    const reader = createConfigReader(broker, prefix)
    const after = await committed('orders', { writable: true })
    await writeSettings(producer, prefix, [settingOf(after), settingOf(before!)])
    await reader.readOn()
    expect(reader.settings('stream').get('orders')).toEqual(settingOf(after))
    expect(reader.lastWritten('stream').get('orders')).toEqual(settingOf(before!))
    await repair().runOnce()
    await reader.readOn()
    expect(reader.lastWritten('stream').get('orders')).toEqual(settingOf(after))
  })

  test('that was made anew is told all of it again, to readers of the one before too', async () => {
    const reader = createConfigReader(broker, prefix)
    await reader.readOn()
    const { name } = configTopic(prefix)
    const lasting = repair()
    await lasting.runOnce()
    await broker.topics.deleteTopic(name)
    await eventually('the topic is gone', async () => {
      const { failed } = await broker.topics.describe([name])
      return failed.get(name) === 'unknown_topic'
    })
    // As the duty does it: until brokers agree that the old one is gone and the new one is there.
    await eventually('all is told again', async () => {
      await lasting.runOnce().catch(() => undefined)
      return (await told().catch(() => [])).length === 1
    })
    await eventually('the reader has it', async () => await reader.readOn().catch(() => false))
    expect([...reader.settings('stream').keys()]).toEqual(['orders'])
  })

  test('is told again what stands in a Postgres that was put back to an earlier point, and what is changed from then on', async () => {
    const reader = createConfigReader(broker, prefix)
    await reader.readOn()
    const later = reader.highestRevision + 1_000
    const [orders] = await listStreamBindings(store)
    const users = await committed('users')
    await writeSettings(producer, prefix, [
      { ...settingOf(orders!), revision: later, value: { ...orders!.rule, writable: false } },
      { kind: 'stream', name: 'users', revision: later + 1, value: null },
      { ...settingOf(users), name: 'lost', revision: later + 2 },
      { kind: 'key', name: 'lost', revision: later + 3, value: {} },
    ])
    const lasting = repair()
    await lasting.runOnce()
    const standing = await listStreamBindings(store)
    expect(standing.map(({ stream, revision }) => [stream, revision > later + 3])).toEqual([
      ['orders', true],
      ['users', true],
    ])
    expect(await told()).toEqual(standing.map(({ stream, revision }) => [stream, revision]))
    await reader.readOn()
    expect(reader.settings('stream').get('orders')).toEqual(settingOf(standing[0]!))
    expect([...reader.settings('key').keys()]).toEqual([])

    const at = reader.highestRevision
    await lasting.runOnce()
    await reader.readOn()
    expect(reader.highestRevision).toBe(at)
    await unbindStream(store, 'users')
    await lasting.runOnce()
    expect((await told()).map(([name]) => name)).toEqual(['orders'])
  })

  test('holds no setting that somebody else wrote', async () => {
    const { name: topic } = configTopic(prefix)
    const records = ['no setting', 'stream/x'].map((key) => ({
      topic,
      partition: 0,
      key,
      value: '{',
      headers: {},
    }))
    await producer.produce(records)
    expect((await told()).map(([name]) => name)).toEqual(['orders'])
  })
})
