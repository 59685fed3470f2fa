import { decodeResponse } from '@headrace/core'
import type { OutgoingRecord, ProduceOutcome } from '@headrace/broker'
import { projectionTriggerId } from '@headrace/store'
import { describe, expect, it } from 'vitest'
import { Harness, trigger } from '../stage/harness.ts'
import { PartitionLog } from '../stage/partition-log.ts'

const T = 1_795_000_000_000
const waited = [{ stream: 'orders', projectedFrom: T }]
const each = trigger({ id: 'each' })

const away: ProduceOutcome = { status: 'refused', code: 'unknown_topic', message: 'gone', retryable: false }
const tooLarge: ProduceOutcome = { ...away, code: 'message_too_large' }

/** The sequence ids of responses, in their order. */
function sequenceIds(responses: readonly OutgoingRecord[]): number[] {
  return responses.map(({ key, value, headers }) => {
    const read = { key: Buffer.from(key ?? ''), value: Buffer.from(value ?? ''), headers }
    const decoded = decodeResponse({ partition: 0, offset: 0, timestamp: 0, ...read })
    if (decoded.kind === 'unreadable') throw new Error(decoded.detail)
    return decoded.response.event.sequenceId
  })
}

const upTo = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i)

async function started(events = 0, { triggers = [] as (typeof each)[] } = {}): Promise<Harness> {
  const harness = new Harness({ triggers, waited })
  for (let i = 0; i < events; i += 1) harness.log.append({ timestamp: T + i })
  await harness.settle()
  return harness
}

const cursor = (harness: Harness): number => harness.postgres.cursor(projectionTriggerId).nextOffset

