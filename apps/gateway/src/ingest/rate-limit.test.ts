import { expect, test } from 'vitest'
import { createRateLimit, rateHeaders } from './rate-limit.ts'

const key = { keyId: 'k', eventsPerSecond: 10 }
const clocked = () => {
  const clock = { now: 0 }
  return { clock, limit: createRateLimit(() => clock.now) }
}

test('a key publishes a second’s worth at once, and then as much as comes back', () => {
  const { clock, limit } = clocked()
  limit.take(key, 10)
  expect(() => limit.take(key, 1)).toThrow(
    expect.objectContaining({ code: 'rate_limited', retryAfterSeconds: 1 }),
  )
  clock.now = 100
  limit.take(key, 1)
  expect(() => limit.take(key, 1)).toThrow('more come too early')
})

test('a request above the limit passes when nothing was taken, and is paid for afterwards', () => {
  const { clock, limit } = clocked()
  limit.take(key, 35)
  clock.now = 2_000
  expect(() => limit.take(key, 1)).toThrow(expect.objectContaining({ retryAfterSeconds: 1 }))
  clock.now = 2_600
  limit.take(key, 1)
})

test('each key has a bucket of its own, and one without a limit none', () => {
  const { limit } = clocked()
  limit.take(key, 10)
  limit.take({ keyId: 'other', eventsPerSecond: 1 }, 1)
  limit.take({ keyId: 'free', eventsPerSecond: null }, 1_000_000)
  expect(limit.stateOf({ keyId: 'free', eventsPerSecond: null })).toBe(null)
})

test('the headers say what is left, and when all of it is there again', () => {
  const { clock, limit } = clocked()
  limit.take(key, 25)
  expect(limit.stateOf(key)).toEqual({ quota: 10, remaining: 0, resetSeconds: 3 })
  clock.now = 2_000
  const state = limit.stateOf(key)
  expect(state).toEqual({ quota: 10, remaining: 5, resetSeconds: 1 })
  expect(rateHeaders(state!)).toEqual({
    'ratelimit-policy': '"events";q=10;w=1',
    ratelimit: '"events";r=5;t=1',
  })
})
