import { deadLettersTopic } from '@headrace/broker'
import { migrate, setTriggerStatus } from '@headrace/store'
import {
  createDatabase,
  createEmptyDatabase,
  eventually,
  infra,
  readTopic,
  startOwnKafka,
  startOwnPostgres,
} from '@headrace/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { numbersIn, Scene, type StoredWindow, upTo } from './stage/scene.ts'

let open: Scene[] = []
let scenes = 0

async function setUp(
  options: { partitions?: number; brokers?: string[]; databaseUrl?: string } = {},
): Promise<Scene> {
  const { brokers, prefix } = await infra()
  const databaseUrl = options.databaseUrl ?? (await createDatabase()).url
  scenes += 1
  const made = new Scene({ brokers, partitions: 1, ...options, prefix: `${prefix}-${scenes}`, databaseUrl })
  open.push(made)
  return await made.open()
}

/** The windows of a trigger once they hold so many events; more would be seen by whoever looks at them. */
async function eventsIn(scene: Scene, trigger: string, count: number): Promise<StoredWindow[]> {
  return await eventually(`${count} events in windows of ${trigger}`, async () => {
    const windows = await scene.windows(trigger)
    return numbersIn(windows).length >= count ? windows : null
  })
}

afterEach(async () => {
  await Promise.all(open.map(async (one) => await one.end()))
  open = []
})

