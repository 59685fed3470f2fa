import { compileGrants, type Grants } from '@headrace/core'
import type { KeyScope } from '@headrace/schemas'
import { ProblemError } from '@headrace/schemas'

/** Who sent a request, as its key says. */
export interface Caller {
  /** Of its key; {@link OPEN_KEY_ID} while keys are off. */
  readonly keyId: string
  readonly grants: Grants
  /** Null: as fast as it can. */
  readonly eventsPerSecond: number | null
  /** False once its key was revoked, replaced or is over: what goes on for long asks again. */
  isValid(): boolean
}

/** Of callers without an API key, where keys are off. */
export const OPEN_KEY_ID = 'local'

/** Every caller, where keys are off. */
export const openCaller: Caller = {
  keyId: OPEN_KEY_ID,
  grants: compileGrants(['admin']),
  eventsPerSecond: null,
  isValid: () => true,
}

/** Whoever asks for what needs no key, where keys are on. */
export const anybody: Caller = {
  keyId: 'none',
  grants: compileGrants([]),
  eventsPerSecond: null,
  isValid: () => true,
}

/** Throws `forbidden`, which names the scope, unless the caller has it, for whatever topics. */
export function requireScope({ grants, keyId }: Caller, scope: KeyScope): void {
  if (!grants.has(scope)) throw lacks(keyId, scope)
}

/** Throws `forbidden` unless the caller may read all topics that the pattern can match. */
export function requireReadable({ grants, keyId }: Caller, ...patterns: readonly string[]): void {
  const beyond = patterns.find((pattern) => !grants.readsAllOf(pattern))
  if (beyond !== undefined) throw lacks(keyId, `events:read:${beyond}`)
}

/** Throws `forbidden` unless the caller may read some topics of the stream. */
export function requireStream({ grants, keyId }: Caller, stream: string): void {
  if (!grants.readsOf(stream)) throw lacks(keyId, `events:read:${stream}/**`)
}

/** Throws `forbidden` unless workers of the caller may take runs of the queue. */
export function requireQueue({ grants, keyId }: Caller, queue: string): void {
  if (!grants.queue(queue)) throw lacks(keyId, `worker:${queue}`)
}

const lacks = (keyId: string, scope: string): ProblemError =>
  new ProblemError('forbidden', `This needs the scope ${scope}, which the API key ${keyId} does not have`)
