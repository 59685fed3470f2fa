import { expect, test } from 'vitest'
import { scanMsMax, scannedPage } from './scanned-page.ts'

/** A list of the numbers below `count`, the highest first, of which those that pass are wanted. */
function listed(count: number, wanted: (n: number) => boolean, msPerRead = 0) {
  let nowMs = 0
  const below = (after: number | null): number => (after ?? count) - 1
  const list = async (limit: number, cursor: number | null = null) =>
    await scannedPage<number, number>({
      limit,
      cursor,
      ahead: async (after, rows) =>
        await Promise.resolve(below(after) - rows + 1 < 0 ? null : below(after) - rows + 1),
      read: async (after, upTo, most) => {
        nowMs += msPerRead
        const rows: number[] = []
        for (let n = below(after); n >= (upTo ?? 0) && rows.length < most; n -= 1) if (wanted(n)) rows.push(n)
        return await Promise.resolve(rows)
      },
      placeOf: (row) => row,
      now: () => nowMs,
    })
  return { list, reads: () => nowMs / msPerRead }
}

async function all(list: ReturnType<typeof listed>['list'], limit: number): Promise<number[]> {
  const seen: number[] = []
  let cursor: number | null = null
  do {
    const page = await list(limit, cursor)
    seen.push(...page.rows)
    cursor = page.next
  } while (cursor !== null)
  return seen
}

test.each([
  ['all', 50, () => true],
  ['few, far apart', 3, (n: number) => n % 9_999 === 0],
  ['the very last', 1, (n: number) => n === 0],
  ['the last and the first of a stretch', 2, (n: number) => [99_000, 98_999, 79_000].includes(n)],
  ['none', 10, () => false],
])('pages hold each row that is wanted once and in order: %s', async (_, limit, wanted) => {
  const count = 100_000
  const expected = Array.from({ length: count }, (__, i) => count - 1 - i).filter(wanted)
  expect(await all(listed(count, wanted).list, limit)).toEqual(expected)
})

test('a page that the first rows fill reads no further, and says where it goes on', async () => {
  const { list, reads } = listed(1_000_000, (n) => n % 2 === 0, 1)
  const page = await list(10)
  expect(page.rows).toHaveLength(10)
  expect(page.next).toBe(page.rows.at(-1))
  expect(reads()).toBe(1)
})

test('a page ends when its time is over, empty if need be, and the next one goes on behind it', async () => {
  const { list } = listed(1_000_000, (n) => n === 0, scanMsMax / 4)
  const page = await list(10)
  expect(page.rows).toEqual([])
  expect(page.next).toBe(1_000_000 - 1_000 - 3 * 20_000)
  expect(await all(list, 10)).toEqual([0])
})

test('a list that ends with a stretch, or is empty, has no further page', async () => {
  for (const count of [1_000, 21_000, 1, 0])
    expect(await listed(count, () => false).list(5)).toEqual({ rows: [], next: null })
})
