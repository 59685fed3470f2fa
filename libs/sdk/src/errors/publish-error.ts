import type { Problem } from '@headrace/schemas'
import { ApiError } from './api-error.ts'

/** What became of one event of a publish: its position, or the problem that stands. */
export interface PublishFailure {
  /** Its place in the list that was given. */
  index: number
  /** Its id: publish again with it, so that a second record can be told for a repeat. */
  id: string
  problem: Problem
}

/**
 * Some events of a publish, or all, were not accepted within the timeout; those that were stay accepted. `code` is that of
 * the first failure; `unknown` says that the event may have been written. Publish the failed ones again with the same ids.
 */
export class PublishError extends ApiError {
  override name = 'PublishError'
  readonly failures: readonly PublishFailure[]
  /** How many were accepted. */
  readonly published: number

  constructor(params: { failures: readonly PublishFailure[]; published: number; requestId: string | null }) {
    const { failures, published, requestId } = params
    const problem = failures[0]?.problem
    super({
      message: `${failures.length} of ${failures.length + published} events were not accepted: ${problem?.detail ?? ''}`,
      status: problem?.status ?? 503,
      code: problem?.code ?? 'unknown',
      retryable: failures.every((failure) => failure.problem.retryable),
      requestId,
    })
    this.failures = failures
    this.published = published
  }
}
