import { deadLettersTopic, eventsTopic, RECORD_BYTES_MAX, recordBytes } from '@headrace/broker'
import { encodeEvent, setCheckpointHandler, setCrashHandler } from '@headrace/core'
import { projectionTriggerId, setCursorStatus } from '@headrace/store'
import { createDatabase, eventually, infra, readTopic } from '@headrace/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { positionOf, Responses } from '../stage/responses.ts'
import { numbersIn, Scene, upTo } from '../stage/scene.ts'

let open: Scene[] = []
let scenes = 0

async function setUp(
  options: { partitions?: number; responses?: boolean } = {},
): Promise<{ scene: Scene; responses: Responses }> {
  const { brokers, prefix } = await infra()
  const { partitions = 1 } = options
  const databaseUrl = (await createDatabase()).url
  scenes += 1
  const scene = new Scene({ brokers, partitions, prefix: `${prefix}-p${scenes}`, databaseUrl })
  open.push(scene)
  await scene.open()
  const responses = new Responses(scene)
  if (options.responses ?? true) await responses.open()
  return { scene, responses }
}

async function copied(responses: Responses, numbers: number[]): Promise<void> {
  await eventually(`${numbers.length} events are copied`, async () => {
    const found = await responses.numbers()
    return found.length >= numbers.length ? found : null
  })
  expect(await responses.numbers()).toEqual(numbers)
}

/** The copies of one source partition in the order in which a topic's waits meet them: rising, but for a second copy. */
async function expectOrder(responses: Responses): Promise<void> {
  const last = new Map<string, number>()
  const seen = new Set<string>()
  for (const response of await responses.all()) {
    const position = positionOf(response)
    if (seen.has(position)) continue
    seen.add(position)
    const { topic, partition, sequenceId } = response.event
    const key = `${topic}/${partition}`
    expect(sequenceId).toBeGreaterThan(last.get(key) ?? -1)
    last.set(key, sequenceId)
  }
}

const passed = async (scene: Scene, responses: Responses): Promise<boolean> => {
  const [cursors, ends] = await Promise.all([responses.cursors(), scene.broker.stableEnds(scene.topic)])
  return [...ends].every(([partition, end]) => (cursors.get(partition) ?? -1) >= end)
}

/** The log time of an event. */
async function timeOf(scene: Scene, offset: number): Promise<number> {
  const range = { topic: scene.topic, partition: 0, from: offset, to: offset + 1 }
  for await (const { records } of scene.broker.readRange(range))
    for (const { timestamp } of records) return timestamp
  throw new Error(`there is no record at ${offset}`)
}

/** Publishes until the log's clock has moved on, so that times tell events apart. */
async function publishLater(scene: Scene, count: number): Promise<number> {
  const { high } = (await scene.broker.offsets(scene.topic)).get(0) ?? { high: 0 }
  const before = high === 0 ? 0 : await timeOf(scene, high - 1)
  await eventually('time passes', () => Date.now() > before + 5)
  await scene.publish(count)
  return await timeOf(scene, high)
}

afterEach(async () => {
  setCheckpointHandler(null)
  setCrashHandler(null)
  await Promise.all(open.map(async (one) => await one.end()))
  open = []
})

