import type { FieldFault } from '@headrace/schemas'
import { type CauseOption, causeOf, HeadraceError } from './headrace-error.ts'

export interface ApiErrorParams extends CauseOption {
  message: string
  status: number
  code: string
  retryable: boolean
  requestId?: string | null
  retryAfterMs?: number | null
  errors?: readonly FieldFault[]
}

/**
 * The API refused a request, or could not be reached within the client's `timeout`. `code` is a stable problem code
 * (docs/problems.md says what to do about each), or `unreachable` or `timeout` with `status` 0.
 * What is `retryable` was already tried again until the timeout.
 */
export class ApiError extends HeadraceError {
  override name = 'ApiError'
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  readonly code: string
  readonly retryable: boolean
  /** For the operator: names the request in the gateway's log. */
  readonly requestId: string | null
  /** How long the API asked to wait; null when it did not say. */
  readonly retryAfterMs: number | null
  /** Each fault with a JSON pointer into the body that was sent. */
  readonly errors: readonly FieldFault[]

  constructor(params: ApiErrorParams) {
    super(params.message, causeOf(params))
    this.status = params.status
    this.code = params.code
    this.retryable = params.retryable
    this.requestId = params.requestId ?? null
    this.retryAfterMs = params.retryAfterMs ?? null
    this.errors = params.errors ?? []
  }

  override details(): Record<string, unknown> {
    const { status, code, retryable, requestId, retryAfterMs } = this
    return { status, code, retryable, requestId, retryAfterMs }
  }
}
