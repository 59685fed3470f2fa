import { movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import { answerWithin } from './answer-within.ts'

test('work that answers in time is the answer, be it a failure', async () => {
  const clock = movableClock()
  expect(await answerWithin(clock, 4_000, Promise.resolve(7))).toBe(7)
  await expect(answerWithin(clock, 4_000, Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(clock.pending).toBe(0)
})

test('work that hangs is answered for, and may fail later without harm', async () => {
  const clock = movableClock()
  const { promise, reject } = Promise.withResolvers<number>()
  const [told] = await Promise.allSettled([answerWithin(clock, 4_000, promise), clock.advance(4_000)])
  expect(told).toMatchObject({
    status: 'rejected',
    reason: { code: 'postgres_unavailable', retryAfterSeconds: 1 },
  })
  reject(new Error('too late'))
  await expect(promise).rejects.toThrow('too late')
})
