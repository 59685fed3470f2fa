import { assert, nat, property, record, string, uniqueArray } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeHistoryCursor, encodeHistoryCursor, queryMark } from './history-cursor.ts'

describe('a cursor of history', () => {
  test('comes back as the position it was made of', () => {
    const spans = uniqueArray(record({ partition: nat(2_000), next: nat(2 ** 52), left: nat(2 ** 40) }), {
      selector: ({ partition }) => partition,
      minLength: 1,
      maxLength: 200,
    })
    assert(
      property(spans, string(), (list, topic) => {
        const position = {
          query: queryMark({ topic }),
          spans: new Map(list.map(({ partition, next, left }) => [partition, { next, end: next + left }])),
        }
        expect(decodeHistoryCursor(encodeHistoryCursor(position))).toEqual(position)
      }),
    )
  })

  test.each([
    '',
    'h1',
    'h1.abc',
    'h2.abc.0-1-2',
    'h1.abc.0-1',
    'h1.abc.0-1-2.',
    'h1.abc.0-1--2',
    'h1.abc.0-1-2.0-1-2',
    'h1.abc.0-zzzzzzzzzzz-1',
    'x'.repeat(20_000),
  ])('%j is none', (text) => {
    expect(decodeHistoryCursor(text)).toBeNull()
  })

  test('has the same mark for the same query, whatever the order of its parameters', () => {
    expect(queryMark({ a: 1, b: 2 })).toBe(queryMark({ b: 2, a: 1 }))
    expect(queryMark({ a: 1 })).not.toBe(queryMark({ a: 2 }))
  })
})
