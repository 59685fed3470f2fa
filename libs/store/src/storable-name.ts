import { createHash } from 'node:crypto'
import { limits } from '@headrace/schemas'

const HASH_PREFIX = 'sha256:'

/**
 * An id or source as it stands in a key of Postgres: as it is, unless it is longer than the gateway lets pass, holds what
 * text cannot, or looks like a hash itself; then its hash. So two that differ never fall together, unlike cut ones.
 */
export function storableName(name: string): string {
  const isStorable =
    name.length <= limits.idCharactersMax &&
    !name.includes('\u0000') &&
    !name.startsWith(HASH_PREFIX) &&
    name.isWellFormed()
  // UTF-16, which is what the string is: UTF-8 has no halves of surrogate pairs, and would make one of two of them.
  return isStorable ? name : HASH_PREFIX + createHash('sha256').update(name, 'utf16le').digest('hex')
}