describe('the projection', () => {
  it('copies every event of a stream that no trigger has, in order, and takes its cursor on', async () => {
    const harness = await started(3)
    expect(sequenceIds(harness.responses)).toEqual([0, 1, 2])
    expect(harness.responses[0]).toMatchObject({ topic: 'test.responses', key: 'orders/created' })
    expect(cursor(harness)).toBe(3)
  })

  it('begins at the first event of the time from which somebody waits', async () => {
    const log = new PartitionLog()
    for (const timestamp of [T - 2, T - 1, T, T + 1]) log.append({ timestamp })
    const harness = new Harness({ triggers: [], waited, log })
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([2, 3])
    expect(harness.postgres.projections).toMatchObject([{ fromOffset: 2, projectedFrom: T }])
  })

  it('begins at the end of a log that holds nothing so young', async () => {
    const log = new PartitionLog()
    log.append({ timestamp: T - 1 })
    const harness = new Harness({ triggers: [], waited, log })
    await harness.settle()
    log.append({ timestamp: T + 5 })
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([1])
  })

  it('misses no event that comes while it asks where to begin', async () => {
    const log = new PartitionLog()
    log.append({ timestamp: T - 1 })
    let appended = false
    const timed = log.offsetsForTime.bind(log)
    log.offsetsForTime = async (topic, timeMs) => {
      const found = await timed(topic, timeMs)
      if (!appended) log.append({ timestamp: T + 1 })
      appended = true
      return found
    }
    const harness = new Harness({ triggers: [], waited, log })
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([1])
  })

  it('that cannot find where to begin delays no trigger of its stream', async () => {
    const log = new PartitionLog()
    const timed = log.offsetsForTime.bind(log)
    log.offsetsForTime = () => Promise.reject(new Error('the times of this log cannot be asked for'))
    const harness = new Harness({ triggers: [each], waited, log })
    log.append({ timestamp: T })
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0]])
    log.offsetsForTime = timed
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([0])
  })

  it('is beside the triggers of its stream, and takes nothing from them', async () => {
    const harness = await started(5, { triggers: [each] })
    expect(harness.postgres.windows('each')).toEqual([[0], [1], [2], [3], [4]])
    expect(sequenceIds(harness.responses)).toEqual([0, 1, 2, 3, 4])
  })

  it('copies no repeat, and passes it', async () => {
    const harness = await started()
    harness.log.append({ timestamp: T, id: 'same' })
    harness.log.append({ timestamp: T + 1, id: 'same' })
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([0])
    expect(cursor(harness)).toBe(2)
  })

  it('passes what is no event, and what was never there', async () => {
    const harness = await started(1)
    harness.log.appendGarbage()
    harness.log.append({ timestamp: T + 9, hole: 4 })
    harness.log.appendGarbage()
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([0, 6])
    expect(harness.letters.map(({ offset }) => offset)).toEqual([1, 7])
    expect(cursor(harness)).toBe(8)
  })

  it('reaches the end behind a tail that was aborted: time-outs wait for it', async () => {
    const harness = await started(1)
    harness.log.high += 3
    harness.fetch()
    await harness.turn()
    await harness.flusher.drained()
    expect(cursor(harness)).toBe(4)
  })

  it('waits while Kafka refuses, alone: triggers go on, and then all is copied in order', async () => {
    const harness = await started(1, { triggers: [each] })
    harness.refuse = () => away
    // More than a lane holds for it, so that it leaves the lane and catches up.
    const data = 'x'.repeat(100_000)
    for (let i = 1; i < 101; i += 1) harness.log.append({ timestamp: T + i, data })
    for (let i = 0; i < 40; i += 1) {
      harness.fetch(10)
      await harness.turn()
      await harness.flusher.drained()
    }
    expect(harness.postgres.windows('each').length).toBe(101)
    expect(cursor(harness)).toBe(1)
    expect([...harness.lane.followers].map(({ trigger: { id } }) => id)).toEqual(['each'])
    expect([...harness.lane.chasers].map(({ trigger: { id } }) => id)).toEqual([projectionTriggerId])
    harness.refuse = () => null
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual(upTo(101))
    expect([...harness.lane.followers].length).toBe(2)
    expect(cursor(harness)).toBe(101)
  })

  it('that is alone on its lane holds no more than it may while Kafka refuses', async () => {
    const harness = await started(1)
    harness.refuse = () => away
    const data = 'x'.repeat(100_000)
    for (let i = 1; i < 201; i += 1) harness.log.append({ timestamp: T + i, data })
    for (let i = 0; i < 60; i += 1) {
      harness.fetch(10)
      await harness.turn()
    }
    const pending = [...harness.lane.followers, ...harness.lane.chasers].map((one) => one.pending.bytes)
    expect(Math.max(...pending)).toBeLessThan(harness.lane.pendingBytesMax + 2 * 1024 * 1024)
    harness.refuse = () => null
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual(upTo(201))
  })

  it('copies again what was acknowledged when its owner died before the cursor moved', async () => {
    const one = await started(2)
    one.postgres.troubles.push('lost_before')
    one.log.append({ timestamp: T + 3 })
    one.fetch()
    await one.turn()
    await one.turn()
    await one.revoke()
    expect(sequenceIds(one.responses)).toEqual([0, 1, 2])
    expect(cursor(one)).toBe(2)
    const { log, postgres } = one
    const two = new Harness({ triggers: [], waited, log, postgres })
    await two.settle()
    expect(sequenceIds(two.responses)).toEqual([2])
    expect(cursor(two)).toBe(3)
  })

  it('that somebody else moved is dropped and read again', async () => {
    const harness = await started(2)
    const row = harness.postgres.cursor(projectionTriggerId)
    harness.postgres.add({ ...row, nextOffset: 4, revision: 9 })
    for (let i = 2; i < 6; i += 1) harness.log.append({ timestamp: T + i })
    await harness.settle()
    expect(new Set(sequenceIds(harness.responses))).toEqual(new Set(upTo(6)))
    expect(harness.postgres.cursor(projectionTriggerId)).toMatchObject({ nextOffset: 6 })
  })

  it('stops where its topic was made anew, and the triggers’ rule is its own', async () => {
    const harness = await started(0)
    harness.postgres.add({ ...harness.postgres.cursor(projectionTriggerId), nextOffset: 50, revision: 3 })
    const next = new Harness({ triggers: [], waited, log: harness.log, postgres: harness.postgres })
    await next.adopt()
    next.nowMs = 2_000
    await next.adopt()
    expect(next.postgres.cursor(projectionTriggerId)).toMatchObject({
      status: 'stopped',
      reason: 'recreated',
    })
  })

  it('sets an event aside that fits no response, and goes on behind it', async () => {
    const harness = await started()
    harness.refuse = ({ value }) => (value === '"large"' ? { ...tooLarge, code: 'record_too_large' } : null)
    for (const data of ['a', 'large', 'b']) harness.log.append({ timestamp: T, data })
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([0, 2])
    expect(harness.letters).toMatchObject([
      { reason: 'response_too_large', offset: 1, stream: 'orders', triggerId: projectionTriggerId },
    ])
    expect(cursor(harness)).toBe(3)
  })

  it('of a batch that Kafka finds too large writes one by one, and sets aside only what is too large alone', async () => {
    const harness = await started()
    let calls: string[][] = []
    harness.refuse = ({ value }) => {
      calls.at(-1)?.push(String(value))
      return value === '"large"' || calls.length <= 1 ? tooLarge : null
    }
    const produce = harness.onProduce
    harness.onProduce = () => {
      calls = [...calls, []]
      produce()
    }
    for (const data of ['a', 'large', 'b']) harness.log.append({ timestamp: T, data })
    await harness.settle()
    expect(calls.map(({ length }) => length)).toEqual([3, 1, 1, 1])
    expect(sequenceIds(harness.responses)).toEqual([0, 2])
    expect(harness.letters).toMatchObject([{ reason: 'response_too_large', offset: 1 }])
  })
})