describe('a waited stream', () => {
  it('without any trigger is copied whole: each event once per position, in order, as it stands in its log', async () => {
    const { scene, responses } = await setUp({ partitions: 4 })
    await responses.waitFrom(0)
    await scene.start()
    await scene.publish(300, { partition: null })
    await scene.publish(300, { partition: null, topic: 'orders/paid' })
    await copied(responses, upTo(600))
    await expectOrder(responses)
    await eventually('all cursors are at the ends', async () => await passed(scene, responses))
    const [one] = (await responses.all()).filter(({ event }) => event.data === 7)
    expect(one?.event).toMatchObject({ id: 'e7', source: 'test', topic: 'orders/created', key: 'k7' })
  })

  it('is copied beside its triggers, and its cursor goes on at the head by itself', async () => {
    const { scene, responses } = await setUp()
    await scene.register('b1', [{ id: 'tens', pattern: 'orders/created', size: 10 }])
    await responses.waitFrom(0)
    await scene.start({ progressEveryMs: 3_600_000 })
    await scene.publish(3)
    await copied(responses, upTo(3))
    await scene.produce([{ topic: scene.topic, partition: 0, key: null, value: 'no event', headers: {} }])
    await eventually(
      'the cursor has passed what is no event',
      async () => (await responses.cursors()).get(0) === 4,
    )
    await scene.publish(7)
    await eventually('a window of ten', async () => numbersIn(await scene.windows('tens')).length === 10)
    await copied(responses, upTo(10))
  })

  it('that is first waited on after its events are there begins at the time asked for', async () => {
    const { scene, responses } = await setUp()
    await scene.publish(5)
    const since = await publishLater(scene, 5)
    await responses.waitFrom(since)
    await scene.start()
    await copied(responses, upTo(5, 5))
    await scene.publish(1)
    await copied(responses, upTo(6, 5))
    expect(await responses.projections()).toEqual([{ from_offset: 5, projected_from: since }])
  })

  it('that is asked for from an earlier time is copied back to it, while its head goes on', async () => {
    const { scene, responses } = await setUp()
    await scene.publish(200)
    const early = await publishLater(scene, 3_000)
    const late = await publishLater(scene, 10)
    await responses.waitFrom(late)
    await scene.start()
    await copied(responses, upTo(10, 3_200))
    await responses.waitFrom(early)
    await scene.publish(50)
    await eventually(
      'the gap is said to be filled',
      async () => (await responses.projections())[0]?.from_offset === 200,
    )
    await scene.publish(10)
    await copied(responses, upTo(3_070, 200))
    expect(await responses.projections()).toEqual([{ from_offset: 200, projected_from: early }])
  })

  it('whose topic does not exist yet is copied from its first event on', async () => {
    const { scene, responses } = await setUp()
    await responses.waitFrom(Date.now() - 5_000, 'later')
    await scene.start()
    const topic = eventsTopic(scene.prefix, 'later').name
    await scene.broker.topics.ensureTopics([{ ...eventsTopic(scene.prefix, 'later'), partitions: 2 }])
    const event = encodeEvent({
      id: 'first',
      source: 'test',
      topic: 'later/on',
      eventType: null,
      data: 1,
      key: null,
      time: 0,
      traceparent: null,
      dedup: false,
    })
    await scene.produce([{ topic, partition: 1, ...event }])
    await copied(responses, [1])
    expect((await responses.all()).map(positionOf)).toEqual(['later/1/1/0'])
  })

  it('has no copy of a repeat', async () => {
    const { scene, responses } = await setUp()
    await responses.waitFrom(0)
    await scene.start()
    const repeated = (data: number) => ({
      topic: scene.topic,
      partition: 0,
      ...encodeEvent({
        id: 'same',
        source: 'shop',
        topic: 'orders/created',
        eventType: null,
        data,
        key: null,
        time: 0,
        traceparent: null,
        dedup: true,
      }),
    })
    await scene.produce([repeated(1), repeated(2)])
    await eventually('both are passed', async () => (await responses.cursors()).get(0) === 2)
    await copied(responses, [1])
  })
})

