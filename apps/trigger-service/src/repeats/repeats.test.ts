import { describe, expect, it } from 'vitest'
import { FakeEventIds } from '../stage/event-ids.ts'
import { Harness, trigger } from '../stage/harness.ts'
import { PartitionLog } from '../stage/partition-log.ts'

const each = trigger({ id: 'each' })
const hourMs = 3_600_000

async function started(triggers = [each], cursors: Record<string, number> = {}): Promise<Harness> {
  const harness = new Harness({ triggers })
  for (const { id } of triggers)
    harness.postgres.add({ triggerId: id, partition: 0, nextOffset: cursors[id] ?? 0 })
  await harness.adopt()
  return harness
}
const outage = () => new Error('Connection terminated unexpectedly')

describe('a lane', () => {
  it('gives its triggers of one id the first event alone, also within one fetch', async () => {
    const other = trigger({ id: 'other' })
    const harness = await started([each, other])
    for (const id of ['a', 'b', 'a']) harness.log.append({ id })
    await harness.settle()
    for (const id of ['b', 'c']) harness.log.append({ id })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [4]])
    expect(harness.postgres.windows('other')).toEqual([[0], [1], [4]])
    harness.lane.writeProgress()
    await harness.flusher.drained()
    expect(harness.postgres.cursor('each').nextOffset).toBe(5)
  })

  it('records what it passes over and of what, and passes nothing while it cannot', async () => {
    const harness = await started()
    for (const id of ['a', 'b']) harness.log.append({ id })
    await harness.settle()
    for (const id of ['b', 'c']) harness.log.append({ id })
    // Entered, and not recorded.
    harness.eventIds.recordFaults.push(outage())
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [3]])
    expect(harness.eventIds.recordFaults).toEqual([])
    expect(harness.eventIds.repeats).toMatchObject([
      { stream: 'orders', partition: 0, sequenceId: 2, first: { partition: 0, sequenceId: 1 } },
    ])
  })

  it('asks nothing of Postgres for events that are not marked', async () => {
    const harness = await started()
    for (let i = 0; i < 3; i += 1) harness.log.append()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [2]])
    expect(harness.eventIds.entered).toBe(0)
  })

  it('takes an event that it reads again for itself, not for a repeat', async () => {
    const { log, eventIds } = await (async () => {
      const harness = await started([trigger({ id: 'each', windowSize: 3 })])
      for (const id of ['a', 'b']) harness.log.append({ id })
      await harness.settle()
      await harness.revoke()
      return harness
    })()
    expect(eventIds.rows.size).toBe(2)
    const next = new Harness({ triggers: [trigger({ id: 'each', windowSize: 3 })], log, eventIds })
    next.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 0 })
    log.append({ id: 'a' })
    log.append({ id: 'c' })
    await next.settle()
    expect(next.postgres.windows('each')).toEqual([[0, 1, 3]])
  })

  it('takes the same place of another incarnation for another event', async () => {
    const harness = new Harness({ triggers: [each] })
    const log = new PartitionLog()
    log.append({ id: 'a' })
    await harness.eventIds.enter([
      {
        stream: 'orders',
        source: 'test',
        id: 'a',
        incarnation: 1,
        partition: 0,
        sequenceId: 0,
        logTimeMs: 0,
        runId: null,
      },
    ])
    const anew = new Harness({ triggers: [each], log, eventIds: harness.eventIds })
    anew.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 0, incarnation: 2 })
    await anew.settle()
    expect(anew.postgres.windows('each')).toEqual([])
  })

  it('closes a window by the log time of a repeat: it is a record like others, and nobody’s event', async () => {
    const harness = await started([trigger({ id: 'tens', windowSize: 10, windowTimeoutMs: 2_000 })])
    harness.log.append({ id: 'a', timestamp: 1_000 })
    harness.log.append({ id: 'a', timestamp: 5_000 })
    harness.fetch()
    for (let i = 0; i < 10; i += 1) await harness.turn()
    await harness.flusher.drained()
    expect(harness.postgres.windows('tens')).toEqual([[0]])
  })

  it('waits while Postgres is away: it passes nothing, drops nothing and says so', async () => {
    const harness = await started()
    harness.eventIds.faults.push(outage(), outage(), outage())
    for (const id of ['a', 'a', 'b']) harness.log.append({ id })
    harness.fetch()
    while (harness.eventIds.faults.length > 0) {
      expect(harness.lane.position).toBe(0)
      await harness.turn()
    }
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [2]])
    expect(harness.outages).toHaveLength(4)
    expect(harness.outages.at(-1)).toBeNull()
    expect(harness.letters).toEqual([])
  })

  it('that is revoked while it waits gives up at once', async () => {
    const harness = await started()
    harness.eventIds.faults.push(...Array.from({ length: 1_000 }, outage))
    harness.log.append({ id: 'a' })
    harness.fetch()
    await harness.turn()
    await harness.revoke()
    await harness.turn()
    const { entered } = harness.eventIds
    for (let i = 0; i < 10; i += 1) await harness.turn()
    expect(harness.eventIds.entered).toBe(entered)
    expect(harness.postgres.windows('each')).toEqual([])
  })

  it('lets an event go on whose id Postgres cannot hold', async () => {
    const harness = await started()
    harness.eventIds.refuses = ({ id }) => id === 'bad'
    for (const id of ['bad', 'a', 'a']) harness.log.append({ id })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [1]])
  })
})

