import { hash } from 'node:crypto'
import { limits, ProblemError, type PublishEvent } from '@headrace/schemas'

/** RFC 9562 name space of the ids below. Never changed: a repeat after an upgrade must find the same id. */
const NAMESPACE = Buffer.from('7f3c0d8a52f54c6c9a0e6f6a3d1b2c48', 'hex')

/** `Idempotency-Key` as it was sent, or null. Throws `invalid_header`. */
export function parseIdempotencyKey(header: string | string[] | undefined): string | null {
  if (header === undefined) return null
  if (typeof header === 'string' && validKey.test(header)) return header
  const detail = `Idempotency-Key must be 1 to ${limits.idempotencyKeyCharactersMax} visible ASCII characters, sent once`
  throw new ProblemError('invalid_header', detail)
}

const validKey = new RegExp(
  `^[\\x21-\\x7e](?:[\\x20-\\x7e]{0,${limits.idempotencyKeyCharactersMax - 2}}[\\x21-\\x7e])?$`,
)

export interface DerivedId {
  /** Of the caller's API key: two callers' equal Idempotency-Keys are not the same request. */
  keyId: string
  idempotencyKey: string
  index: number
  event: PublishEvent
  /** `event.data` as it is written. */
  value: string
}

/**
 * The id of an event that came with an `Idempotency-Key` and none of its own: a version 5 UUID of the API key, the
 * Idempotency-Key, the place in the request and a hash of the event. The same request sent again gives the same ids;
 * another request under the same key gives others, so nothing of it is taken for a repeat.
 */
export function derivedEventId({ keyId, idempotencyKey, index, event, value }: DerivedId): string {
  const { topic, event_type: eventType = null, key = null, source = null } = event
  const digest = hash('sha256', JSON.stringify([topic, eventType, key, source, value]))
  return uuidV5(JSON.stringify([keyId, idempotencyKey, index, digest]))
}

function uuidV5(name: string): string {
  const bytes = hash('sha1', Buffer.concat([NAMESPACE, Buffer.from(name)]), 'buffer')
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex', 0, 16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
