import { timingSafeEqual } from 'node:crypto'
import { compileGrants, type Grants } from '@headrace/core'
import type { StoredKey } from '@headrace/schemas'
import type { Caller } from './caller.ts'
import { parseKeyText, secretHash } from './key-text.ts'

/**
 * The keys that one process knows, as whoever reads them has told it. To check one costs a look-up and one SHA-256; the
 * number of keys bounds its memory.
 */
export class KeyRing {
  readonly #now: () => number
  #keys: ReadonlyMap<string, Held> | null = null

  constructor(now: () => number) {
    this.#now = now
  }

  /** False until it was told what keys there are: nobody can be refused before. */
  get isKnown(): boolean {
    return this.#keys !== null
  }

  /** All keys that there are: the others are dead from now on. */
  set(keys: readonly StoredKey[]): void {
    this.#keys = new Map(
      keys.map((key) => {
        const before = this.#keys?.get(key.id)
        const scopes = key.scopes.join(' ')
        const grants = before?.scopes === scopes ? before.grants : compileGrants(key.scopes)
        return [key.id, { key, scopes, grants, hash: Buffer.from(key.sha256, 'hex') }]
      }),
    )
  }

  /** Who has this key; null: it is none, or none that is valid. */
  callerOf(text: string): Caller | null {
    const parsed = parseKeyText(text)
    if (parsed === null) return null
    const hash = secretHash(parsed.secret)
    const held = this.#held(parsed.id, hash)
    if (held === null || held.key.environment !== parsed.environment) return null
    const { id, events_per_second: eventsPerSecond } = held.key
    return { keyId: id, grants: held.grants, eventsPerSecond, isValid: () => this.#held(id, hash) !== null }
  }

  #held(id: string, hash: Buffer): Held | null {
    const held = this.#keys?.get(id)
    if (held === undefined) return null
    const { expires_at: expiresAt, previous } = held.key
    const now = this.#now()
    if (expiresAt !== null && expiresAt <= now) return null
    if (timingSafeEqual(held.hash, hash)) return held
    if (previous === null || previous.until <= now) return null
    return timingSafeEqual(Buffer.from(previous.sha256, 'hex'), hash) ? held : null
  }
}

interface Held {
  readonly key: StoredKey
  readonly scopes: string
  readonly grants: Grants
  readonly hash: Buffer
}
