import { bindingRuleSchema } from '@headrace/schemas'
import { bindStream, resetTrigger, setTriggerStatus } from '@headrace/store'
import {
  abortTransaction,
  createDatabase,
  eventually,
  expireRecords,
  infra,
  writeCompacted,
} from '@headrace/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { numbersIn, Scene, upTo } from './stage/scene.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let scene: Scene
let scenes = 0

/** Each test has a stream of its own in one database: its triggers are the only ones that are live. */
async function setUp(triggers: Parameters<Scene['register']>[1]): Promise<Scene> {
  scenes += 1
  scene = new Scene({ brokers, partitions: 1, prefix: `${prefix}-gaps-${scenes}`, databaseUrl })
  await scene.store.general.query(
    'truncate triggers, trigger_cursors, stream_bindings, apps, builds, workflows, runs cascade',
  )
  await scene.open()
  await scene.register('b1', triggers)
  return scene
}
afterEach(async () => await scene.end())

/** Deletes the stream's Kafka topic and makes it anew. */
async function recreate(): Promise<void> {
  const { topics } = scene.broker
  await topics.deleteTopic(scene.topic)
  await eventually('the topic is gone', async () => (await topics.describe([scene.topic])).failed.size === 1)
  await scene.open()
}
const expire = async (before: number) =>
  await expireRecords(brokers, { topic: scene.topic, partition: 0, before })

const each = { id: 'each', pattern: 'orders/created' }
const careless = { id: 'careless', pattern: 'orders/created', onGap: 'continue' as const }

const events = async (trigger: string, count: number): Promise<number[]> =>
  await eventually(`${count} events of ${trigger}`, async () => {
    const numbers = numbersIn(await scene.windows(trigger))
    return numbers.length >= count && numbers
  })
const stopped = async (reason: string) =>
  await eventually(`stopped by ${reason}`, async () => {
    const cursor = await scene.cursor('each')
    return cursor?.status === 'stopped' && cursor.reason === reason && cursor
  })

describe('a topic that is made anew', () => {
  it('while it is followed stops its triggers, starts nothing twice, and its events run after a reset', async () => {
    await setUp([each, careless])
    await scene.start()
    await scene.publish(5)
    await events('each', 5)
    await events('careless', 5)
    await eventually('it has seen the last', async () => (await scene.cursor('each'))?.next_offset === 5)
    await recreate()
    await scene.publish(3)
    const cursor = await stopped('recreated')
    expect(cursor).toMatchObject({ next_offset: 5, incarnation: 1 })
    // Whose policy is to go on has the new log from its beginning.
    expect(await events('careless', 8)).toEqual(upTo(8))
    expect(await scene.cursor('careless')).toMatchObject({ incarnation: 2, status: 'live' })
    expect(numbersIn(await scene.windows('each'))).toEqual(upTo(5))
    const cursors = [{ stream: 'orders', partition: 0, nextOffset: 0, incarnation: 2 }]
    expect(await resetTrigger(scene.store, { triggerId: 'each', cursors, projections: [] })).toBe(true)
    expect(await events('each', 8)).toEqual(upTo(8))
    await scene.publish(1)
    expect(await events('each', 9)).toEqual(upTo(9))
    expect(await events('careless', 9)).toEqual(upTo(9))
  })

  it('while a trigger is paused stops it when it is resumed, though others went on', async () => {
    await setUp([each, careless])
    await scene.publish(2)
    await setTriggerStatus(scene.store, 'each', 'paused')
    await scene.start()
    await events('careless', 2)
    await eventually('it has seen the last', async () => (await scene.cursor('careless'))?.next_offset === 2)
    await recreate()
    await scene.publish(4)
    await events('careless', 6)
    // It never saw a record, and its place is in the new log too: only the others tell that it is another one.
    await setTriggerStatus(scene.store, 'each', 'live')
    await stopped('recreated')
    expect(await scene.windows('each')).toEqual([])
  })
})

it('past so many queued runs of a workflow its triggers wait, and no others, until enough of them are taken', async () => {
  await setUp([each, { id: 'other', pattern: 'orders/created' }])
  const { general } = scene.store
  const finish = async (workflow: string) =>
    await general.query(
      `update runs set status = 'completed', output = '1', finished_at = now() where workflow = $1 and finished_at is null`,
      [workflow],
    )
  const { managementUrl } = await scene.start({ queuedRunsMax: 10 })
  await scene.publish(10)
  await events('each', 10)
  await events('other', 10)
  await finish('other')
  await scene.publish(1)
  await events('other', 11)
  await eventually('it is held back', async () => {
    const metrics = await (await fetch(`${managementUrl}/metrics`)).text()
    return metrics.includes('headrace_trigger_status{trigger="each",status="backpressured"} 1')
  })
  await scene.publish(9)
  expect(await events('other', 20)).toEqual(upTo(20))
  expect(numbersIn(await scene.windows('each'))).toEqual(upTo(11))
  expect(await scene.cursor('each')).toMatchObject({ status: 'live', next_offset: 11 })
  await finish('each')
  expect(await events('each', 20)).toEqual(upTo(20))
})

