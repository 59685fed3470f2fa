import { ProblemError } from '@headrace/schemas'
import { classify } from '@headrace/store'

/**
 * An outage of Postgres as the answer that says so: to a worker that is an answer, so it keeps its runs and its place
 * in the group. Null: the failure has another reason.
 */
export function postgresProblem(error: unknown): ProblemError | null {
  const kind = classify(error)
  if (kind === 'row' || kind === 'bug') return null
  // `retry` and `missing_partition` were tried again where they happened: somebody holds locks for longer than a
  // request waits.
  return new ProblemError('postgres_unavailable', 'Postgres cannot be reached; send the request again', {
    cause: error,
  })
}