describe('what breaks', () => {
  it('between the acknowledgement and the cursor copies again, under the same positions', async () => {
    const { scene, responses } = await setUp()
    await responses.waitFrom(0)
    await scene.start()
    let broken = 0
    setCheckpointHandler((name) => {
      if (name !== 'projection.before-cursor' || broken >= 3) return undefined
      broken += 1
      return Promise.reject(new Error('dropped between the acknowledgement and the cursor'))
    })
    await scene.publish(200)
    await eventually('all is passed', async () => (await responses.cursors()).get(0) === 200)
    expect(broken).toBe(3)
    await copied(responses, upTo(200))
    await expectOrder(responses)
    expect((await responses.all()).length).toBeGreaterThan(200)
  })

  it('behind the cursor has nothing to copy again', async () => {
    const { scene, responses } = await setUp()
    await responses.waitFrom(0)
    await scene.start()
    let broken = 0
    setCrashHandler((name) => {
      if (name !== 'projection.after-cursor' || broken >= 3) return
      broken += 1
      throw new Error('dropped behind the cursor')
    })
    // One at a time: what is copied while a cursor is on its way is copied again after it.
    for (const number of upTo(5)) {
      await scene.publish(1)
      await eventually('it is passed', async () => (await responses.cursors()).get(0) === number + 1)
    }
    expect(broken).toBe(3)
    expect((await responses.all()).map(({ event }) => event.data)).toEqual(upTo(5))
  })

  it('while instances come and go loses no event, and puts none out of order', async () => {
    const { scene, responses } = await setUp({ partitions: 8 })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/**' }])
    await responses.waitFrom(0)
    const first = await scene.start()
    await scene.start()
    await scene.publish(500, { partition: null })
    await eventually('some are copied', async () => (await responses.numbers()).length > 50)
    await scene.publish(500, { partition: null })
    await scene.stop(first)
    await scene.publish(500, { partition: null })
    await scene.start()
    await scene.publish(500, { partition: null })
    await copied(responses, upTo(2_000))
    await expectOrder(responses)
    await eventually('all cursors are at the ends', async () => await passed(scene, responses))
    await eventually('runs of all', async () => numbersIn(await scene.windows('each')).length === 2_000)
  })

  it('a response topic that is not there yet delays the projection alone', async () => {
    const { scene, responses } = await setUp({ responses: false })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await responses.waitFrom(0)
    const app = await scene.start()
    await scene.publish(20)
    await eventually('runs of all', async () => numbersIn(await scene.windows('each')).length === 20)
    expect((await fetch(`${app.managementUrl}/readyz`)).status).toBe(200)
    expect((await responses.cursors()).get(0)).toBe(0)
    await responses.open()
    await copied(responses, upTo(20))
    const metrics = await (await fetch(`${app.managementUrl}/metrics`)).text()
    expect(metrics).toContain('headrace_projected_events_total{stream="orders"} 20')
    expect(metrics).toContain('headrace_projection_lag_events{stream="orders"}')
    expect(metrics).not.toContain(`headrace_trigger_lag_events{trigger="${projectionTriggerId}"`)
  })

  it('an event that takes all that a record may fits no response: it is set aside, and what follows is copied', async () => {
    const { scene, responses } = await setUp()
    await responses.waitFrom(0)
    await scene.start()
    const large = (characters: number) =>
      encodeEvent({
        id: 'large',
        source: 'test',
        topic: 'orders/created',
        eventType: null,
        data: 'x'.repeat(characters),
        key: null,
        time: 0,
        traceparent: null,
        dedup: false,
      })
    const event = large(RECORD_BYTES_MAX - recordBytes(large(0)))
    await scene.produce([{ topic: scene.topic, partition: 0, ...event }])
    await scene.publish(2)
    await copied(responses, upTo(2))
    const { brokers } = await infra()
    const letters = await readTopic(brokers, deadLettersTopic(scene.prefix).name)
    expect(letters.map(({ headers }) => headers)).toMatchObject([
      { reason: 'response_too_large', stream: 'orders', offset: '0', trigger_id: projectionTriggerId },
    ])
  })

  it('the largest event that a gateway takes fits, with the longest key and topic', async () => {
    const { scene, responses } = await setUp()
    await responses.waitFrom(0)
    await scene.start()
    const event = encodeEvent({
      id: 'i'.repeat(200),
      source: 's'.repeat(200),
      topic: `orders/${'t'.repeat(190)}`,
      eventType: 'e'.repeat(200),
      data: { number: 1, text: '\u0001'.repeat(150_000) },
      key: 'k'.repeat(900),
      time: 0,
      traceparent: null,
      dedup: false,
    })
    await scene.produce([{ topic: scene.topic, partition: 0, ...event }])
    const [only] = await eventually('it is copied', async () => {
      const all = await responses.all()
      return all.length > 0 ? all : null
    })
    expect(only?.event.key).toBe('k'.repeat(900))
  })

  it('a cursor that is stopped stops the projection of its partition alone', async () => {
    const { scene, responses } = await setUp({ partitions: 2 })
    await responses.waitFrom(0)
    const app = await scene.start()
    await eventually('both begin', async () => (await responses.cursors()).size === 2)
    await scene.stop(app)
    const stopped = { stream: 'orders', partition: 0, status: 'stopped', reason: 'recreated' } as const
    await setCursorStatus(scene.store, { triggerId: projectionTriggerId, ...stopped })
    await scene.start()
    await scene.publish(3)
    await scene.publish(3, { partition: 1 })
    await copied(responses, upTo(3, 3))
    expect((await responses.cursors()).get(0)).toBe(0)
  })
})