describe('a gap of the projection', () => {
  const early = T - 5

  async function withGap(): Promise<Harness> {
    const log = new PartitionLog()
    for (let i = -10; i < 2; i += 1) log.append({ timestamp: T + i })
    const harness = new Harness({ triggers: [], waited, log })
    await harness.settle()
    expect(sequenceIds(harness.responses)).toEqual([10, 11])
    harness.responses.length = 0
    harness.postgres.wantedFrom = early
    return harness
  }

  it('is filled beside the head, which goes on meanwhile', async () => {
    const harness = await withGap()
    harness.log.chunkRecords = 2
    await harness.gaps.duty.runOnce()
    harness.log.append({ timestamp: T + 9 })
    await harness.settle()
    const copied = sequenceIds(harness.responses)
    expect(copied.filter((id) => id < 10)).toEqual([5, 6, 7, 8, 9])
    expect(copied).toContain(12)
    expect(harness.postgres.projections).toMatchObject([{ fromOffset: 5, projectedFrom: early }])
  })

  it('is said to be filled only when all of it is acknowledged', async () => {
    const harness = await withGap()
    harness.refuse = () => away
    await harness.gaps.duty.runOnce()
    for (let i = 0; i < 20; i += 1) await harness.turn()
    expect(harness.postgres.projections).toMatchObject([{ fromOffset: 10, projectedFrom: T }])
    harness.refuse = () => null
    await harness.settle()
    expect(harness.postgres.projections).toMatchObject([{ fromOffset: 5, projectedFrom: early }])
  })

  it('is left to whoever owns the partition next', async () => {
    const harness = await withGap()
    harness.refuse = () => away
    await harness.gaps.duty.runOnce()
    await harness.revoke()
    await harness.gaps.stop()
    const { log, postgres } = harness
    const next = new Harness({ triggers: [], waited, log, postgres })
    await next.settle()
    await next.gaps.duty.runOnce()
    await next.settle()
    expect(sequenceIds(next.responses)).toEqual([5, 6, 7, 8, 9])
  })

  it('is not read while the projection is stopped', async () => {
    const harness = await withGap()
    harness.waited = []
    harness.lanes.reconcile()
    await harness.gaps.duty.runOnce()
    await harness.settle()
    expect(harness.responses).toEqual([])
  })

  it('that holds nothing is closed without a read', async () => {
    const log = new PartitionLog()
    log.append({ timestamp: T - 100 })
    const harness = new Harness({ triggers: [], waited, log })
    await harness.settle()
    harness.postgres.wantedFrom = early
    await harness.gaps.duty.runOnce()
    await harness.settle()
    expect(harness.responses).toEqual([])
    expect(harness.postgres.projections).toMatchObject([{ fromOffset: 1, projectedFrom: early }])
  })
})
