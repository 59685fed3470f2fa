import { parseExactJson, ProblemError } from '@headrace/schemas'
import type { FastifyInstance } from 'fastify'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A body's text. Bytes that are no UTF-8 are refused, never replaced: `invalid_json`. */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    throw new ProblemError('invalid_json', 'The body is not UTF-8; send one JSON value in UTF-8', {
      cause: error,
    })
  }
}

/** One JSON value as users send it: nothing lost, nothing that pollutes a prototype, not too deep. */
export const parseJsonBody = (bytes: Uint8Array): unknown => parseExactJson(decodeUtf8(bytes))

/**
 * JSON of our own worker protocol: payloads travel in it as text, so that the checks of {@link parseJsonBody} have
 * nothing to find and would cost a walk over every batch. What it may hold is said by the schema that parses it.
 */
export function parseTrustedShapeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decodeUtf8(bytes))
  } catch (error) {
    if (error instanceof ProblemError) throw error
    throw new ProblemError('invalid_json', 'The body is not JSON', { cause: error })
  }
}

/** Makes `application/json` the one content type of these routes; every other is a 415. */
export function takeJson(app: FastifyInstance, parse: (bytes: Uint8Array) => unknown = parseJsonBody): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, bytes: Buffer, done) => {
    try {
      done(null, parse(bytes))
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)))
    }
  })
}