describe('a catch-up reader', () => {
  it('knows the lane’s events for repeats of its own, and its own for itself', async () => {
    const log = new PartitionLog()
    for (const id of ['a', 'b', 'a']) log.append({ id })
    for (let i = 0; i < 10_010; i += 1) log.append({ topic: 'orders/other' })
    for (const id of ['b', 'c']) log.append({ id })
    const harness = new Harness({ triggers: [each, trigger({ id: 'near' })], log })
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 0 })
    harness.postgres.add({ triggerId: 'near', partition: 0, nextOffset: 10_013 })
    // The near one had them all, when they were new.
    await harness.eventIds.enter(
      ['a', 'b'].map((id, sequenceId) => ({
        stream: 'orders',
        source: 'test',
        id,
        incarnation: 1,
        partition: 0,
        sequenceId,
        logTimeMs: 0,
        runId: null,
      })),
    )
    await harness.settle()
    expect(harness.postgres.windows('near')).toEqual([[10_014]])
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [10_014]])
  })
})

describe('a reading that begins where ids were swept', () => {
  /** `a` at 0 and again an hour later at 2, behind the cursor; swept long since. */
  function slept(): { log: PartitionLog; eventIds: FakeEventIds } {
    const log = new PartitionLog()
    log.append({ id: 'a', timestamp: 100 * hourMs })
    log.append({ id: 'b', timestamp: 100 * hourMs })
    log.append({ id: 'a', timestamp: 101 * hourMs })
    const eventIds = new FakeEventIds()
    eventIds.sweep(200 * hourMs)
    return { log, eventIds }
  }

  it('has the ids of the 24 h before it entered again first, once', async () => {
    const { log, eventIds } = slept()
    const harness = new Harness({ triggers: [each], log, eventIds })
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 1 })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[1]])
    // From 24 h before `b` on they are known, until they are swept again.
    expect(eventIds.sweptToMs).toBe(76 * hourMs)
    const { entered } = eventIds
    log.append({ id: 'c', timestamp: 102 * hourMs })
    await harness.settle()
    expect(eventIds.entered).toBe(entered + 1)
  })

  it('does so for a catch-up reader, too', async () => {
    const { log, eventIds } = slept()
    for (let i = 0; i < 10_010; i += 1) log.append({ topic: 'orders/other', timestamp: 300 * hourMs })
    const harness = new Harness({ triggers: [each, trigger({ id: 'near' })], log, eventIds })
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 1 })
    harness.postgres.add({ triggerId: 'near', partition: 0, nextOffset: 10_013 })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[1]])
  })

  it('keeps nobody waiting who needs none of it', async () => {
    const { log, eventIds } = slept()
    const harness = new Harness({ triggers: [each], log, eventIds })
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    const offsetsForTime = log.offsetsForTime.bind(log)
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
    log.offsetsForTime = async (topic, timeMs) => {
      begin()
      await held
      return await offsetsForTime(topic, timeMs)
    }
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 1 })
    await harness.adopt()
    harness.fetch()
    await begun
    // Another lane of the stream begins at the head meanwhile.
    const head = harness.repeats.reading({ stream: 'orders', topic: log.topic, partition: 1 })
    const { signal } = new AbortController()
    await head.makeKnown(250 * hourMs, signal)
    expect(harness.postgres.windows('each')).toEqual([])
    release()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[1]])
  })

  it('begins again when more was swept meanwhile', async () => {
    const { log, eventIds } = slept()
    const harness = new Harness({ triggers: [each], log, eventIds })
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 1 })
    let sweeps = 0
    const enter = eventIds.enter.bind(eventIds)
    eventIds.enter = async (entries) => {
      const answer = await enter(entries)
      if ((sweeps += 1) <= 2) eventIds.sweep(200 * hourMs)
      return answer
    }
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[1]])
  })

  it('takes of two partitions’ events the earlier for the first', async () => {
    // The one of half an hour later on partition 1 must not make that on partition 0, which is still to run, a repeat.
    const { log, eventIds } = slept()
    const other = new PartitionLog(1)
    other.append({ id: 'b', timestamp: 100.5 * hourMs })
    const offsetsForTime = log.offsetsForTime.bind(log)
    const readRange = log.readRange.bind(log)
    log.offsetsForTime = async (topic, timeMs) => {
      const maps = [await offsetsForTime(topic, timeMs), await other.offsetsForTime(topic, timeMs)]
      return new Map(maps.flatMap((map) => [...map]))
    }
    log.readRange = (range) => (range.partition === 1 ? other.readRange(range) : readRange(range))
    const harness = new Harness({ triggers: [each], log, eventIds })
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 1 })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[1]])
    expect([...eventIds.rows.values()].find(({ id }) => id === 'b')).toMatchObject({ partition: 0 })
  })
})
