import { movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import { HEARTBEAT_MS, LEASE_MS } from '../register/registration.ts'
import { KAFKA_MS_MAX } from '../publish/send-event.ts'
import { answerWithin, PUBLISH_ANSWER_MS, WORKER_ANSWER_MS } from './answer-within.ts'

test('work that answers in time is the answer, be it a failure', async () => {
  const clock = movableClock()
  expect(await answerWithin(clock, 4_000, async () => await Promise.resolve(7))).toBe(7)
  await expect(answerWithin(clock, 4_000, async () => await Promise.reject(new Error('no')))).rejects.toThrow(
    'no',
  )
  expect(clock.pending).toBe(0)
})

test('work that hangs is answered for, and may fail later without harm', async () => {
  const clock = movableClock()
  const { promise, reject } = Promise.withResolvers<number>()
  let late = false
  const work = async (signal: AbortSignal): Promise<number> => {
    signal.addEventListener('abort', () => {
      late = true
    })
    return await promise
  }
  const [told] = await Promise.allSettled([answerWithin(clock, 4_000, work), clock.advance(4_000)])
  expect(late).toBe(true)
  expect(told).toMatchObject({
    status: 'rejected',
    reason: { code: 'postgres_unavailable', retryAfterSeconds: 1 },
  })
  reject(new Error('too late'))
  await expect(promise).rejects.toThrow('too late')
})

test('a worker is answered before it stops listening, and in time for its lease', () => {
  // The SDK's heartbeat waits for two of its intervals.
  expect(WORKER_ANSWER_MS).toBeLessThan(2 * HEARTBEAT_MS)
  expect(HEARTBEAT_MS + WORKER_ANSWER_MS).toBeLessThan(LEASE_MS)
})

test('a publish is answered for what is away, Postgres or Kafka, before its time is over', () => {
  expect(WORKER_ANSWER_MS + KAFKA_MS_MAX).toBeLessThan(PUBLISH_ANSWER_MS)
})
