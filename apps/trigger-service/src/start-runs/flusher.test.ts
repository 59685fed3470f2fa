import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Harness, trigger } from '../stage/harness.ts'
import { PartitionLog } from '../stage/partition-log.ts'
import { FakePostgres, type Trouble } from '../stage/postgres.ts'

const each = trigger({ id: 'each' })

async function withEvents(count: number, triggers = [each]): Promise<Harness> {
  const harness = new Harness({ triggers })
  for (let i = 0; i < count; i += 1) harness.log.append({ data: i })
  for (const { id } of triggers) harness.postgres.add({ triggerId: id, partition: 0, nextOffset: 0 })
  await harness.adopt()
  return harness
}
const singles = (count: number) => Array.from({ length: count }, (_, offset) => [offset])

describe('a flush', () => {
  it('takes all windows of a chunk of records in one statement', async () => {
    const harness = await withEvents(50)
    harness.fetch(50)
    await harness.flusher.drained()
    expect(harness.postgres.windows('each')).toEqual(singles(50))
    expect(harness.postgres.flushes).toBe(1)
  })

  it('waits out an outage, and stores each window once', async () => {
    const harness = await withEvents(5)
    harness.postgres.troubles.push('lost_before', 'deadlock', 'lost_before')
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual(singles(5))
    expect(harness.tasks.length).toBe(5)
  })

  it('whose answer is lost after the commit is recognised by its run ids, and its tasks are sent', async () => {
    const harness = await withEvents(5)
    harness.postgres.troubles.push('lost_after')
    harness.fetch()
    await harness.flusher.drained()
    expect(harness.postgres.windows('each')).toEqual(singles(5))
    expect(harness.tasks.map(({ runId }) => runId)).toEqual(harness.postgres.runs.map(({ runId }) => runId))
    expect([...harness.lane.followers].length).toBe(1)
    harness.log.append()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual(singles(6))
  })

  it('drops only the follower whose cursor row did not move', async () => {
    const harness = await withEvents(4, [each, trigger({ id: 'other' })])
    harness.postgres.add({ ...harness.postgres.cursor('other'), revision: 5 })
    harness.fetch()
    await harness.flusher.drained()
    expect(harness.postgres.windows('each')).toEqual(singles(4))
    expect(harness.postgres.windows('other')).toEqual([])
    expect([...harness.lane.followers].map((follower) => follower.trigger.id)).toEqual(['each'])
    await harness.settle()
    expect(harness.postgres.windows('other')).toEqual(singles(4))
  })

  it('that fails for a row’s sake loses that window alone, as a dead letter, and keeps the order', async () => {
    const harness = await withEvents(20, [each, trigger({ id: 'other' })])
    harness.postgres.refuses = ({ triggerId, firstOffset }) =>
      triggerId === 'each' && (firstOffset === 7 || firstOffset === 13)
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual(
      singles(20).filter(([offset]) => offset !== 7 && offset !== 13),
    )
    expect(harness.postgres.windows('other')).toEqual(singles(20))
    expect(harness.letters.map(({ reason, offset, triggerId }) => [reason, offset, triggerId])).toEqual([
      ['run_not_storable', 7, 'each'],
      ['run_not_storable', 13, 'each'],
    ])
    expect(harness.postgres.cursor('each').nextOffset).toBe(20)
  })

  it('sets aside an event that is too large for any window', async () => {
    const harness = await withEvents(1)
    harness.log.append({ data: 'x'.repeat(1024 * 1024) })
    harness.log.append()
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual([[0], [2]])
    expect(harness.letters).toMatchObject([{ reason: 'input_too_large', offset: 1, triggerId: 'each' }])
  })

  it('that fails for a fault of ours is left to the sweep, and then loses nothing', async () => {
    const harness = await withEvents(0, [each, trigger({ id: 'tens', windowSize: 10 })])
    harness.log.append({ data: 'x'.repeat(1024 * 1024) })
    for (let i = 0; i < 600; i += 1) harness.log.append()
    const { pokes } = harness
    harness.letterFault = new TypeError('a fault of ours')
    harness.fetch(601)
    await harness.flusher.drained()
    expect(harness.pokes).toBe(pokes)
    await harness.settle()
    expect(harness.postgres.windows('each')).toEqual(singles(601).slice(1))
    expect(harness.letters.map(({ offset }) => offset)).toContain(0)
  })

  it('of a paused trigger is refused by the store and moves nothing', async () => {
    const harness = await withEvents(3)
    harness.postgres.add({ ...harness.postgres.cursor('each'), status: 'paused' })
    await harness.settle()
    expect(harness.postgres.runs).toEqual([])
    expect(harness.postgres.cursor('each').nextOffset).toBe(0)
  })
})

