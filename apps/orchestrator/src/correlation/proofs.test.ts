import { BoundStreams, BrokerError, partitionFor } from '@headrace/broker'
import type { DueWait, ProjectionCursor } from '@headrace/store'
import { beforeEach, describe, expect, test } from 'vitest'
import { Proofs, type Verdict } from './proofs.ts'

const responsePartitions = 2
const graceMs = 15_000
/** A topic of `orders` whose responses lie on that partition. */
const topicOn = (partition: number): string => {
  for (let number = 0; ; number += 1)
    if (partitionFor(`orders/${number}`, responsePartitions) === partition) return `orders/${number}`
}

function due(changes: Partial<DueWait> = {}): DueWait {
  const { stream = 'orders' } = changes
  return {
    runId: 'r1',
    key: 'w',
    topic: topicOn(0),
    stream,
    status: 'open',
    filtered: false,
    checked: true,
    expiresAtMs: 1_000,
    overdueMs: 500,
    place: '',
    ...changes,
  }
}

/** Kafka and Postgres as a proof sees them; what it asked for, in order. */
class World {
  asked: string[] = []
  /** Of `orders`; null: no such topic. */
  sourceEnds: number[] | null = [10, 20]
  projection: ProjectionCursor[] = []
  responseEnds = [100, 200]
  correlator = new Map<number, number>()
  /** Thrown by questions to Kafka; where a topic is named, by those about it alone. */
  fault: Error | null = null
  faultOf: string | null = null
  nowMs = 0
  readonly proofs = new Proofs({
    prefix: 'h',
    catalog: new BoundStreams('h'),
    clock: { now: () => this.nowMs },
    graceMs,
    broker: {
      stableEnds: async (topic) => {
        this.#ask('source ends', topic)
        if (this.sourceEnds === null) throw new BrokerError('unknown_topic', 'none', { retryable: false })
        return await Promise.resolve(new Map(this.sourceEnds.entries()))
      },
      offsets: async (topic) => {
        this.#ask('response ends', topic)
        return await Promise.resolve(
          new Map(this.responseEnds.map((high, partition) => [partition, { low: 0, high }])),
        )
      },
    },
    projection: async () => {
      this.asked.push('projection')
      return await Promise.resolve(this.projection)
    },
    correlator: async () => {
      this.asked.push('correlator')
      return await Promise.resolve(new Map(this.correlator))
    },
  })

  #ask(what: string, topic: string): void {
    this.asked.push(what)
    if (this.fault && (this.faultOf ?? topic) === topic) throw this.fault
  }

  projectedTo(...offsets: number[]): void {
    this.projection = offsets.map((nextOffset, partition) => ({
      stream: 'orders',
      partition,
      nextOffset,
      status: 'live',
    }))
  }

  correlatedTo(...offsets: number[]): void {
    this.correlator = new Map(offsets.entries())
  }

  async proven(...waits: DueWait[]): Promise<DueWait[]> {
    return (await this.look(...waits)).proven
  }

  async look(...waits: DueWait[]): Promise<Verdict> {
    this.proofs.newRound()
    return await this.proofs.look(waits)
  }
}

let world: World
beforeEach(() => {
  world = new World()
})

describe('a proof that no answer is on its way', () => {
  test('is made in one look where all has been passed, each end taken before what is compared with it', async () => {
    world.projectedTo(10, 20)
    world.correlatedTo(100, 200)
    expect(await world.proven(due())).toEqual([due()])
    expect(world.asked).toEqual([
      'projection',
      // How many partitions the response topic has, once.
      'response ends',
      'source ends',
      'projection',
      'response ends',
      'correlator',
      // Whether they are still those of the same topic.
      'response ends',
    ])
  })

  test.each([
    ['the projection has not passed one partition', [10, 19], [100, 200]],
    ['the projection has no cursor on one partition', [10], [100, 200]],
    ['the correlator has not passed the partition of its topic', [10, 20], [99, 200]],
    ['the correlator has never read', [10, 20], []],
  ])('is not made while %s', async (_name, projected, correlated) => {
    world.projectedTo(...projected)
    world.correlatedTo(...correlated)
    expect(await world.proven(due())).toEqual([])
    world.projectedTo(10, 20)
    world.correlatedTo(100, 200)
    expect(await world.proven(due())).toEqual([due()])
  })

  test('keeps its ends: what comes after the wait’s time does not hold it up', async () => {
    world.projectedTo(9, 20)
    expect(await world.proven(due())).toEqual([])
    world.sourceEnds = [1_000, 2_000]
    world.projectedTo(10, 20)
    expect(await world.proven(due())).toEqual([])
    world.responseEnds = [1_000, 2_000]
    world.correlatedTo(100, 200)
    expect(await world.proven(due())).toEqual([due()])
  })

  test('is made over a response topic that was made anew meanwhile, whose offsets begin again', async () => {
    world.projectedTo(10, 20)
    world.correlatedTo(99, 200)
    expect(await world.proven(due())).toEqual([])
    world.responseEnds = [3, 0]
    world.correlatedTo(3, 0)
    await world.look(due())
    expect(await world.proven(due())).toEqual([due()])
  })

  test('is not made by a correlator that is still beyond a response topic made anew', async () => {
    world.projectedTo(10, 20)
    world.correlatedTo(100, 200)
    world.responseEnds = [3, 0]
    expect(await world.proven(due())).toEqual([])
    expect(await world.proven(due())).toEqual([])
    world.correlatedTo(3, 0)
    expect(await world.proven(due())).toEqual([due()])
  })

  test('takes the end of the response topic only after the projection has passed the stream', async () => {
    world.projectedTo(9, 20)
    world.correlatedTo(100, 200)
    expect(await world.proven(due())).toEqual([])
    // What the projection copied meanwhile.
    world.responseEnds = [101, 200]
    world.projectedTo(10, 20)
    expect(await world.proven(due())).toEqual([])
    world.correlatedTo(101, 200)
    expect(await world.proven(due())).toEqual([due()])
  })

  test('does not hold for a wait that is due only since its ends were taken', async () => {
    world.projectedTo(9, 20)
    await world.proven(due())
    world.projectedTo(10, 20)
    world.correlatedTo(100, 200)
    const later = due({ runId: 'r2', expiresAtMs: 1_501, overdueMs: 100 })
    expect(await world.proven(due({ overdueMs: 601 }), later)).toEqual([due({ overdueMs: 601 })])
    expect(await world.proven(later)).toEqual([later])
  })

  test('of one response partition does not wait for another', async () => {
    world.projectedTo(10, 20)
    world.correlatedTo(0, 200)
    const other = due({ runId: 'r2', topic: topicOn(1) })
    expect(await world.proven(due(), other)).toEqual([other])
    world.correlatedTo(100, 200)
    expect(await world.proven(due())).toEqual([due()])
  })

  test('is made for a stream that never had a topic', async () => {
    world.sourceEnds = null
    world.correlatedTo(100, 200)
    expect(await world.proven(due())).toEqual([due()])
  })

  test('is never made for a wait that was not opened', async () => {
    world.projectedTo(10, 20)
    world.correlatedTo(100, 200)
    expect(await world.proven(due({ status: 'pending' }))).toEqual([])
  })

  test('is begun anew when nobody had asked for it meanwhile', async () => {
    world.projectedTo(9, 20)
    await world.proven(due())
    world.proofs.keepOnly(new Set())
    world.sourceEnds = [11, 20]
    world.projectedTo(10, 20)
    world.correlatedTo(100, 200)
    expect(await world.proven(due())).toEqual([])
  })
})

