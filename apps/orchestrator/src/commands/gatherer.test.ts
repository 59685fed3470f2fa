import { describe, expect, test } from 'vitest'
import { createGatherer, type Gatherer, type Load } from './gatherer.ts'

class Away extends Error {}

/** A statement that ends when the test says so. */
function statement() {
  const runs: { items: number[]; end: (error?: Error) => void }[] = []
  const run = async (items: readonly number[]): Promise<string[]> => {
    const { promise, resolve, reject } = Promise.withResolvers<string[]>()
    runs.push({
      items: [...items],
      end: (error) => (error ? reject(error) : resolve(items.map((item) => `r${item}`))),
    })
    return await promise
  }
  return { runs, run }
}

const turn = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve()
}

function gatherer(
  run: (items: readonly number[]) => Promise<string[]>,
  batchMax: Partial<Load> = {},
  waitingMax: Partial<Load> = {},
): Gatherer<number, string> {
  return createGatherer({
    batchMax: { items: 100, characters: 1_000, ...batchMax },
    waitingMax: { items: 1_000, characters: 10_000, ...waitingMax },
    charactersOf: (item) => item,
    run,
    isOutage: (error) => error instanceof Away,
  })
}

describe('requests that wait share the next statement', () => {
  test('the first goes at once and alone; what comes meanwhile goes together, each answered with its own', async () => {
    const { runs, run } = statement()
    const gather = gatherer(run)
    const replies = [gather.submit([1]), gather.submit([2, 3]), gather.submit([4])]
    expect(runs.map((each) => each.items)).toEqual([[1]])
    runs[0]!.end()
    await turn()
    expect(runs.map((each) => each.items)).toEqual([[1], [2, 3, 4]])
    runs[1]!.end()
    expect(await Promise.all(replies)).toEqual([['r1'], ['r2', 'r3'], ['r4']])
    await gather.idle()
  })

  test('a batch is bounded, and a submission is never cut', async () => {
    const { runs, run } = statement()
    const gather = gatherer(run, { items: 3 })
    const replies = [
      gather.submit([1]),
      gather.submit([2, 3]),
      gather.submit([4, 5]),
      gather.submit([6, 7, 8, 9]),
    ]
    for (let i = 0; i < 4; i++) {
      runs[i]!.end()
      await turn()
    }
    expect(runs.map((each) => each.items)).toEqual([[1], [2, 3], [4, 5], [6, 7, 8, 9]])
    await Promise.all(replies)
  })

  test('nothing submitted is answered with nothing', async () => {
    const { runs, run } = statement()
    expect(await gatherer(run).submit([])).toEqual([])
    expect(runs).toEqual([])
  })
})

test('large items make small batches: what a statement carries is bounded too', async () => {
  const { runs, run } = statement()
  const gather = gatherer(run, { characters: 100 })
  const replies = [1, 60, 30, 20, 500, 1].map(async (item) => await gather.submit([item]))
  for (let i = 0; i < 5; i++) {
    runs[i]!.end()
    await turn()
  }
  expect(runs.map((each) => each.items)).toEqual([[1], [60, 30], [20], [500], [1]])
  await Promise.all(replies)
})

test('what is withdrawn while it waits never runs, and makes room; what is in flight goes on', async () => {
  const { runs, run } = statement()
  const gather = gatherer(run, {}, { items: 1 })
  const late = new AbortController()
  const inFlight = gather.submit([1], late.signal)
  const waiting = gather.submit([2], late.signal)
  late.abort(new Away())
  await expect(waiting).rejects.toBeInstanceOf(Away)
  const next = gather.submit([3])
  runs[0]!.end()
  await turn()
  runs[1]!.end()
  expect(runs.map((each) => each.items)).toEqual([[1], [3]])
  expect([await inFlight, await next]).toEqual([['r1'], ['r3']])
})

describe('a batch that fails', () => {
  test('for an outage: all of it fails, and the next one is tried', async () => {
    const { runs, run } = statement()
    const gather = gatherer(run)
    const replies = [gather.submit([1]), gather.submit([2]), gather.submit([3])].map(
      async (each) => await each.catch((error: unknown) => (error instanceof Away ? 'away' : error)),
    )
    runs[0]!.end(new Away())
    await turn()
    runs[1]!.end(new Away())
    expect(await Promise.all(replies)).toEqual(['away', 'away', 'away'])
    const later = gather.submit([4])
    runs[2]!.end()
    expect(await later).toEqual(['r4'])
  })

  test('for one request: it fails alone', async () => {
    const gather = gatherer(async (items) => {
      await Promise.resolve()
      if (items.includes(2)) throw new Error('broken')
      return items.map((item) => `r${item}`)
    })
    const replies = await Promise.allSettled([gather.submit([1]), gather.submit([2]), gather.submit([3])])
    expect(replies.map((each) => each.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })
})

test('beyond the bound what comes is refused, and told to come again', async () => {
  const { runs, run } = statement()
  const gather = gatherer(run, {}, { items: 2, characters: 20 })
  const first = gather.submit([1])
  const second = gather.submit([10])
  await expect(gather.submit([11])).rejects.toMatchObject({ code: 'overloaded' })
  await expect(gather.submit([1, 1])).rejects.toMatchObject({ code: 'overloaded' })
  runs[0]!.end()
  await turn()
  runs[1]!.end()
  await Promise.all([first, second])
})
