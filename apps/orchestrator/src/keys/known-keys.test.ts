import { keyText, secretHash } from '@headrace/http'
import { createMetrics, silentLogger, systemClock } from '@headrace/service'
import type { Store } from '@headrace/store'
import { expect, test } from 'vitest'
import { createKnownKeys } from './known-keys.ts'

const id = '0123456789abcdef'
const secret = 'a'.repeat(48)
const row = {
  id,
  environment: 'live',
  scopes: ['operate'],
  sha256: secretHash(secret),
  previousSha256: null,
  previousUntil: null,
  eventsPerSecond: null,
  expiresAt: null,
  revision: 1,
}

test('a reading that a later one has overtaken brings no key back', async () => {
  const answers: ((rows: object[]) => void)[] = []
  const query = async () =>
    await new Promise<{ rows: object[] }>((resolve) => answers.push((rows) => resolve({ rows })))
  const keys = createKnownKeys({
    store: { general: { query } } as unknown as Store,
    tell: () => undefined,
    log: silentLogger,
    clock: systemClock,
    metrics: createMetrics(),
  })
  const before = keys.changed()
  const afterRevoking = keys.changed()
  answers[1]?.([])
  await afterRevoking
  answers[0]?.([row])
  await before
  expect(keys.ring.callerOf(keyText({ environment: 'live', id, secret }))).toBeNull()

  const later = keys.changed()
  answers[2]?.([row])
  await later
  expect(keys.ring.callerOf(keyText({ environment: 'live', id, secret }))?.keyId).toBe(id)
})

test('a change that is committed is told, also where Postgres cannot be read at once', async () => {
  let told = 0
  const keys = createKnownKeys({
    store: { general: { query: async () => await Promise.reject(new Error('away')) } } as unknown as Store,
    tell: () => (told += 1),
    log: silentLogger,
    clock: systemClock,
    metrics: createMetrics(),
  })
  await keys.changed()
  expect([told, keys.ring.isKnown]).toEqual([1, false])
})