describe('retention', () => {
  it('that takes unread events stops a paused trigger with the count, and no other', async () => {
    await setUp([each, { id: 'other', pattern: 'orders/created' }])
    await scene.start()
    await scene.publish(4)
    await events('each', 4)
    await setTriggerStatus(scene.store, 'each', 'paused')
    await scene.publish(6)
    await events('other', 10)
    await expire(7)
    await setTriggerStatus(scene.store, 'each', 'live')
    expect(await stopped('gap')).toMatchObject({ next_offset: 4, lost: 3 })
    await scene.publish(1)
    expect(await events('other', 11)).toEqual(upTo(11))
    const cursors = [{ stream: 'orders', partition: 0, nextOffset: 7, incarnation: 1 }]
    await resetTrigger(scene.store, { triggerId: 'each', cursors, projections: [] })
    expect(await events('each', 8)).toEqual([...upTo(4), ...upTo(4, 7)])
    expect(await scene.cursor('each')).toMatchObject({ lost: 0, incarnation: 1 })
  })

  it('lets a trigger go on whose policy says so, and counts what it lost', async () => {
    await setUp([careless])
    await scene.publish(5)
    await expire(3)
    await scene.start()
    expect(await events('careless', 2)).toEqual([3, 4])
    expect(await scene.cursor('careless')).toMatchObject({ status: 'live', lost: 3 })
  })

  it('of what was read long ago is no gap: a stream that was idle past its retention goes on', async () => {
    await setUp([each])
    const app = await scene.start()
    await scene.publish(5)
    await eventually('all is read', async () => (await scene.cursor('each'))?.next_offset === 5)
    await scene.stop(app)
    await expire(5)
    await scene.start()
    await scene.publish(2)
    expect(await events('each', 7)).toEqual(upTo(7))
    expect(await scene.cursor('each')).toMatchObject({ status: 'live', lost: 0 })
  })
})

describe('offsets that no reader sees', () => {
  it('are no gap: 2 MiB that a producer aborted, more than a fetch, and an aborted tail', async () => {
    await setUp([each])
    await scene.publish(3)
    await abortTransaction(
      brokers,
      scene.topic,
      0,
      Array.from({ length: 8 }, () => 'x'.repeat(256 * 1024)),
    )
    await scene.publish(3)
    await abortTransaction(brokers, scene.topic, 0)
    const app = await scene.start()
    expect(await events('each', 6)).toEqual(upTo(6))
    // The records of both, and the mark with which each ended.
    const end = 6 + 9 + 2
    const atEnd = async (): Promise<boolean> => (await scene.cursor('each'))?.next_offset === end
    await eventually('the cursor is at the end', atEnd)
    await scene.stop(app)
    // Adopted again, it is compared with a log whose last records it never saw.
    await scene.start()
    await scene.publish(2)
    expect(await events('each', 8)).toEqual(upTo(8))
    expect(await scene.cursor('each')).toMatchObject({ status: 'live', lost: 0, incarnation: 1 })
  })

  it('are no gap: an external topic that is compacted, before it is read and while nobody reads it', async () => {
    await setUp([each])
    const kafkaTopic = `${scene.prefix}.compacted`
    // Of each value that is left the number says where it stands.
    const write = async (from: number, ...keys: string[]) =>
      await writeCompacted(
        brokers,
        kafkaTopic,
        keys.map((key, at) => ({ key, value: String(from + at) })),
      )
    await write(0, 'a', 'b', 'a', 'c', 'b', 'a', 'end1')
    const bound = await bindStream(scene.store, {
      stream: 'orders',
      rule: bindingRuleSchema.parse({ kafka_topic: kafkaTopic, topic: { const: 'orders/created' } }),
      bindingsMax: 1,
      starts: async () => await Promise.resolve(new Map([[0, 0]])),
      projectedFrom: async () => await Promise.resolve(new Map()),
    })
    expect(bound.kind).toBe('bound')
    const first = await scene.cursor('each')
    const app = await scene.start()
    expect(await events('each', 4)).toEqual([3, 4, 5, 6])
    await eventually('the cursor is at the end', async () => (await scene.cursor('each'))?.next_offset === 7)
    await scene.stop(app)
    // The last record that it read goes too: by that it knows its log.
    await write(7, 'a', 'end1', 'c', 'a', 'end2')
    await scene.start()
    expect(await events('each', 8)).toEqual([3, 4, 5, 6, 8, 9, 10, 11])
    await eventually('the cursor is at the end', async () => (await scene.cursor('each'))?.next_offset === 12)
    const { incarnation } = first ?? {}
    expect(await scene.cursor('each')).toMatchObject({ status: 'live', reason: null, lost: 0, incarnation })
  })
})
