import { faultsOf, type FieldFault, limits, ProblemError } from '@headrace/schemas'
import { z } from 'zod'

/**
 * The parameters of a query, by a strict object of strings. Throws {@link ProblemError}: `invalid_query` with a
 * pointer `?name` for each fault, or the code that all faults have in common (`invalid_cursor`).
 */
export function parseQuery<Schema extends z.ZodObject>(schema: Schema, query: unknown): z.output<Schema> {
  const result = schema.safeParse(query)
  if (result.success) return result.data
  const known = Object.keys(schema.shape).join(', ') || 'none'
  const faults = faultsOf(result.error).map(({ pointer, code, detail }): FieldFault => {
    const name = pointer.split('/')[1] ?? ''
    return {
      pointer: `?${name}`,
      code: code === 'invalid_cursor' ? 'invalid_cursor' : 'invalid_query',
      detail:
        code === 'unknown_field'
          ? `there is no query parameter ${JSON.stringify(name)} here; known: ${known}`
          : detail,
    }
  })
  const code = faults.every((fault) => fault.code === 'invalid_cursor') ? 'invalid_cursor' : 'invalid_query'
  const [first] = faults
  const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : ''
  throw new ProblemError(
    code,
    first ? `${first.pointer}: ${first.detail}${more}` : 'The query is not valid',
    {
      errors: faults,
    },
  )
}

/** For routes that take no query parameters: an unknown one is a typo, and is told. */
export const noQuery = z.strictObject({})

/** `?limit=`: 1 to 200, else 50. */
export const limitParameter = z
  .string()
  .regex(/^\d{1,6}$/, `must be a whole number from 1 to ${limits.listLimitMax}`)
  .transform(Number)
  .refine((limit) => limit >= 1 && limit <= limits.listLimitMax, {
    error: `must be a whole number from 1 to ${limits.listLimitMax}`,
  })
  .default(limits.listLimitDefault)

/** A switch, off unless it is `true`. */
export const flagParameter = z
  .enum(['true', 'false'], { error: 'must be true or false' })
  .default('false')
  .transform((text) => text === 'true')

/** Cursors are a few ids and numbers; longer text was never one of ours. */
const CURSOR_CHARACTERS_MAX = 2_000

/** Where a list goes on: opaque to callers. */
export const encodeCursor = (position: unknown): string =>
  Buffer.from(JSON.stringify(position), 'utf8').toString('base64url')

/** `?cursor=`, as the position that {@link encodeCursor} was given; anything else is `invalid_cursor`. */
export function cursorParameter<Position extends z.ZodType>(position: Position) {
  return z
    .string()
    .transform((text, context): z.output<Position> => {
      if (/^[A-Za-z0-9_-]+$/.test(text) && text.length <= CURSOR_CHARACTERS_MAX) {
        const parsed = position.safeParse(jsonOf(Buffer.from(text, 'base64url').toString('utf8')))
        if (parsed.success) return parsed.data
      }
      context.addIssue({
        code: 'custom',
        message: 'is not a cursor of this list; take next_cursor of its last page',
        params: { code: 'invalid_cursor' },
      })
      return z.NEVER
    })
    .optional()
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A time: RFC 3339 → ms since 1970. */
export const timeParameter = z.iso
  .datetime({ offset: true, error: 'must be a time such as 2026-11-23T12:00:00Z' })
  .transform((text) => Date.parse(text))
