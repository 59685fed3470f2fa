import { type Json, limits, problems, type Problem, type ProblemCode } from '@headrace/schemas'
import { z } from 'zod'

/**
 * What the API answers, for its OpenAPI document: the wire types of libs/schemas as zod, which the compiler compares. No
 * answer is parsed by these; a client may meet fields that are not here yet.
 */
export const named = <Wire>(id: string, schema: z.ZodType<Wire>): z.ZodType<Wire> => schema.meta({ id })
/** Any JSON value. */
export const anyJson = z.unknown() as unknown as z.ZodType<Json>
export const time = z.iso.datetime()
export const count = z.int().min(0)
export const text = z.string()
export const textOrNull = text.nullable()
export const timeOrNull = time.nullable()
export const headers = z.record(text, text)
const problemCode = z.enum(Object.keys(problems) as [ProblemCode, ...ProblemCode[]])

/** A part of a request that is wrong, or that is warned of. */
export const fieldFault = z.object({ pointer: text, code: problemCode, detail: text })
export const problem = named<Problem>(
  'Problem',
  z.object({
    type: z.url(),
    title: text,
    status: z.int().min(400).max(599),
    code: problemCode,
    detail: text,
    request_id: textOrNull,
    retryable: z.boolean(),
    errors: z.array(fieldFault).max(limits.problemErrorsMax).exactOptional(),
  }),
)
export const listOf = (item: z.ZodType) => z.object({ data: z.array(item), next_cursor: textOrNull })
