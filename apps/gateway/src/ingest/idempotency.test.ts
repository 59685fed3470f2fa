import { ProblemError, type PublishEvent } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { derivedEventId, parseIdempotencyKey } from './idempotency.ts'

const event: PublishEvent = { topic: 'orders/created', data: { n: 1 } }
const base = { keyId: 'local', idempotencyKey: 'k', index: 0, event, value: '{"n":1}' }

describe('the id derived from an Idempotency-Key', () => {
  test('is a version 5 UUID that never changes', () => {
    expect(derivedEventId(base)).toBe('1ee832ff-487c-5d1f-aa25-1383875b2523')
  })

  test.each([
    ['another API key', { ...base, keyId: 'other' }],
    ['another Idempotency-Key', { ...base, idempotencyKey: 'k2' }],
    ['another place', { ...base, index: 1 }],
    ['other data', { ...base, value: '{"n":2}' }],
    ['another topic', { ...base, event: { ...event, topic: 'orders/changed' } }],
    ['another type', { ...base, event: { ...event, event_type: 't' } }],
    ['another key', { ...base, event: { ...event, key: 'k' } }],
    ['another source', { ...base, event: { ...event, source: 's' } }],
  ])('is another with %s', (_what, other) => {
    expect(derivedEventId(other)).not.toBe(derivedEventId(base))
  })
})

describe('Idempotency-Key', () => {
  test.each(['k', 'order 17', 'x'.repeat(255)])('%j is one', (key) => {
    expect(parseIdempotencyKey(key)).toBe(key)
  })
  test('may be absent', () => {
    expect(parseIdempotencyKey(undefined)).toBeNull()
  })
  test.each(['', ' ', ' k', 'k ', 'é', 'x'.repeat(256), 'a\tb'])('%j is refused', (key) => {
    expect(() => parseIdempotencyKey(key)).toThrow(ProblemError)
  })
})
