import type { Readable } from 'node:stream'
import { limits, ProblemError } from '@headrace/schemas'
import type { FastifyRequest } from 'fastify'

/** An empty body has no content type to dispatch by, so no parser has passed it on. */
export const bodyOf = (request: FastifyRequest): Readable =>
  (request.body as Readable | undefined) ?? request.raw

/** `Content-Length`, or null where the body comes in chunks. Throws `invalid_header`. */
export function announcedBytes(request: FastifyRequest): number | null {
  const header = request.headers['content-length']
  const bytes = header === undefined ? Number.NaN : Number(header)
  if (Number.isSafeInteger(bytes)) return bytes
  if (header === undefined) return null
  throw new ProblemError(
    'invalid_header',
    `Content-Length must be a number of bytes, at most ${limits.requestBytesMax}`,
  )
}
