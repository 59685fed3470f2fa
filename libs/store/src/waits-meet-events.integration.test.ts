import { createDatabase } from '@headrace/testing'
import type { PoolClient } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { tally } from './fixtures/in-order.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import {
  eventWait,
  inHandOf,
  lookbackMs,
  sameData,
  sequenceIdOf,
  storeIn,
  waitScene,
  type WaitScene,
} from './fixtures/waits.ts'
import {
  answerFromResponses,
  type Answered,
  type FilterMatch,
  openPendingWaits,
  openWaitsOn,
  type WaitRequest,
} from './index.ts'
import type { ResponseRow } from './queries/insert-responses.ts'
import { registerStatement } from './queries/register-waits-statement.ts'
import { registerValues } from './queries/register-waits.ts'
import { run } from './statement.ts'

let scene: Scene
let waits: WaitScene
let topics = 0
let topic: string
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  waits = await waitScene(scene)
  await waits.openStreams('answers')
})
afterAll(async () => {
  await scene.close()
})
beforeEach(() => {
  topics += 1
  topic = `answers/t${topics}`
})

const event = (sequenceId: number, changes: Partial<ResponseRow> = {}): ResponseRow =>
  waits.response(sequenceId, { topic, ...changes })

/** What the correlator does with a batch once it is committed. */
async function correlate(batch: ResponseRow[], matches: FilterMatch = sameData): Promise<Answered> {
  const found = await openWaitsOn(scene.store, [topic], null, 1_000)
  return await answerFromResponses(scene.store, found, matches, batch.map(inHandOf))
}
const receivedBy = async (id: string, key: string): Promise<unknown> =>
  (await waits.wait(id, key))['sequence_id']

describe('wait insert × correlator insert', () => {
  const seen = tally()
  /** What has been committed, by whom, when each looks. `commit`: of what the other session holds. */
  interface Meeting {
    holding: PoolClient
    commit: () => Promise<unknown>
    insert: () => Promise<unknown>
    match: () => Promise<void>
    register: () => Promise<unknown>
    look: () => Promise<void>
  }
  const orders: [string, (meeting: Meeting) => Promise<unknown>][] = [
    [
      'response, then wait: wait',
      async ({ insert, match, register, look }) => {
        await insert()
        await match()
        await register()
        await look()
      },
    ],
    [
      'wait, then response: correlator',
      async ({ insert, match, register, look }) => {
        await register()
        await look()
        await insert()
        await match()
      },
    ],
    [
      'response in flight while the wait looks: correlator',
      async ({ holding, commit, match, register, look }) => {
        await storeIn(holding, event(1))
        await register()
        await look()
        await commit()
        await match()
      },
    ],
    [
      'wait in flight while the correlator looks: wait',
      async ({ holding, commit, insert, match, look }) => {
        await run(holding, registerStatement, registerValues([wait], lookbackMs))
        await insert()
        await match()
        await commit()
        await look()
      },
    ],
  ]
  let wait: WaitRequest
  test.each([null, '1'].flatMap((filter) => orders.map((order) => [filter, ...order] as const)))(
    'filter %s; %s',
    async (filter, _, meet) => {
      const id = await waits.claimed()
      wait = eventWait(id, 'a', { topic, filter })
      const by = { wait: 0, correlator: 0 }
      const holding = await scene.store.general.connect()
      try {
        await holding.query('begin')
        await meet({
          holding,
          commit: async () => await holding.query('commit'),
          insert: async () => await waits.store(event(1)),
          register: async () => await waits.register(wait),
          look: async () => {
            by.wait += (await waits.look([id, 'a'])).answers.length
          },
          match: async () => {
            by.correlator += (await correlate([event(1)])).answers.length
          },
        })
        await holding.query('commit')
      } finally {
        holding.release()
      }
      expect(by.wait + by.correlator).toBe(1)
      expect(await receivedBy(id, 'a')).toBe(1)
      seen.add(by.wait === 1 ? 'wait' : 'correlator')
    },
  )
  test('each of the two was the one that saw the other', () => {
    expect(seen.counts).toEqual({ wait: 4, correlator: 4 })
  })
})

