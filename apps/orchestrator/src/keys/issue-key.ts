import { keyText, newKeyId, newSecret, secretHash } from '@headrace/http'
import { type CreateKey, limits, ProblemError, type WireKey, type WireNewKey } from '@headrace/schemas'
import { createKey, type KeyRecord, rotateKey, type Store } from '@headrace/store'

/** Makes a key. The answer has its secret, which is kept nowhere else. Throws `key_exists`, `too_many_keys`, `invalid_field`. */
export async function issueKey(store: Store, wanted: CreateKey, now: number): Promise<WireNewKey> {
  const { name, environment, scopes, rate_limit: rateLimit, expires_at: expires } = wanted
  const expiresAt = expires === null ? null : Date.parse(expires)
  if (expiresAt !== null && expiresAt <= now) {
    const detail = 'is over already: give a time to come, or null'
    throw ProblemError.fromFaults([{ pointer: '/expires_at', code: 'invalid_field', detail }])
  }
  const [id, secret] = [newKeyId(), newSecret()]
  const eventsPerSecond = rateLimit?.events_per_second ?? null
  const sha256 = secretHash(secret)
  const made = await createKey(
    store,
    { id, name, environment, sha256, scopes, eventsPerSecond, expiresAt },
    limits,
  )
  if (made.status === 'created') return { ...wireKey(made.key), key: keyText({ environment, id, secret }) }
  if (made.status === 'exists')
    throw new ProblemError(
      'key_exists',
      `The key ${made.key.id} has the name ${name} already: rotate it for another secret, or revoke it first`,
    )
  throw new ProblemError(
    'too_many_keys',
    `There are ${limits.keysMax} API keys already; revoke those that nobody uses`,
  )
}

/** Gives a key another secret. Throws `key_not_found`. */
export async function reissueKey(
  store: Store,
  { id, graceMs }: { id: string; graceMs: number },
): Promise<WireNewKey> {
  const secret = newSecret()
  const rotated = await rotateKey(store, { id, sha256: secretHash(secret), graceMs })
  if (rotated === null) throw noKey(id)
  return { ...wireKey(rotated), key: keyText({ environment: rotated.environment, id, secret }) }
}

export const noKey = (id: string): ProblemError =>
  new ProblemError('key_not_found', `There is no API key ${id.slice(0, 100)} that is not revoked`)

const timeOf = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

export const wireKey = (key: KeyRecord): WireKey => ({
  id: key.id,
  name: key.name,
  environment: key.environment,
  scopes: key.scopes,
  rate_limit: key.eventsPerSecond === null ? null : { events_per_second: key.eventsPerSecond },
  created_at: new Date(key.createdAt).toISOString(),
  expires_at: timeOf(key.expiresAt),
  revoked_at: timeOf(key.revokedAt),
  previous_until: timeOf(key.previousUntil),
})
