import { expect, test } from 'vitest'
import { decodeDeadLetterCursor, encodeDeadLetterCursor, queryMark } from './dead-letter-cursor.ts'

const query = queryMark({ reason: 'undecodable' })

test('a cursor comes back as it was', () => {
  const cursor = {
    query,
    below: new Map([
      [0, 0],
      [11, 4_000_000_000_000],
    ]),
  }
  expect(decodeDeadLetterCursor(encodeDeadLetterCursor(cursor))).toEqual(cursor)
})

test('a list’s mark depends on what is asked for, not on the order', () => {
  expect(queryMark({ a: '1', b: '2' })).toBe(queryMark({ b: '2', a: '1' }))
  expect(queryMark({ a: '1' })).not.toBe(query)
})

test.each([
  '',
  'd1',
  `d1.${query}`,
  `h1.${query}.0-1`,
  `d1.${query}.0`,
  `d1.${query}.0-1.0-2`,
  `d1.${query}.0--1`,
  `d1.${query}.${'0-1.'.repeat(5_000)}`,
])('no cursor: %j', (text) => {
  expect(decodeDeadLetterCursor(text)).toBeNull()
})
