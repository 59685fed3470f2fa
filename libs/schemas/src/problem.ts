import { limits } from './limits.ts'

/**
 * The registry of problem codes (RFC 9457, `application/problem+json`). A code is never reused for another meaning;
 * docs/problems.md has each with what to do about it, compared with this table by a test.
 */
export const problems = {
  invalid_json: { status: 400, retryable: false, title: 'The body is not JSON' },
  invalid_encoding: { status: 400, retryable: false, title: 'The body is not encoded as it says' },
  invalid_header: { status: 400, retryable: false, title: 'A header is malformed' },
  unsupported_protocol: {
    status: 400,
    retryable: false,
    title: 'The worker protocol version is not supported',
  },
  unauthorized: { status: 401, retryable: false, title: 'An API key is needed' },
  forbidden: { status: 403, retryable: false, title: 'The API key lacks a scope' },
  schema_register_off: { status: 403, retryable: false, title: 'Event types cannot be changed here' },
  stream_read_only: { status: 403, retryable: false, title: 'The stream is not written by Headrace' },
  not_found: { status: 404, retryable: false, title: 'There is no such path' },
  stream_not_found: { status: 404, retryable: false, title: 'There is no such stream' },
  event_not_found: { status: 404, retryable: false, title: 'There is no such event' },
  workflow_not_found: { status: 404, retryable: false, title: 'There is no such workflow' },
  trigger_not_found: { status: 404, retryable: false, title: 'There is no such trigger' },
  replay_not_found: { status: 404, retryable: false, title: 'There is no such replay' },
  run_not_found: { status: 404, retryable: false, title: 'There is no such run' },
  wait_not_found: { status: 404, retryable: false, title: 'The run waits for nothing under this key' },
  dead_letter_not_found: { status: 404, retryable: false, title: 'There is no such dead letter' },
  event_type_not_found: { status: 404, retryable: false, title: 'There is no such event type' },
  key_not_found: { status: 404, retryable: false, title: 'There is no such API key' },
  queue_not_found: { status: 404, retryable: false, title: 'There is no such queue' },
  method_not_allowed: { status: 405, retryable: false, title: 'The path does not take this method' },
  too_many_replays: { status: 409, retryable: true, title: 'Too many replays of the trigger are running' },
  run_ended: { status: 409, retryable: false, title: 'The run has ended' },
  run_not_retryable: { status: 409, retryable: false, title: 'The run cannot be retried' },
  run_exists: { status: 409, retryable: false, title: 'A run with this id exists' },
  wait_settled: { status: 409, retryable: false, title: 'The wait was answered otherwise, or is over' },
  dead_letter_decided: { status: 409, retryable: false, title: 'The dead letter was decided otherwise' },
  not_redrivable: { status: 409, retryable: false, title: 'The dead letter cannot be redriven' },
  key_exists: { status: 409, retryable: false, title: 'An API key has this name' },
  unknown_worker: {
    status: 409,
    retryable: false,
    title: 'The worker is not registered, or was declared dead',
  },
  kafka_topic_taken: {
    status: 409,
    retryable: false,
    title: 'The Kafka topic cannot be bound to this stream',
  },
  event_type_exists: { status: 409, retryable: false, title: 'Another pattern has this name' },
  stream_exists: { status: 409, retryable: false, title: 'The stream exists with other settings' },
  event_too_large: { status: 413, retryable: false, title: 'The event is too large' },
  too_many_events: { status: 413, retryable: false, title: 'The request holds too many events' },
  body_too_large: { status: 413, retryable: false, title: 'The body is too large' },
  unsupported_media_type: { status: 415, retryable: false, title: 'The content type is not supported' },
  invalid_request: { status: 422, retryable: false, title: 'The request is not valid' },
  unknown_field: { status: 422, retryable: false, title: 'A field is unknown' },
  invalid_field: { status: 422, retryable: false, title: 'A field has a value it cannot have' },
  required: { status: 422, retryable: false, title: 'A field is missing' },
  invalid_topic: { status: 422, retryable: false, title: 'The topic is not valid' },
  invalid_pattern: { status: 422, retryable: false, title: 'The pattern is not valid' },
  reserved_source: { status: 422, retryable: false, title: 'The source is reserved' },
  contains_nul: { status: 422, retryable: false, title: 'A field contains NUL' },
  number_not_exact: { status: 422, retryable: false, title: 'A number cannot be kept exactly' },
  json_too_deep: { status: 422, retryable: false, title: 'The JSON is nested too deep' },
  forbidden_key: { status: 422, retryable: false, title: 'An object key is forbidden' },
  duplicate_event_id: { status: 422, retryable: false, title: 'An event id stands twice in the request' },
  kafka_topic_not_found: { status: 422, retryable: false, title: 'There is no such Kafka topic' },
  schema_unusable: { status: 422, retryable: false, title: 'The schema cannot be used' },
  schema_incompatible: {
    status: 422,
    retryable: false,
    title: 'The schema does not fit the one before it',
  },
  schema_invalid: { status: 422, retryable: false, title: 'The data does not fit its schema' },
  too_many_event_types: { status: 422, retryable: false, title: 'There are too many event types' },
  too_many_keys: { status: 422, retryable: false, title: 'There are too many API keys' },
  too_many_streams: { status: 422, retryable: false, title: 'There are too many streams' },
  stream_autocreate_off: {
    status: 422,
    retryable: false,
    title: 'The stream does not exist and is not made by publishing',
  },
  registration_conflict: {
    status: 422,
    retryable: false,
    title: 'The registration contradicts itself or another app',
  },
  invalid_cursor: { status: 422, retryable: false, title: 'The cursor is not one of ours' },
  invalid_query: { status: 422, retryable: false, title: 'A query parameter is not valid' },
  overloaded: { status: 429, retryable: true, title: 'Too much is in flight' },
  rate_limited: { status: 429, retryable: true, title: 'The API key publishes faster than it may' },
  internal: { status: 500, retryable: true, title: 'Something unexpected went wrong' },
  kafka_unavailable: { status: 503, retryable: true, title: 'Kafka cannot be reached' },
  unknown: { status: 503, retryable: true, title: 'The event may or may not have been written' },
  refused_by_kafka: { status: 503, retryable: true, title: 'Kafka refused the event' },
  not_attempted: {
    status: 503,
    retryable: true,
    title: 'An earlier event of the request was not written',
  },
  postgres_unavailable: { status: 503, retryable: true, title: 'Postgres cannot be reached' },
  orchestrator_unavailable: { status: 503, retryable: true, title: 'The orchestrator cannot be reached' },
  schema_registry_unavailable: {
    status: 503,
    retryable: true,
    title: 'The schema registry cannot be reached',
  },
  keys_not_known: { status: 503, retryable: true, title: 'The API keys are not known yet' },
  shutting_down: { status: 503, retryable: true, title: 'This instance is stopping' },
} as const satisfies Record<string, { status: number; retryable: boolean; title: string }>