describe('an earlier response that is stored and not yet looked at × a later one in the correlator’s hands', () => {
  const any: FilterMatch = () => true
  test.each([null, 'any'])('the earlier one answers (filter: %s)', async (filter) => {
    const id = await waits.claimed()
    await waits.store(event(1))
    await waits.register(eventWait(id, 'a', { topic, filter }))
    // The wait has not looked for itself.
    await waits.store(event(2))
    expect((await correlate([event(2)], any)).answers).toHaveLength(1)
    expect(await receivedBy(id, 'a')).toBe(1)
  })

  test.each([null, 'any'])(
    'also to a wait that was opened and has not looked since (filter: %s)',
    async (filter) => {
      const stream = `later${topics}`
      topic = `${stream}/a`
      const id = await waits.claimed()
      await waits.register(eventWait(id, 'a', { topic, filter }))
      await waits.look([id, 'a'])
      await waits.store(event(1))
      expect((await correlate([event(1)], any)).answers).toEqual([])
      await scene.row(`update waited_streams set open_from = projected_from where stream = $1`, [stream])
      expect(await openPendingWaits(scene.store)).toHaveLength(1)
      await waits.store(event(2))
      expect((await correlate([event(2)], any)).answers).toHaveLength(1)
      expect(await receivedBy(id, 'a')).toBe(1)
    },
  )

  test('a wait that has looked needs no more than what is in hand', async () => {
    const id = await waits.claimed()
    await waits.store(event(1), event(2))
    await waits.register(eventWait(id, 'a', { topic, filter: '3' }))
    await waits.look([id, 'a'])
    const asked: number[] = []
    const asking: FilterMatch = (filter, { sequence_id, data }) => {
      asked.push(sequence_id)
      return JSON.stringify(data) === filter
    }
    await waits.store(event(3), event(4))
    expect((await correlate([event(3), event(4)], asking)).answers).toHaveLength(1)
    expect(asked).toEqual([3, 4])
    expect(await receivedBy(id, 'a')).toBe(3)
  })

  test('a wait that has not looked is left to do so where its filter lets nothing in hand pass', async () => {
    const id = await waits.claimed()
    await waits.store(event(1))
    await waits.register(eventWait(id, 'a', { topic, filter: '1' }))
    await waits.store(event(2))
    const asked: number[] = []
    const asking: FilterMatch = (filter, { sequence_id, data }) => {
      asked.push(sequence_id)
      return JSON.stringify(data) === filter
    }
    expect((await correlate([event(2)], asking)).answers).toEqual([])
    expect(asked).toEqual([2])
    // It has still not looked.
    expect(await scene.row('select checked_at from waits where run_id = $1', [id])).toEqual({
      checked_at: null,
    })
    expect((await waits.look([id, 'a'])).answers).toHaveLength(1)
    expect(await receivedBy(id, 'a')).toBe(1)
  })

  test('a filter that takes its time leaves everybody else their turns', async () => {
    const id = await waits.claimed()
    const events = Array.from({ length: 60 }, (_, n) => event(n + 1))
    await waits.store(...events)
    await waits.register(eventWait(id, 'a', { topic, filter: 'none' }))
    let inARow = 0
    let most = 0
    const turns = setInterval(() => (inARow = 0), 0)
    const slow: FilterMatch = () => {
      for (const until = performance.now() + 3; performance.now() < until;);
      inARow += 1
      most = Math.max(most, inARow)
      return false
    }
    try {
      await answerFromResponses(scene.store, [{ runId: id, key: 'a' }], slow)
      inARow = 0
      await correlate(events, slow)
    } finally {
      clearInterval(turns)
    }
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThan(10)
  })

  test('a batch that comes again after its wait was answered changes nothing', async () => {
    const id = await waits.claimed()
    await waits.waiting(id, 'a', { topic })
    await waits.store(event(1))
    expect((await correlate([event(1)])).answers).toHaveLength(1)
    await waits.store(event(1))
    expect((await correlate([event(1)])).answers).toEqual([])
    expect(await waits.run(id)).toMatchObject({ wake: 1 })
  })
})

describe('log times that go backwards within a partition', () => {
  test('do not change the order of its events', async () => {
    const id = await waits.claimed()
    const { logTimeMs } = event(0)
    await waits.store(
      event(5, { logTimeMs: logTimeMs + 30 }),
      event(6, { logTimeMs: logTimeMs + 10 }),
      event(7, { logTimeMs: logTimeMs + 20 }),
    )
    const received: unknown[] = []
    for (let seen = 0; seen < 3; seen += 1) {
      await waits.register(eventWait(id, `k${seen}`, { topic, seen }))
      await waits.look([id, `k${seen}`])
      received.push(await receivedBy(id, `k${seen}`))
    }
    expect(received).toEqual([5, 6, 7])
  })

  test('are compared with the wait’s since one by one', async () => {
    const id = await waits.claimed()
    const { logTimeMs } = event(0)
    await waits.store(
      event(5, { logTimeMs: logTimeMs + 10 }),
      event(6, { logTimeMs: logTimeMs + 30 }),
      event(7, { logTimeMs: logTimeMs + 20 }),
    )
    await waits.register(eventWait(id, 'a', { topic, since: { at_ms: logTimeMs + 20 } }))
    await waits.look([id, 'a'])
    expect(await receivedBy(id, 'a')).toBe(6)
  })

  test('across the hours of responses too', async () => {
    const id = await waits.claimed()
    const { logTimeMs } = event(0)
    const hour = 3_600_000
    await waits.store(
      event(5, { logTimeMs }),
      event(6, { logTimeMs: logTimeMs - 2 * hour }),
      event(7, { logTimeMs: logTimeMs - hour }),
      event(1, { logTimeMs: logTimeMs - 3 * hour, partition: 3 }),
    )
    const received: unknown[] = []
    for (let seen = 0; seen < 4; seen += 1) {
      await waits.register(eventWait(id, `k${seen}`, { topic, seen, since: { ago_ms: 5 * hour } }))
      await waits.look([id, `k${seen}`])
      received.push(await receivedBy(id, `k${seen}`))
    }
    expect(received).toEqual([1, 5, 6, 7])
  })
})

