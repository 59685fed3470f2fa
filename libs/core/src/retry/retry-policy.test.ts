import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backoffMs, decideRetry, defaultRetryPolicy } from './retry-policy.ts'

const exact = { ...defaultRetryPolicy, jitter: 0 }
const failed = { policy: exact, attempts: 1, retryable: true, retryAfterMs: null, random: 0 }

describe('a retry', () => {
  test('waits twice as long each time, up to the cap', () => {
    const delays = [1, 2, 3, 4, 5, 6, 7, 8, 2_000].map((attempts) => backoffMs(exact, attempts, 0))
    expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000])
  })

  test('is never made once the attempts are used up', () => {
    expect(decideRetry({ ...failed, attempts: 3 })).toEqual({ kind: 'retry', delayMs: 4_000 })
    expect(decideRetry({ ...failed, attempts: 4 })).toEqual({ kind: 'give_up', reason: 'attempts_exhausted' })
  })

  test('is never made when the error says that it cannot help', () => {
    expect(decideRetry({ ...failed, retryable: false, retryAfterMs: 5 })).toEqual({
      kind: 'give_up',
      reason: 'not_retryable',
    })
  })

  test('keeps the delay that the error asks for, to the letter', () => {
    const policy = { ...exact, jitter: 1, maxDelayMs: 10 }
    expect(decideRetry({ ...failed, policy, retryAfterMs: 90_000, random: 0.9 })).toEqual({
      kind: 'retry',
      delayMs: 90_000,
    })
  })

  test('takes at most the share of its delay that jitter names', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 }),
        fc.double({ min: 0, max: 0.999_999, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (attempts, random, jitter) => {
          const full = backoffMs({ ...exact, jitter: 0 }, attempts, random)
          const delay = backoffMs({ ...exact, jitter }, attempts, random)
          expect(delay).toBeLessThanOrEqual(full)
          expect(delay).toBeGreaterThanOrEqual(Math.floor(full * (1 - jitter)))
        },
      ),
    )
  })
})
