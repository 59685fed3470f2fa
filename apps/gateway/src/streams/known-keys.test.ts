import type { Setting } from '@headrace/broker'
import { keyText, newKeyId, newSecret, secretHash } from '@headrace/http'
import { silentLogger, systemClock } from '@headrace/service'
import { expect, test } from 'vitest'
import { createKnownKeys } from './known-keys.ts'

const [id, secret] = [newKeyId(), newSecret()]
const value = {
  environment: 'live',
  scopes: ['operate'],
  events_per_second: null,
  expires_at: null,
  sha256: secretHash(secret).toString('hex'),
  previous: null,
}
const told = (...settings: Setting[]) => {
  const counted = new Map(settings.map((setting) => [setting.name, setting]))
  const standing = new Map([...counted].filter(([, each]) => each.value !== null))
  return { counted: () => counted, settings: () => standing }
}
const setting = (of: object | null): Setting => ({ kind: 'key', name: id, revision: 1, value: of })

test('nobody is refused before a first key was told, nor by a topic that was made anew', () => {
  const keys = createKnownKeys({ log: silentLogger, clock: systemClock })
  const text = keyText({ environment: 'live', id, secret })
  keys.take(told())
  expect(keys.ring.isKnown).toBe(false)
  keys.take(told(setting(value)))
  expect(keys.ring.callerOf(text)?.keyId).toBe(id)
  keys.take(told())
  expect(keys.ring.callerOf(text)?.keyId).toBe(id)
  // That it is gone is told.
  keys.take(told(setting(null)))
  expect([keys.ring.isKnown, keys.ring.callerOf(text)]).toEqual([true, null])
})
