import type { Readable } from 'node:stream'
import { limits, ProblemError } from '@headrace/schemas'

export interface ReadBody {
  /** `Content-Length`, or null where the body comes in chunks of unknown number. */
  lengthBytes: number | null
  limitBytes?: number
  /** Told the bytes read so far, before more is read. What it throws ends the reading. */
  onBytes: (bytes: number) => void
}

/**
 * The whole body, counted while it arrives: a length that is announced is refused before a byte is read.
 * What is refused is left to be read and dropped, so that a caller who is still sending gets to see the answer.
 * Throws `body_too_large`, `invalid_json` (the caller went away in the middle), and what `onBytes` throws.
 */
export async function readBody(
  body: Readable,
  { lengthBytes, limitBytes = limits.requestBytesMax, onBytes }: ReadBody,
): Promise<Buffer> {
  if (lengthBytes !== null && lengthBytes > limitBytes) throw tooLarge(limitBytes)
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let bytes = 0
  const take = (chunk: Buffer): void => {
    bytes += chunk.length
    try {
      if (bytes > limitBytes) throw tooLarge(limitBytes)
      if (lengthBytes === null) onBytes(bytes)
      chunks.push(chunk)
    } catch (error) {
      settle()
      reject(error)
    }
  }
  const ended = (): void => {
    settle()
    resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, bytes))
  }
  const broken = (error?: unknown): void => {
    settle()
    reject(
      error instanceof ProblemError
        ? error
        : new ProblemError('invalid_json', 'The body ended before it was whole'),
    )
  }
  // At once, not when the promise is looked at: "close" follows "end" before that.
  const settle = (): void => {
    body.off('data', take).off('end', ended).off('error', broken).off('close', broken)
    body.on('error', ignored).resume()
  }
  body.on('data', take).once('end', ended).once('error', broken).once('close', broken)
  return await promise
}

/** What became of a body nobody reads any more. */
const ignored = (): void => undefined

function tooLarge(limitBytes: number): ProblemError {
  return new ProblemError(
    'body_too_large',
    `The body is larger than ${limitBytes} bytes; send the events in several requests`,
  )
}