describe('a stream is said to stand still', () => {
  const halted = async (...waits: DueWait[]): Promise<string[]> => [...(await world.look(...waits)).halted]

  test('where the projection of a partition is stopped or paused', async () => {
    world.projectedTo(9, 20)
    expect(await halted(due())).toEqual([])
    for (const status of ['stopped', 'paused'] as const) {
      world.projection = [{ stream: 'orders', partition: 0, nextOffset: 9, status }]
      expect(await halted(due())).toEqual(['orders'])
    }
  })

  test.each(['open', 'pending'] as const)(
    'where its topic is gone or was made anew, for %s waits',
    async (status) => {
      world.projectedTo(10, 20)
      world.sourceEnds = [10, 3]
      expect(await halted(due({ status }))).toEqual(['orders'])
      world.sourceEnds = null
      expect(await halted(due({ status }))).toEqual(['orders'])
      world.sourceEnds = [10, 20]
      expect(await halted(due({ status }))).toEqual([])
    },
  )
})

describe('a Kafka that cannot be asked', () => {
  const fault = new BrokerError('kafka_unreachable', 'away', { retryable: true })

  test('is said, and what was proven so far stays good', async () => {
    world.projectedTo(10, 20)
    world.correlatedTo(99, 200)
    const other = due({ runId: 'r2', stream: 'users' })
    await world.look(due())
    world.fault = fault
    world.correlatedTo(100, 200)
    expect(await world.look(due(), other)).toMatchObject({ proven: [due()], fault })
    world.fault = null
    expect((await world.look(due())).fault).toBeNull()
  })

  test('about one stream keeps no other from its proof, and is asked about it once a round', async () => {
    world.fault = fault
    world.faultOf = 'h.events.broken'
    world.projectedTo(10, 20)
    world.correlatedTo(100, 200)
    const broken = due({ runId: 'r0', stream: 'broken' })
    expect(await world.look(broken, due())).toMatchObject({ proven: [due()], fault })
    world.asked = []
    expect(await world.proofs.look([broken])).toMatchObject({ proven: [], fault })
    expect(world.asked).not.toContain('source ends')
  })

  test('makes the proof impossible for what it does not tell of, once that has lasted', async () => {
    world.fault = fault
    world.faultOf = 'h.events.broken'
    world.projectedTo(9, 20)
    const broken = due({ runId: 'r0', stream: 'broken', overdueMs: 90_000 })
    const lagging = due({ overdueMs: 90_000 })
    expect((await world.look(broken, lagging)).halted).toEqual(new Set())
    world.nowMs += graceMs - 1
    expect((await world.look(broken, lagging)).halted).toEqual(new Set())
    world.nowMs += 1
    expect((await world.look(broken, lagging)).halted).toEqual(new Set(['broken']))
    // It answers for a moment, and has to be away for as long again.
    world.fault = null
    await world.look(broken, lagging)
    world.fault = fault
    expect((await world.look(broken, lagging)).halted).toEqual(new Set())
  })

  test('is noticed for a stream whose ends were taken while it could be', async () => {
    world.projectedTo(9, 20)
    await world.look(due())
    world.fault = fault
    await world.look(due({ overdueMs: graceMs }))
    world.nowMs += graceMs
    expect((await world.look(due({ overdueMs: 2 * graceMs }))).halted).toEqual(new Set(['orders']))
  })

  test('is not taken for a bug, nor a bug for it', async () => {
    world.fault = new TypeError('a bug')
    await expect(world.look(due())).rejects.toThrow('a bug')
  })
})
