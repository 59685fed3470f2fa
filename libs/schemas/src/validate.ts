import type { z } from 'zod'
import { type FieldFault, ProblemError, type ProblemCode, problems } from './problem.ts'

/** RFC 6901. */
export function jsonPointer(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/** A schema's issues as faults: an unknown field points at itself, not at its parent. */
export function faultsOf(error: z.ZodError, at = ''): FieldFault[] {
  return error.issues.flatMap((issue): FieldFault[] => {
    const pointer = at + jsonPointer(issue.path)
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        pointer: `${pointer}${jsonPointer([key])}`,
        code: 'unknown_field',
        detail: `unknown field ${JSON.stringify(key)}; remove it or correct its name`,
      }))
    }
    return [{ pointer, code: codeOf(issue), detail: detailOf(issue) }]
  })
}

function codeOf(issue: z.core.$ZodIssue): ProblemCode {
  if (issue.code === 'custom') {
    const code: unknown = issue.params?.['code']
    if (typeof code === 'string' && code in problems) return code as ProblemCode
  }
  return isMissing(issue) ? 'required' : 'invalid_field'
}

// zod drops the input of an issue unless asked to keep it; its message still tells an absent value.
const isMissing = (issue: z.core.$ZodIssue): boolean =>
  issue.code === 'invalid_type' && issue.message.endsWith('received undefined')

const detailOf = (issue: z.core.$ZodIssue): string => (isMissing(issue) ? 'is required' : issue.message)

/** The parsed value, or a {@link ProblemError} that names every fault with its pointer. */
export function parseOrProblem<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  at = '',
): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw ProblemError.fromFaults(faultsOf(result.error, at))
}
