import { createHash } from 'node:crypto'
import type { StoredKey } from '@headrace/schemas'
import { scrubSecrets } from '@headrace/service'
import { describe, expect, test } from 'vitest'
import { KeyRing } from './key-ring.ts'
import { keyText, newKeyId, newSecret, parseKeyText, secretHash } from './key-text.ts'

const secret = newSecret()
const other = newSecret()
const id = newKeyId()
const sha = (text: string): string => createHash('sha256').update(text).digest('hex')

const stored = (more: Partial<StoredKey> = {}): StoredKey => ({
  id,
  environment: 'prod',
  scopes: ['runs:read'],
  events_per_second: null,
  expires_at: null,
  sha256: sha(secret),
  previous: null,
  ...more,
})
const text = (of = secret, environment = 'prod'): string => keyText({ environment, id, secret: of })

function ringOf(key: StoredKey) {
  const clock = { now: 1_000 }
  const ring = new KeyRing(() => clock.now)
  ring.set([key])
  return { ring, clock }
}

describe('a key', () => {
  test('passes by its secret alone, of which only the SHA-256 is known', () => {
    const { ring } = ringOf(stored())
    expect(ring.callerOf(text())).toMatchObject({ keyId: id, eventsPerSecond: null })
    expect(ring.callerOf(text(other))).toBe(null)
    expect(ring.callerOf(text(secret, 'test'))).toBe(null)
    expect(ring.callerOf(text(sha(secret).slice(0, 48)))).toBe(null)
    expect(ring.callerOf(`${text()}0`)).toBe(null)
    expect(secretHash(secret).toString('hex')).toBe(sha(secret))
  })

  test('is dead from its end on, also for who came with it before', () => {
    const { ring, clock } = ringOf(stored({ expires_at: 2_000 }))
    const caller = ring.callerOf(text())
    clock.now = 1_999
    expect(caller?.isValid()).toBe(true)
    clock.now = 2_000
    expect([caller?.isValid(), ring.callerOf(text())]).toEqual([false, null])
  })

  test('has two secrets while it is rotated', () => {
    const { ring, clock } = ringOf(stored({ previous: { sha256: sha(other), until: 5_000 } }))
    expect(ring.callerOf(text(other))?.keyId).toBe(id)
    clock.now = 5_000
    expect(ring.callerOf(text(other))).toBe(null)
    expect(ring.callerOf(text())?.keyId).toBe(id)
  })

  test('that is not among those that there are is dead', () => {
    const { ring } = ringOf(stored())
    const caller = ring.callerOf(text())
    ring.set([])
    expect([caller?.isValid(), ring.callerOf(text()), ring.isKnown]).toEqual([false, null, true])
  })

  test('allows what its scopes say as they are now', () => {
    const { ring } = ringOf(stored())
    expect(ring.callerOf(text())?.grants.has('operate')).toBe(false)
    ring.set([stored({ scopes: ['operate'] })])
    expect(ring.callerOf(text())?.grants.has('operate')).toBe(true)
  })

  test('is read as it is written, and cut out of what is logged', () => {
    expect(parseKeyText(text())).toEqual({ environment: 'prod', id, secret })
    for (const line of [text(), `{"authorization":"Bearer ${text()}"}`])
      expect(scrubSecrets(`the caller sent ${line}`)).not.toContain(secret)
  })
})

test('nobody is known before the keys are', () => {
  const ring = new KeyRing(() => 0)
  expect([ring.isKnown, ring.callerOf(text())]).toEqual([false, null])
})
