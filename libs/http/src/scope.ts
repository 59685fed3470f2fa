import { ProblemError } from '@headrace/schemas'
import { ConfigError } from '@headrace/service'
import type { FastifyRequest } from 'fastify'

/**
 * What a route asks of the caller's key. `public` asks for nothing, `internal` is for our own apps and tools only,
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

/** The one function that decides. Lets the request pass, or throws {@link ProblemError} (`unauthorized`, `forbidden`). */
export type Authorize = (request: FastifyRequest, scope: Scope) => void | Promise<void>

/** `open`: every caller may do everything (local development). `keys`: every route but the public ones needs a key. */
export type Access = 'open' | 'keys'

const LOOPBACK = new Set(['127.0.0.1', '::1', '[::1]', 'localhost'])

/**
 * Open access is the default on a loopback address only: an app that others can reach must have been told
 * `HEADRACE_AUTH=off` in so many words. `auth` is null where the variable was not set.
 */
export function decideAccess({ auth, host }: { auth: boolean | null; host: string }): Access {
  if (auth === true) return 'keys'
  if (auth === null && !LOOPBACK.has(host) && !host.startsWith('127.')) {
    throw new ConfigError([
      {
        variable: 'HEADRACE_AUTH',
        message: `must be set, because HEADRACE_HOST=${host} can be reached from other machines: on, or off to let every caller pass`,
      },
    ])
  }
  return 'open'
}

/**
 * With `keys` no key exists as long as none can be made: every caller is refused, which is the safe side of
 * "keys are checked".
 */
export function createAuthorize(access: Access): Authorize {
  if (access === 'open') return () => undefined
  return (_request, scope) => {
    if (scope === 'public' || scope === 'passed_on') return
    throw new ProblemError(
      'unauthorized',
      `This needs an API key with the scope ${scope}: send Authorization: Bearer hr_…`,
    )
  }
}
