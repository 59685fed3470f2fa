import { z } from 'zod'
import { bounded } from './event.ts'
import { durationMs } from './duration.ts'
import { limits } from './limits.ts'
import { patternFault } from './topic.ts'
import { queueSchema } from './workflow.ts'

/** What a key may be allowed to do. `events:*` can be narrowed to topics by a pattern, `worker` to a queue. */
export const keyScopes = [
  'events:write',
  'events:read',
  'runs:write',
  'runs:read',
  'operate',
  'worker',
  'admin',
] as const
export type KeyScope = (typeof keyScopes)[number]

/** One scope of a key: `events:write:orders/**` is `{ scope: 'events:write', within: 'orders/**' }`. */
export interface GrantedScope {
  readonly scope: KeyScope
  /** A pattern of topics, or the name of a queue; null: all of them. */
  readonly within: string | null
}

/** Null: there is no such scope, or what it is narrowed to is not possible; see {@link keyScopeFault}. */
export function parseKeyScope(text: string): GrantedScope | null {
  if (keyScopeFault(text) !== null) return null
  const scope = scopeNamed(text)
  if (scope === null) return null
  return { scope, within: text === scope ? null : text.slice(scope.length + 1) }
}

/** What is wrong with a scope as it is written; null: nothing. */
export function keyScopeFault(text: string): string | null {
  const scope = scopeNamed(text)
  if (scope === null)
    return `must be one of ${keyScopes.join(', ')}; those of events may be narrowed by a pattern, as events:write:orders/**, and worker by a queue`
  if (text === scope) return null
  const within = text.slice(scope.length + 1)
  if (scope === 'events:write' || scope === 'events:read') return patternFault(within)
  if (scope !== 'worker') return `${scope} cannot be narrowed`
  return queueSchema.safeParse(within).success ? null : 'must name a queue: letters, digits, _ and - only'
}

const scopeNamed = (text: string): KeyScope | null =>
  keyScopes.find((scope) => text === scope || text.startsWith(`${scope}:`)) ?? null

const keyScopeSchema = z.string().transform((text, context) => {
  const fault = keyScopeFault(text)
  if (fault === null) return text
  context.addIssue({ code: 'custom', message: fault })
  return z.NEVER
})

const rateLimitSchema = z.strictObject({
  events_per_second: z.int().min(1).max(limits.keyEventsPerSecondMax),
})

/** The body of `POST /v1/keys`. */
export const createKeySchema = z.strictObject({
  name: bounded(limits.keyNameCharactersMax),
  /** Stands in the key itself, so that a person sees where it belongs. */
  environment: z
    .string()
    .regex(/^[A-Za-z0-9]{1,16}$/, 'must be 1 to 16 letters and digits, such as prod')
    .default('live'),
  scopes: z
    .array(keyScopeSchema)
    .min(1)
    .max(limits.keyScopesMax)
    .transform((scopes) => [...new Set(scopes)]),
  rate_limit: rateLimitSchema.nullable().default(null),
  expires_at: z.iso
    .datetime({ offset: true, error: 'must be a time such as 2026-11-23T12:00:00Z' })
    .nullable()
    .default(null),
})
export type CreateKey = z.output<typeof createKeySchema>

/** The body of `POST /v1/keys/{id}/rotate`: for how long the secret before stays valid. */
export const rotateKeySchema = z.strictObject({
  grace: z
    .union([z.string(), z.number()], { error: 'must be a duration such as "24h", or a number of seconds' })
    .default('24h')
    .transform((duration, context) => {
      const ms = durationMs(duration)
      if (ms !== null && ms <= limits.keyGraceMsMax) return ms
      context.addIssue({ code: 'custom', message: 'must be a duration such as "24h", at most 30 days' })
      return z.NEVER
    }),
})

/** A key as the API shows it: never its secret, nor what is stored of that. */
export interface WireKey {
  id: string
  name: string
  environment: string
  scopes: string[]
  rate_limit: { events_per_second: number } | null
  created_at: string
  expires_at: string | null
  revoked_at: string | null
  /** Until when the secret before the last rotation is valid; null: there is none. */
  previous_until: string | null
}

/** The one answer that has the key itself. */
export interface WireNewKey extends WireKey {
  key: string
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)

/** A key on the config topic, from which gateways know it. Times are ms since 1970. */
export const keySettingSchema = z.strictObject({
  environment: z.string(),
  scopes: z.array(z.string()),
  events_per_second: z.int().nullable(),
  expires_at: z.number().nullable(),
  sha256,
  previous: z.strictObject({ sha256, until: z.number() }).nullable(),
})

/** What is needed to check a key. */
export interface StoredKey extends z.output<typeof keySettingSchema> {
  readonly id: string
}

/** One entry of `GET /v1/audit`: who changed what. */
export interface WireAudit {
  id: string
  at: string
  /** Null: it came without a key, because keys are off, or from the command line. */
  key_id: string | null
  /** The operation of the OpenAPI document, or what was typed. */
  action: string
  method: string
  path: string
  request_id: string | null
  before: unknown
  after: unknown
}
