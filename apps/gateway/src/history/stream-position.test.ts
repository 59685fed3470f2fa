import { expect, test } from 'vitest'
import { decodeStreamPosition, encodeStreamPosition } from './stream-position.ts'

const position = new Map([
  [0, 0],
  [11, 4_000_000_000_000],
])
const text = encodeStreamPosition('orders', position)

test('an id comes back as the position that it was', () => {
  expect(decodeStreamPosition('orders', text)).toEqual(position)
})

test('an id of another stream is refused: its offsets mean nothing here', () => {
  expect(decodeStreamPosition('users', text)).toBeNull()
})

test.each([
  '',
  's1',
  text.replace('s1', 'h1'),
  `${text}.0`,
  `${text}.0-1`,
  `${text}.1--1`,
  `${text}${'.2-1'.repeat(5_000)}`,
])('no id: %j', (other) => {
  expect(decodeStreamPosition('orders', other)).toBeNull()
})