describe('the trigger service', () => {
  it('cuts 25 events into windows of 10, 10 and 5, in order', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'tens', pattern: 'orders/created', size: 10, timeoutMs: 2_000 }])
    await scene.start()
    await scene.publish(25)
    const windows = await eventsIn(scene, 'tens', 25)
    expect(windows.map(({ data }) => data)).toEqual([upTo(10), upTo(10, 10), upTo(5, 20)])
  })

  it('starts what is published before it runs, and follows a trigger that comes later without a restart', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await scene.publish(3)
    await scene.start()
    await eventsIn(scene, 'each', 3)
    await scene.register('b2', [
      { id: 'each', pattern: 'orders/created' },
      { id: 'gone', pattern: 'orders/*/cancelled' },
    ])
    await scene.publish(2, { topic: 'orders/7/cancelled' })
    expect(numbersIn(await eventsIn(scene, 'gone', 2))).toEqual([3, 4])
    expect(numbersIn(await scene.windows('each'))).toEqual([0, 1, 2])
  })

  it('puts every event in exactly one window while instances come and go', async () => {
    const scene = await setUp({ partitions: 8 })
    await scene.register('b1', [
      { id: 'each', pattern: 'orders/**' },
      { id: 'sevens', pattern: 'orders/created', size: 7, timeoutMs: 500 },
    ])
    const first = await scene.start()
    await scene.start()
    await scene.publish(1_000, { partition: null })
    await eventually(
      'both instances have started runs',
      async () => (await scene.windows('each')).length > 100,
    )
    await scene.publish(1_000, { partition: null })
    await scene.stop(first)
    await scene.publish(1_000, { partition: null })
    await scene.start()
    await scene.publish(1_000, { partition: null })
    expect(numbersIn(await eventsIn(scene, 'each', 4_000))).toEqual(upTo(4_000))
    const windows = await eventsIn(scene, 'sevens', 4_000)
    expect(numbersIn(windows)).toEqual(upTo(4_000))
    for (const partition of upTo(8)) {
      const offsets = windows
        .filter((window) => window.partition === partition)
        .flatMap((window) => window.offsets)
      expect(offsets).toEqual(upTo(offsets.length))
    }
  })

  it('leaves a paused trigger where it is, and gives it everything when it is resumed', async () => {
    const scene = await setUp()
    await scene.register('b1', [
      { id: 'each', pattern: 'orders/created' },
      { id: 'other', pattern: 'orders/created' },
    ])
    await scene.start()
    await scene.publish(5)
    await eventsIn(scene, 'each', 5)
    await setTriggerStatus(scene.store, 'each', 'paused')
    await scene.publish(5)
    await eventsIn(scene, 'other', 10)
    expect((await scene.windows('each')).length).toBe(5)
    await setTriggerStatus(scene.store, 'each', 'live')
    expect(numbersIn(await eventsIn(scene, 'each', 10))).toEqual(upTo(10))
    await scene.publish(1)
    expect(numbersIn(await eventsIn(scene, 'each', 11))).toEqual(upTo(11))
  })

  it('lets a trigger far behind catch up beside the lane until it meets it', async () => {
    const scene = await setUp()
    await scene.register('b1', [
      { id: 'behind', pattern: 'orders/rare' },
      { id: 'near', pattern: 'orders/rare' },
    ])
    await scene.publish(1, { topic: 'orders/rare' })
    await scene.publish(12_000)
    await scene.publish(1, { topic: 'orders/rare' })
    await scene.store.general.query(
      `update trigger_cursors set next_offset = 12001 where trigger_id = 'near'`,
    )
    await scene.start()
    expect(numbersIn(await eventsIn(scene, 'near', 1))).toEqual([12_001])
    expect(numbersIn(await eventsIn(scene, 'behind', 2))).toEqual([0, 12_001])
    await scene.publish(3, { topic: 'orders/rare' })
    expect(numbersIn(await eventsIn(scene, 'behind', 5))).toEqual([0, ...upTo(4, 12_001)])
    expect(numbersIn(await eventsIn(scene, 'near', 4))).toEqual(upTo(4, 12_001))
  })

  it('builds an open window again under a changed definition', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'batch', pattern: 'orders/created', size: 100 }])
    await scene.start()
    await scene.publish(6)
    await eventually(
      'the cursor row is followed',
      async () => (await scene.cursor('batch'))?.next_offset === 0,
    )
    await scene.register('b2', [{ id: 'batch', pattern: 'orders/created', size: 3 }])
    const windows = await eventsIn(scene, 'batch', 6)
    expect(windows.map(({ data }) => data)).toEqual([upTo(3), upTo(3, 3)])
  })

  it('sets a record that is no event aside alone, and everything else goes on', async () => {
    const scene = await setUp()
    await scene.register('b1', [
      { id: 'each', pattern: 'orders/created' },
      { id: 'other', pattern: 'orders/created' },
    ])
    const { brokers } = await infra()
    await scene.start()
    await scene.publish(1)
    await scene.produce([
      {
        topic: scene.topic,
        partition: 0,
        key: null,
        value: Buffer.from([0xff, 0xfe, 0x00]),
        headers: { ce_id: 'x' },
      },
    ])
    await scene.publish(1)
    expect((await eventsIn(scene, 'each', 2)).map(({ offsets }) => offsets)).toEqual([[0], [2]])
    expect((await eventsIn(scene, 'other', 2)).map(({ offsets }) => offsets)).toEqual([[0], [2]])
    const letters = await readTopic(brokers, deadLettersTopic(scene.prefix).name)
    expect(letters.map(({ headers }) => headers)).toMatchObject([
      { reason: 'not_an_event', stream: 'orders', kafka_topic: scene.topic, partition: '0', offset: '1' },
    ])
  })

  it('moves idle cursors on without runs', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'never', pattern: 'orders/never' }])
    await scene.start()
    await scene.publish(50)
    await eventually('the cursor follows', async () => (await scene.cursor('never'))?.next_offset === 50)
    expect(await scene.windows('never')).toEqual([])
  })

  it('stops a cursor that is beyond its log, and says so', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await scene.store.general.query('update trigger_cursors set next_offset = 1000')
    await scene.start()
    await eventually('it is stopped', async () => (await scene.cursor('each'))?.status === 'stopped')
  })

  it('stops a cursor whose topic was made anew and is as long again, and says so', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    const app = await scene.start()
    await scene.publish(3)
    await eventsIn(scene, 'each', 3)
    await scene.stop(app)
    await scene.broker.topics.deleteTopic(scene.topic)
    await eventually(
      'the topic is gone',
      async () => (await scene.broker.topics.describe([scene.topic])).failed.size === 1,
    )
    await scene.open()
    await scene.publish(9)
    await scene.start()
    await eventually('it is stopped', async () => (await scene.cursor('each'))?.status === 'stopped')
    expect(await scene.cursor('each')).toMatchObject({ next_offset: 3, reason: 'recreated' })
  })

  it('waits for the schema, which others make', async () => {
    const { url } = await createEmptyDatabase()
    const scene = await setUp({ databaseUrl: url })
    const app = await scene.start()
    await eventually('readiness says what is missing', async () => {
      const answer = await fetch(`${app.managementUrl}/readyz`)
      return answer.status === 503 && (await answer.text()).includes('schema version 0')
    })
    await migrate(url)
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await scene.publish(3)
    expect(numbersIn(await eventsIn(scene, 'each', 3))).toEqual(upTo(3))
  })

  it('tells how far triggers are behind', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'tens', pattern: 'orders/created', size: 10 }])
    const app = await scene.start()
    await scene.publish(14)
    await eventsIn(scene, 'tens', 10)
    const metrics = await eventually('the open window counts as lag', async () => {
      const text = await (await fetch(`${app.managementUrl}/metrics`)).text()
      return text.includes('headrace_trigger_lag_events{trigger="tens",stream="orders"} 4') ? text : null
    })
    expect(metrics).toContain('headrace_trigger_windows_total{trigger="tens",closed_by="size"} 1')
    expect(metrics).toContain('headrace_trigger_events_total{trigger="tens",outcome="run"} 10')
    expect(metrics).toContain('headrace_trigger_open_windows{trigger="tens"} 1')
    expect(metrics).toContain('headrace_trigger_status{trigger="tens",status="live"} 1')
  })

  it('waits while Postgres is away, and loses and doubles nothing', async () => {
    const postgres = await startOwnPostgres()
    await migrate(postgres.url)
    const scene = await setUp({ partitions: 2, databaseUrl: postgres.url })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    const app = await scene.start()
    await scene.publish(100, { partition: null })
    await eventsIn(scene, 'each', 100)
    await postgres.kill()
    await postgres.refused()
    await scene.publish(500, { partition: null })
    await eventually('readiness says what is missing', async () => {
      const answer = await fetch(`${app.managementUrl}/readyz`)
      return answer.status === 503 && (await answer.text()).includes('postgres')
    })
    await postgres.refused()
    await postgres.start()
    await scene.publish(100, { partition: null })
    expect(numbersIn(await eventsIn(scene, 'each', 700))).toEqual(upTo(700))
    await eventually('ready again', async () => (await fetch(`${app.managementUrl}/readyz`)).status === 200)
  })

  it('waits while Kafka is away, and goes on without a restart', async () => {
    const kafka = await startOwnKafka()
    const scene = await setUp({ brokers: kafka.brokers, partitions: 2 })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await scene.start()
    await scene.publish(50, { partition: null })
    await eventsIn(scene, 'each', 50)
    await kafka.kill()
    await kafka.refused()
    await kafka.start()
    await scene.publish(50, { partition: null })
    expect(numbersIn(await eventsIn(scene, 'each', 100))).toEqual(upTo(100))
  })
})
