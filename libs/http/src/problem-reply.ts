import { ProblemError } from '@headrace/schemas'
import type { FastifyReply } from 'fastify'

/**
 * Answers with `application/problem+json`, and with `Retry-After`, `Allow` and `WWW-Authenticate` where the problem has them.
 * `members`: what a route says beside the problem's own members (RFC 9457 §3.2).
 */
export function sendProblem(
  reply: FastifyReply,
  problem: ProblemError,
  members: Readonly<Record<string, unknown>> = {},
): FastifyReply {
  const body = problem.toProblem(reply.request.id)
  if (problem.retryAfterSeconds !== null) reply.header('retry-after', String(problem.retryAfterSeconds))
  if (problem.code === 'unauthorized') reply.header('www-authenticate', 'Bearer realm="headrace"')
  if (problem.allow !== null) reply.header('allow', problem.allow.join(', '))
  return reply
    .code(body.status)
    .header('content-type', 'application/problem+json')
    .serializer((value) => JSON.stringify(value))
    .send({ ...body, ...members })
}

const mediaType = new ProblemError('unsupported_media_type', 'Send Content-Type: application/json')
const notJson = new ProblemError('invalid_json', 'The body is not JSON; send one JSON value in UTF-8')
const noSuchPath = new ProblemError('not_found', 'The path is not one of ours')

const frameworkProblems = new Map<unknown, ProblemError>([
  [
    'FST_ERR_CTP_BODY_TOO_LARGE',
    new ProblemError('body_too_large', 'The body is larger than this path takes; send it in parts'),
  ],
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', mediaType],
  ['FST_ERR_CTP_INVALID_TYPE', mediaType],
  ['FST_ERR_CTP_EMPTY_TYPE', mediaType],
  [
    'FST_ERR_CTP_INVALID_CONTENT_LENGTH',
    new ProblemError('invalid_header', 'Content-Length does not fit the body'),
  ],
  ['FST_ERR_CTP_EMPTY_JSON_BODY', notJson],
  ['FST_ERR_CTP_INVALID_JSON_BODY', notJson],
  ['FST_ERR_BAD_URL', noSuchPath],
  ['FST_ERR_MAX_PARAM_LENGTH', noSuchPath],
])

/** What the framework itself refuses, in the words of our registry; null: not its fault. */
export const problemOfFramework = (error: unknown): ProblemError | null =>
  error instanceof Error && 'code' in error ? (frameworkProblems.get(error.code) ?? null) : null