describe('loops with different filters on one topic', () => {
  const parity: FilterMatch = (filter, { data }) => Number(data) % 2 === (filter === 'even' ? 0 : 1)
  const total = 12
  const partitionOf = (n: number): number => (n % 3 === 0 ? 1 : 0)
  /** Two partitions; on each the log's time goes back now and then. */
  const all = (): ResponseRow[] =>
    Array.from({ length: total }, (_, n) =>
      event(n, {
        partition: partitionOf(n),
        logTimeMs: waits.response(0).logTimeMs + n - (n % 4 === 3 ? 5 : 0),
      }),
    )
  const wanted = { even: 'even', odd: 'odd', all: null }
  type Name = keyof typeof wanted

  /** One run with three loops; each registers its next wait when it has seen the answer to the last. */
  function loops(id: string) {
    const at: Record<Name, number> = { even: 0, odd: 0, all: 0 }
    let observed = 0
    const received: Record<Name, number[]> = { even: [], odd: [], all: [] }
    const keyOf = (name: Name) => `${name}${at[name]}`
    const register = async (name: Name): Promise<void> => {
      await waits.register(eventWait(id, keyOf(name), { topic, filter: wanted[name], seen: observed }))
    }
    return {
      received,
      register,
      look: async (name: Name): Promise<void> => {
        await answerFromResponses(scene.store, [{ runId: id, key: keyOf(name) }], parity)
      },
      /** Takes what came; the loops that it was for go on. True: something came. */
      goOn: async (): Promise<Name[]> => {
        const steps = await waits.answersOf(id, observed)
        const woken: Name[] = []
        for (const step of steps) {
          const name = (Object.keys(wanted) as Name[]).find((each) => step.key.startsWith(each))!
          received[name].push(Number(sequenceIdOf(step)))
          observed = step.seen
          at[name] += 1
          woken.push(name)
        }
        return woken
      },
    }
  }

  /** What was received of each partition, in order. Between partitions there is none to keep. */
  const byPartition = (sequenceIds: number[]): number[][] =>
    [0, 1].map((partition) => sequenceIds.filter((n) => partitionOf(n) === partition))
  const everything = Array.from({ length: total }, (_, n) => n)

  /** `lookFirst`: whether a wait looks for itself before the next batch, or only the correlator looks for it. */
  const ways: [string, { stored: number; batch: number; lookFirst: boolean }][] = [
    ['all events before', { stored: total, batch: 1, lookFirst: true }],
    ['one by one after', { stored: 0, batch: 1, lookFirst: true }],
    ['half before, the rest in batches', { stored: 6, batch: 4, lookFirst: true }],
    ['in batches, the waits not having looked', { stored: 0, batch: 3, lookFirst: false }],
  ]
  test.each(ways)(
    '%s: each receives every event that passes its filter, in order, none twice',
    async (_, way) => {
      const id = await waits.claimed()
      const events = all()
      await waits.store(...events.slice(0, way.stored))
      const loop = loops(id)
      let woken: Name[] = ['even', 'odd', 'all']
      let next = way.stored
      for (;;) {
        for (const name of woken) await loop.register(name)
        if (way.lookFirst) for (const name of woken) await loop.look(name)
        woken = await loop.goOn()
        if (woken.length > 0) continue
        if (next >= total) {
          if (way.lookFirst) break
          for (const name of Object.keys(wanted) as Name[]) await loop.look(name)
          woken = await loop.goOn()
          if (woken.length === 0) break
          continue
        }
        const batch = events.slice(next, next + way.batch)
        next += way.batch
        await waits.store(...batch)
        await correlate(batch, parity)
        woken = await loop.goOn()
      }
      const { even, odd, all: unfiltered } = loop.received
      expect(byPartition(even)).toEqual(byPartition(everything.filter((n) => n % 2 === 0)))
      expect(byPartition(odd)).toEqual(byPartition(everything.filter((n) => n % 2 === 1)))
      expect(byPartition(unfiltered)).toEqual(byPartition(everything))
    },
  )

  test('two waits of one run that were called at the same time are both answered by one event', async () => {
    const id = await waits.claimed()
    await waits.register(eventWait(id, 'a', { topic }), eventWait(id, 'b', { topic }))
    await waits.store(event(1), event(2))
    await waits.look([id, 'a'], [id, 'b'])
    expect([await receivedBy(id, 'a'), await receivedBy(id, 'b')]).toEqual([1, 1])
    await waits.register(eventWait(id, 'c', { topic, seen: 1 }))
    await waits.look([id, 'c'])
    expect(await receivedBy(id, 'c')).toBe(2)
  })
})
