import { nameSchema, type ProblemCode, ProblemError } from '@headrace/schemas'

/** An id from a path. One that no name can be names nothing: "not found", as any other that does not exist. */
export function nameOrProblem(code: ProblemCode, what: string, id: string): string {
  if (nameSchema.safeParse(id).success) return id
  throw new ProblemError(code, `There is no ${what} ${JSON.stringify(id.slice(0, 100))}`)
}