type Deed =
  | { do: 'append'; count: number; stepMs: number }
  | { do: 'fetch'; count: number }
  | { do: 'trouble'; trouble: Trouble }
  | { do: 'adopt' | 'head' | 'flushed' | 'fence' | 'move' | 'pause' | 'resume' | 'progress' | 'change' }

const deeds: fc.Arbitrary<Deed[]> = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 6 }),
      stepMs: fc.integer({ min: 0, max: 40 }),
    }),
    fc.record({ do: fc.constant('fetch' as const), count: fc.integer({ min: 1, max: 7 }) }),
    fc.record({
      do: fc.constant('trouble' as const),
      trouble: fc.constantFrom<Trouble>('lost_before', 'lost_after', 'deadlock'),
    }),
    fc.record({
      do: fc.constantFrom(
        ...(['adopt', 'head', 'flushed', 'fence', 'move', 'pause', 'resume', 'progress', 'change'] as const),
      ),
    }),
  ),
  { maxLength: 60 },
)

describe('whatever happens in whatever order', () => {
  it('every event of a trigger is in exactly one window, in order (P2)', async () => {
    await fc.assert(
      fc.asyncProperty(deeds, async (script) => {
        const log = new PartitionLog()
        const postgres = new FakePostgres()
        const threes = trigger({ id: 'threes', windowSize: 3, windowTimeoutMs: 100 })
        const harness = new Harness({ triggers: [each, threes], log, postgres })
        let logMs = 0
        for (const deed of script) logMs = await act(harness, deed, logMs)
        harness.triggers = harness.triggers.map((row) => ({ ...row, status: 'live' as const }))
        postgres.troubles.length = 0
        harness.lanes.reconcile()
        await harness.settle()
        harness.nowMs = logMs + 1_000
        await harness.settle()
        const all = log.records.map(({ offset }) => offset)
        expect(postgres.windows('each').flat()).toEqual(all)
        expect(postgres.windows('threes').flat()).toEqual(all)
        expect(postgres.windows('threes').every(({ length }) => length <= 3)).toBe(true)
        expect(harness.tasks.length).toBeLessThanOrEqual(postgres.runs.length)
        await harness.revoke()
      }),
      { numRuns: 300 },
    )
  })
})

async function act(harness: Harness, deed: Deed, logMs: number): Promise<number> {
  const { log, postgres } = harness
  const first = [...postgres.cursors.values()][0]
  switch (deed.do) {
    case 'append':
      for (let i = 0; i < deed.count; i += 1) log.append({ timestamp: logMs })
      return logMs + deed.stepMs
    case 'fetch':
      harness.fetch(deed.count)
      break
    case 'head':
      harness.nowMs = Math.max(harness.nowMs, logMs)
      harness.fetch(1_000)
      break
    case 'trouble':
      postgres.troubles.push(deed.trouble)
      break
    case 'adopt':
      await harness.adopt()
      break
    case 'flushed':
      await harness.flusher.drained()
      break
    case 'fence':
      // Another instance touched the row without moving it.
      if (first) postgres.add({ ...first, revision: first.revision + 1 })
      break
    case 'move':
      await new Promise(setImmediate)
      break
    case 'pause':
    case 'resume': {
      const status = deed.do === 'pause' ? ('paused' as const) : ('live' as const)
      harness.triggers = harness.triggers.map((row) => (row.id === 'each' ? { ...row, status } : row))
      harness.lanes.reconcile()
      break
    }
    case 'progress':
      harness.lane.writeProgress()
      break
    case 'change': {
      const [one, ...others] = harness.triggers
      if (!one || !first) break
      const cursor = [...postgres.cursors.values()].find(({ triggerId }) => triggerId === one.id)
      if (!cursor) break
      harness.triggers = [{ ...one, version: one.version + 1 }, ...others]
      postgres.add({ ...cursor, version: one.version + 1 })
      harness.lanes.reconcile()
      break
    }
  }
  return logMs
}
