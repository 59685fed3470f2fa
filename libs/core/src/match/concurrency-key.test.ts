import { expect, test } from 'vitest'
import { concurrencyKeyOfInput, noConcurrencyKey } from './concurrency-key.ts'

const keyOf = (input: unknown, expression = 'event.data.order'): unknown => {
  const answer = concurrencyKeyOfInput(expression, input === undefined ? null : JSON.stringify(input))
  return answer?.kind === 'key' ? answer.key : answer
}
const events = (...orders: unknown[]): unknown => ({ events: orders.map((order) => ({ data: { order } })) })

test('the key is that of the first event; a text is never the key of a number', () => {
  expect(keyOf(events('a', 'b'))).toBe('"a')
  expect(keyOf(events(7))).toBe('7')
  expect(keyOf(events('7'))).toBe('"7')
  expect(keyOf(events(true))).toBe('true')
})

test('where the input holds no events, it is the data of one', () => {
  expect(keyOf({ order: 'a' })).toBe('"a')
  expect(keyOf('a', 'event.data')).toBe('"a')
  expect(keyOf({ events: [] })).toBe(noConcurrencyKey)
})

test('runs without a key share one', () => {
  expect(keyOf(events(null))).toBe(noConcurrencyKey)
  expect(keyOf({ events: [{}] })).toBe(noConcurrencyKey)
  expect(keyOf(undefined)).toBe(noConcurrencyKey)
  expect(keyOf(events(''))).not.toBe(noConcurrencyKey)
})

test('what Postgres could not store or index is told apart by its digest', () => {
  const long = 'a'.repeat(300)
  const keys = [long, `${long}b`, 'nul\u0000', '\ud800', '\ud801', 'a'.repeat(255)].map((order) =>
    keyOf(events(order)),
  )
  expect(new Set(keys).size).toBe(keys.length)
  for (const key of keys.slice(0, 5)) expect(key).toMatch(/^#\d+:[0-9a-f]{16}$/)
  expect(keys.at(-1)).toBe(`"${'a'.repeat(255)}`)
})

test('a value that is no key fails, with the reason', () => {
  expect(keyOf(events({ a: 1 }))).toMatchObject({
    kind: 'failed',
    reason: expect.stringContaining('no text'),
  })
  expect(keyOf(events('a'), 'event.')).toBeNull()
})
