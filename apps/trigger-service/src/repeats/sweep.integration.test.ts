import { BoundStreams, BrokerError } from '@headrace/broker'
import { createMetrics, silentLogger, systemClock } from '@headrace/service'
import { enterEventIds, openStore, type Store, sweptEventIds } from '@headrace/store'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { PartitionLog } from '../stage/partition-log.ts'
import { RepeatSweep, type SweepParts } from './sweep.ts'

const hourMs = 3_600_000

let store: Store
let now: number
let log: PartitionLog
beforeAll(async () => {
  store = openStore({ url: (await createDatabase()).url, applicationName: 'test' })
})
afterAll(async () => {
  await store.close()
})
beforeEach(async () => {
  await store.general.query('truncate event_ids, event_id_sweeps, trigger_cursors')
  now = await store.serverNow()
  log = new PartitionLog()
})

const sweepOf = (broker: SweepParts['broker'] = log): RepeatSweep =>
  new RepeatSweep(
    { log: silentLogger, clock: systemClock, metrics: createMetrics() },
    { store, broker, streams: new BoundStreams('test') },
  )
const readingFails = (code: string): SweepParts['broker'] => ({
  readRange: () => {
    throw new BrokerError(code, code, { retryable: false })
  },
})
/** An id of an event of so many hours ago, named after them. */
const enterOf = async (...hoursAgo: number[]): Promise<void> =>
  void (await enterEventIds(
    store,
    hoursAgo.map((hours) => ({
      stream: 'orders',
      source: 'till',
      id: String(hours),
      incarnation: 1,
      partition: 0,
      sequenceId: hours,
      logTimeMs: now - hours * hourMs,
      runId: null,
    })),
  ))
const left = async (): Promise<number[]> => {
  const { rows } = await store.general.query<{ id: string }>('select id from event_ids')
  return rows.map(({ id }) => Number(id)).toSorted((a, b) => a - b)
}
const cursorAt = async (nextOffset: number, trigger = 'each', status = 'live'): Promise<void> =>
  void (await store.general.query(
    `insert into trigger_cursors (trigger_id, stream, partition, next_offset, version, status) values ($1, 'orders', 0, $2, 1, $3)
     on conflict (stream, partition, trigger_id) do update set next_offset = excluded.next_offset`,
    [trigger, nextOffset, status],
  ))

describe('the sweep of ids', () => {
  it('goes 24 h behind the next event of the slowest cursor that is followed, and then behind the present', async () => {
    log.append({ timestamp: now - 60 * hourMs })
    log.append({ timestamp: now - 40 * hourMs })
    log.append({ timestamp: now - 1 * hourMs })
    await enterOf(1, 23, 25, 63, 65, 70, 90)
    await cursorAt(2, 'ahead')
    await cursorAt(1, 'behind')
    await cursorAt(0, 'paused', 'paused')
    const sweep = sweepOf()
    await sweep.duty.runOnce()
    expect(await left()).toEqual([1, 23, 25, 63])
    await cursorAt(2, 'behind')
    await sweep.duty.runOnce()
    expect(await left()).toEqual([1, 23, 25])
    // Nothing before either of them: only what comes can be a repeat.
    await cursorAt(3, 'behind')
    await cursorAt(3, 'ahead')
    await sweep.duty.runOnce()
    expect(await left()).toEqual([1, 23])
  })

  it('goes 24 h behind the present when nobody follows', async () => {
    log.append({ timestamp: now - 60 * hourMs })
    await enterOf(1, 23, 25, 90)
    await cursorAt(0, 'paused', 'paused')
    await sweepOf().duty.runOnce()
    expect(await left()).toEqual([1, 23])
    const { sweptToMs } = await sweptEventIds(store, 'orders')
    expect(sweptToMs).toBeGreaterThan(now - 25 * hourMs)
    expect(sweptToMs).toBeLessThan(now - 24 * hourMs + 1_000)
  })

  it('looks at the first event that is left where retention overtook the cursor', async () => {
    log.append({ timestamp: now - 60 * hourMs })
    log.append({ timestamp: now - 40 * hourMs })
    log.low = 1
    await enterOf(63, 65)
    await cursorAt(0)
    await sweepOf().duty.runOnce()
    expect(await left()).toEqual([63])
  })

  it('keeps everything behind a cursor that is beyond its log', async () => {
    await enterOf(90)
    await cursorAt(1_000)
    await sweepOf().duty.runOnce()
    expect(await left()).toEqual([90])
  })

  it('does not wait for a topic that is gone', async () => {
    await enterOf(1, 90)
    await cursorAt(0)
    const gone = readingFails('unknown_topic')
    await sweepOf(gone).duty.runOnce()
    expect(await left()).toEqual([1])
  })

  it('keeps the ids of a stream whose log cannot be read, and takes those of the others', async () => {
    await enterOf(90)
    await cursorAt(0)
    await store.general.query(`insert into event_ids (stream, source, id, partition, sequence_id, log_time)
      values ('a', 't', '99', 0, 0, now() - interval '3 days'), ('z', 't', '98', 0, 0, now() - interval '3 days')`)
    const away = readingFails('leader_not_available')
    await expect(sweepOf(away).duty.runOnce()).rejects.toThrow('leader_not_available')
    expect(await left()).toEqual([90])
  })
})