export type ProblemCode = keyof typeof problems

/** One fault of a request. `pointer` is a JSON pointer (RFC 6901) into the body, or `?name` for a query parameter. */
export interface FieldFault {
  pointer: string
  code: ProblemCode
  detail: string
}

export interface Problem {
  type: string
  title: string
  status: number
  code: ProblemCode
  detail: string
  request_id: string | null
  retryable: boolean
  errors?: FieldFault[]
}

/** Carries a problem to the edge that answers it. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly code: ProblemCode
  readonly errors: FieldFault[] | null
  /** Seconds for `Retry-After`; null leaves the header out. */
  readonly retryAfterSeconds: number | null
  /** Methods for `Allow` of a 405. */
  readonly allow: string[] | null

  constructor(
    code: ProblemCode,
    detail: string,
    options: { errors?: FieldFault[]; retryAfterSeconds?: number; allow?: string[]; cause?: unknown } = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.errors = options.errors ?? null
    this.retryAfterSeconds = options.retryAfterSeconds ?? (problems[code].retryable ? 1 : null)
    this.allow = options.allow ?? null
  }

  /**
   * Many faults as one problem: their common code, else `invalid_request`; the first 100 are listed.
   * The status is that of the code, so a body over its limit is a 413 also inside a batch.
   */
  static fromFaults(faults: FieldFault[]): ProblemError {
    const [first] = faults
    if (!first) return new ProblemError('invalid_request', 'The request is not valid')
    const code = faults.every((fault) => fault.code === first.code) ? first.code : 'invalid_request'
    const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : ''
    return new ProblemError(code, `${first.pointer || 'the body'}: ${first.detail}${more}`, {
      errors: faults.slice(0, limits.problemErrorsMax),
    })
  }

  toProblem(requestId: string | null): Problem {
    const { status, title, retryable } = problems[this.code]
    const problem: Problem = {
      type: `https://headrace.dev/problems/${this.code}`,
      title,
      status,
      code: this.code,
      detail: this.message,
      request_id: requestId,
      retryable,
    }
    if (this.errors) problem.errors = this.errors
    return problem
  }
}
