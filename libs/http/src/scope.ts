import { ProblemError } from '@headrace/schemas'
import type { FastifyRequest } from 'fastify'
import { anybody, type Caller, openCaller, requireScope } from './keys/caller.ts'
import { KeyRing } from './keys/key-ring.ts'

/**
 * What a route asks of the caller's key. `public` asks for nothing, `internal` for a key, whatever it may do,
 * `passed_on` leaves the decision to the app behind, which gets the caller's key and checks it itself.
 */
export const scopes = [
  'events:write',
  'events:read',
  'runs:write',
  'runs:read',
  'operate',
  'worker',
  'admin',
  'internal',
  'passed_on',
  'public',
] as const
export type Scope = (typeof scopes)[number]

/**
 * The one function that decides who a request comes from. Throws {@link ProblemError}: `unauthorized`, `forbidden`,
 * `keys_not_known`.
 */
export type Authorize = (request: FastifyRequest, scope: Scope) => Caller

/** `open`: every caller may do everything (local development). `keys`: every route but the public ones needs a key. */
export type Access = 'open' | 'keys'

export const accessOf = (auth: boolean): Access => (auth ? 'keys' : 'open')

/** With `keys`, those of the ring. Until that knows them nobody passes and nobody is refused: the answer is a 503. */
export function createAuthorize(access: Access, ring = new KeyRing(Date.now)): Authorize {
  if (access === 'open') return () => openCaller
  return (request, scope) => {
    // Whoever answers it checks the key.
    if (scope === 'public' || scope === 'passed_on') return anybody
    if (!ring.isKnown) {
      const detail = 'This instance knows of no API keys yet; send the request again'
      throw new ProblemError('keys_not_known', detail)
    }
    const text = bearerOf(request.headers.authorization)
    const caller = text === null ? null : ring.callerOf(text)
    if (caller === null) throw unauthorized(scope, text !== null)
    if (scope !== 'internal') requireScope(caller, scope)
    return caller
  }
}

const bearerOf = (header: string | undefined): string | null =>
  /^Bearer +([^ ]+) *$/i.exec(header ?? '')?.[1] ?? null

function unauthorized(scope: Scope, given: boolean): ProblemError {
  const wanted = scope === 'internal' ? '' : ` with the scope ${scope}`
  const detail = given
    ? 'The API key is not valid: it was never made, is over, or was revoked or replaced'
    : `This needs an API key${wanted}: send Authorization: Bearer hr_…`
  return new ProblemError('unauthorized', detail)
}
