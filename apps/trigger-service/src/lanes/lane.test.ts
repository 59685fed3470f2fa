import { describe, expect, it } from 'vitest'
import { Harness, trigger } from '../stage/harness.ts'
import { PartitionLog } from '../stage/partition-log.ts'

const each = trigger({ id: 'each' })
const tens = trigger({ id: 'tens', windowSize: 10, windowTimeoutMs: 2_000 })

async function started(triggers = [each], cursors: Record<string, number> = {}): Promise<Harness> {
  const harness = new Harness({ triggers })
  for (const { id } of triggers)
    harness.postgres.add({ triggerId: id, partition: 0, nextOffset: cursors[id] ?? 0 })
  await harness.adopt()
  return harness
}

describe('a lane', () => {
  it('is not fetched before its cursors are known', async () => {
    const harness = new Harness({ triggers: [each] })
    expect(harness.fetch()).toBe(false)
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 0 })
    await harness.adopt()
    expect(harness.fetch()).toBe(true)
  })

  it('makes one run of each window, and tasks of the runs', async () => {
    const harness = await started()
    for (let i = 0; i < 3; i += 1) harness.log.append()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [2]])
    expect(harness.tasks.map(({ epoch, workflow }) => [epoch, workflow])).toEqual([
      [1, 'each'],
      [1, 'each'],
      [1, 'each'],
    ])
    expect(harness.postgres.cursor('each')).toMatchObject({ nextOffset: 3, lastOffset: 2, lastId: 'e2' })
  })

  it('passes over what is no event of a trigger, and what lies below its cursor', async () => {
    const harness = await started([each, trigger({ id: 'late' })], { late: 2 })
    harness.log.append()
    harness.log.append({ topic: 'orders/deleted' })
    harness.log.append()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [2]])
    expect(harness.postgres.windows('late')).toEqual([[2]])
  })

  it('closes a window by time only when a fetch at its position showed nothing', async () => {
    const harness = await started([tens])
    harness.log.append({ timestamp: 1_000 })
    harness.log.append({ timestamp: 1_500 })
    harness.nowMs = 60_000
    harness.fetch(1)
    await harness.flusher.drained()
    expect(harness.postgres.windows('tens')).toEqual([])
    harness.fetch(1)
    await harness.turn()
    harness.fetch()
    await harness.flusher.drained()
    expect(harness.postgres.windows('tens')).toEqual([[0, 1]])
    expect(harness.postgres.cursor('tens').nextOffset).toBe(2)
  })

  it('keeps the cursor at an open window’s first event, and moves idle cursors on', async () => {
    const harness = await started([tens, trigger({ id: 'other', pattern: 'orders/deleted' })])
    harness.log.append({ topic: 'orders/shipped' })
    harness.log.append()
    await harness.settle()
    harness.lane.writeProgress()
    await harness.flusher.drained()
    expect(harness.postgres.cursor('tens').nextOffset).toBe(1)
    expect(harness.postgres.cursor('other').nextOffset).toBe(2)
    harness.lane.writeProgress()
    expect(harness.committed.at(-1)).toBe(1)
  })

  it('sets a record that cannot be read aside, once, and goes on behind it', async () => {
    const harness = await started([each, tens])
    harness.log.append()
    harness.log.appendGarbage()
    harness.log.append()
    await harness.settle()
    expect(harness.letters).toMatchObject([
      { reason: 'not_an_event', stream: 'orders', partition: 0, offset: 1 },
    ])
    expect(harness.postgres.windows('each')).toEqual([[0], [2]])
  })

  it('counts what a foreign record has around its data against the bytes of a window', async () => {
    const harness = await started([tens])
    for (let i = 0; i < 5; i += 1) harness.log.append({ key: 'k'.repeat(400 * 1024) })
    await harness.settle()
    expect(harness.postgres.windows('tens')).toEqual([
      [0, 1],
      [2, 3],
    ])
  })

  it('takes no batch behind a hole: it asks again where it is', async () => {
    const harness = await started()
    for (let i = 0; i < 5; i += 1) harness.log.append()
    const beyond = harness.log.fetch(3, 10)
    expect(beyond).not.toBeNull()
    expect(beyond && harness.lane.push(beyond)).toEqual({ seek: 0 })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [2], [3], [4]])
  })

  it('goes over offsets that were never there', async () => {
    const harness = await started()
    harness.log.append()
    harness.log.append({ hole: 7 })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [8]])
    expect(harness.postgres.cursor('each').nextOffset).toBe(9)
  })

  it('starts at the lowest cursor, and one trigger far behind catches up beside it', async () => {
    const log = new PartitionLog()
    for (let i = 0; i < 10_050; i += 1)
      log.append({ topic: i % 5_000 === 0 ? 'orders/created' : 'orders/other' })
    const harness = new Harness({ triggers: [each, trigger({ id: 'behind' })], log })
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 10_049 })
    harness.postgres.add({ triggerId: 'behind', partition: 0, nextOffset: 0 })
    await harness.adopt()
    expect(harness.lane.position).toBe(10_049)
    expect(harness.catchUp.readers).toBe(1)
    await harness.settle()
    harness.log.append()
    await harness.settle()
    expect(harness.catchUp.readers).toBe(0)
    expect(harness.postgres.windows('behind')).toEqual([[0], [5_000], [10_000], [10_050]])
    expect(harness.postgres.windows('each')).toEqual([[10_050]])
  })

  it('builds open windows again under a changed definition', async () => {
    const harness = await started([tens])
    for (let i = 0; i < 5; i += 1) harness.log.append()
    await harness.settle()
    harness.triggers = [{ ...tens, windowSize: 2, version: 2 }]
    harness.postgres.add({ ...harness.postgres.cursor('tens'), version: 2 })
    harness.lanes.reconcile()
    await harness.settle()
    expect(harness.postgres.windows('tens')).toEqual([
      [0, 1],
      [2, 3],
    ])
  })

  it('leaves a paused trigger where it is, and takes it up there when it is resumed', async () => {
    const harness = await started([each, trigger({ id: 'other' })])
    harness.log.append()
    await harness.settle()
    harness.triggers = [{ ...each, status: 'paused' }, trigger({ id: 'other' })]
    harness.lanes.reconcile()
    for (let i = 0; i < 3; i += 1) harness.log.append()
    await harness.settle()
    expect(harness.postgres.cursor('each').nextOffset).toBe(1)
    expect(harness.postgres.cursor('other').nextOffset).toBe(4)
    harness.triggers = [each, trigger({ id: 'other' })]
    harness.lanes.reconcile()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [2], [3]])
    expect(harness.postgres.windows('other')).toEqual([[0], [1], [2], [3]])
  })

  it('gives a trigger without a cursor row the whole partition: that is newer than the trigger', async () => {
    const harness = new Harness({ triggers: [each] })
    harness.log.append()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0]])
  })

  it('reads again from the store when somebody else moved its cursor', async () => {
    const harness = await started()
    harness.log.append()
    await harness.settle()
    harness.postgres.add({ ...harness.postgres.cursor('each'), nextOffset: 3, revision: 9 })
    for (let i = 0; i < 4; i += 1) harness.log.append()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [3], [4]])
    expect(harness.postgres.cursor('each')).toMatchObject({ nextOffset: 5 })
  })

  it('stops a cursor whose events expired, unless its policy is to go on; nothing is silent', async () => {
    const harness = new Harness({ triggers: [each, trigger({ id: 'careless', gapPolicy: 'continue' })] })
    for (let i = 0; i < 5; i += 1) harness.log.append()
    harness.log.low = 3
    harness.log.records.splice(0, 3)
    for (const id of ['each', 'careless'])
      harness.postgres.add({ triggerId: id, partition: 0, nextOffset: 1 })
    await harness.settle()
    expect(harness.postgres.cursor('each')).toMatchObject({ status: 'stopped', reason: 'gap', nextOffset: 1 })
    expect(harness.postgres.windows('careless')).toEqual([[3], [4]])
  })

  it('stops a cursor beyond the log when it is found there twice', async () => {
    const harness = await started([each], { each: 7 })
    expect(harness.postgres.cursor('each').status).toBe('live')
    harness.nowMs = 1_999
    await harness.adopt()
    expect(harness.postgres.cursor('each').status).toBe('live')
    harness.nowMs = 2_000
    await harness.adopt()
    expect(harness.postgres.cursor('each')).toMatchObject({
      status: 'stopped',
      reason: 'recreated',
    })
  })

  it('stops a cursor when another record stands where it saw its last one: the topic was made anew', async () => {
    const before = await started()
    for (let i = 0; i < 3; i += 1) before.log.append({ timestamp: 1_000 + i })
    await before.settle()
    await before.revoke()
    const log = new PartitionLog()
    for (let i = 0; i < 9; i += 1) log.append({ timestamp: 2_000 + i })
    const after = new Harness({ triggers: [each], log, postgres: before.postgres })
    await after.settle()
    expect(after.postgres.cursor('each')).toMatchObject({ status: 'stopped', reason: 'recreated' })
    expect(after.postgres.windows('each')).toEqual([[0], [1], [2]])
  })

  it('stops a cursor whose open window lies beyond the end of the log', async () => {
    const before = await started([tens])
    for (let i = 0; i < 3; i += 1) before.log.append()
    before.fetch()
    await before.turn()
    before.postgres.add({ ...before.postgres.cursor('tens'), lastOffset: 2, lastTs: 0, lastId: 'e2' })
    await before.revoke()
    const log = new PartitionLog()
    log.append()
    const after = new Harness({ triggers: [tens], log, postgres: before.postgres })
    await after.adopt()
    after.nowMs = 2_000
    await after.adopt()
    expect(after.postgres.cursor('tens')).toMatchObject({ reason: 'truncated', nextOffset: 0 })
  })

  it('goes on where the record that its cursor saw last has expired', async () => {
    const before = await started()
    for (let i = 0; i < 3; i += 1) before.log.append()
    await before.settle()
    await before.revoke()
    const { log } = before
    log.records.splice(0, 3)
    log.low = 3
    log.append()
    const after = new Harness({ triggers: [each], log, postgres: before.postgres })
    await after.settle()
    expect(after.postgres.windows('each')).toEqual([[0], [1], [2], [3]])
  })

  it('stops no cursor that another instance moved while the log was asked', async () => {
    const harness = new Harness({ triggers: [each] })
    for (let i = 0; i < 5; i += 1) harness.log.append()
    harness.log.low = 3
    const cursor = harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 1 })
    harness.log.onOffsets = () => harness.postgres.add({ ...cursor, nextOffset: 4, revision: 1 })
    await harness.adopt()
    expect(harness.postgres.cursor('each')).toMatchObject({ status: 'live', nextOffset: 4 })
  })

  it('begins no cursor on a partition whose marks are not known yet', async () => {
    const harness = new Harness({ triggers: [each] })
    harness.log.append()
    harness.log.low = 1
    harness.log.leaderless = true
    await harness.adopt()
    expect(harness.postgres.cursors.size).toBe(0)
    harness.log.leaderless = false
    await harness.adopt()
    expect(harness.postgres.cursor('each').nextOffset).toBe(1)
  })

  it('that fails is left to the sweep, so that what fails again is no hot loop', async () => {
    const harness = await started()
    const { pokes } = harness
    harness.log.appendGarbage()
    harness.letterFault = new TypeError('a fault of ours')
    harness.fetch()
    await harness.turn()
    await harness.turn()
    expect(harness.lane.reading).toBe(false)
    expect(harness.pokes).toBe(pokes)
    await harness.settle()
    expect(harness.letters.length).toBe(1)
    expect(harness.postgres.cursor('each').status).toBe('live')
  })

  it('with a trigger that catches up stops when it is told to, not when that trigger is through', async () => {
    const harness = new Harness({ triggers: [each, trigger({ id: 'behind' })] })
    for (let i = 0; i < 30_000; i += 1) harness.log.append()
    harness.log.chunkRecords = 10
    harness.postgres.add({ triggerId: 'each', partition: 0, nextOffset: 30_000 })
    harness.postgres.add({ triggerId: 'behind', partition: 0, nextOffset: 0 })
    await harness.adopt()
    expect(harness.catchUp.readers).toBe(1)
    harness.catchUp.freeze()
    await harness.catchUp.ended()
    await harness.flusher.drained()
    expect(harness.postgres.cursor('behind').nextOffset).toBeLessThan(30_000)
    await harness.revoke()
  })

  it('compares its cursors with the log again when the log does not hold its position', async () => {
    const harness = await started()
    harness.log.append()
    await harness.settle()
    harness.log.low = 4
    harness.log.high = 4
    const { pokes } = harness
    expect(harness.lane.outOfRange({ position: 1, low: 4, high: 4 })).toBeNull()
    expect(harness.pokes).toBe(pokes + 1)
    expect(harness.fetch()).toBe(false)
    await harness.adopt()
    expect(harness.postgres.cursor('each')).toMatchObject({ status: 'stopped', reason: 'gap' })
  })

  it('that is revoked flushes nothing more', async () => {
    const harness = await started([tens])
    for (let i = 0; i < 25; i += 1) harness.log.append()
    harness.fetch()
    await harness.revoke()
    expect(harness.postgres.runs).toEqual([])
    const next = new Harness({ triggers: [tens], log: harness.log, postgres: harness.postgres })
    await next.settle()
    expect(next.postgres.windows('tens').map(({ length }) => length)).toEqual([10, 10])
    expect(next.postgres.cursor('tens').nextOffset).toBe(20)
  })

  it('owned by two instances for a moment starts nothing twice: one of them loses, and reads again', async () => {
    const one = await started([each, tens])
    const two = new Harness({ triggers: [each, tens], log: one.log, postgres: one.postgres })
    await two.adopt()
    for (let round = 0; round < 10; round += 1) {
      for (let i = 0; i < 7; i += 1) one.log.append()
      one.fetch(5)
      two.fetch(3)
      await one.flusher.drained()
      await two.flusher.drained()
      await one.adopt()
      await two.adopt()
    }
    await one.revoke()
    two.nowMs = 60_000
    await two.settle()
    const all = Array.from({ length: 70 }, (_, offset) => offset)
    expect(two.postgres.windows('each').flat()).toEqual(all)
    expect(two.postgres.windows('tens').flat()).toEqual(all)
  })
})
