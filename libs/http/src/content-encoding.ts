import { Readable } from 'node:stream'
import { createGunzip, type Gunzip } from 'node:zlib'
import { ProblemError } from '@headrace/schemas'

/**
 * A body as its sender had it before `Content-Encoding`: gzip, or none. More than `limitBytes` once unpacked ends the
 * reading at that byte, whatever the packed body still holds. Throws `unsupported_media_type`; the stream fails with
 * `invalid_encoding` or `body_too_large`.
 */
export function decodeBody(body: Readable, encoding: string | undefined, limitBytes: number): Readable {
  const name = encoding?.trim().toLowerCase() ?? 'identity'
  if (name === 'identity' || name === '') return body
  if (name === 'gzip' || name === 'x-gzip') return gunzipped(body, limitBytes)
  throw new ProblemError(
    'unsupported_media_type',
    `Content-Encoding ${JSON.stringify(name.slice(0, 40))} is not supported; send gzip, or the body as it is`,
  )
}

function gunzipped(body: Readable, limitBytes: number): Readable {
  const gunzip = createGunzip()
  const unpacked = Readable.from(unpack(body, gunzip, limitBytes), { objectMode: false })
  // What fastify compares with Content-Length.
  Object.defineProperty(unpacked, 'receivedEncodedLength', { get: () => gunzip.bytesWritten })
  return unpacked
}

/**
 * Begins with whoever reads: of a request that is answered unread the body must stay unread as well. Its connection could not
 * be used again otherwise, and nobody would hear of what is wrong with it.
 */
async function* unpack(body: Readable, gunzip: Gunzip, limitBytes: number): AsyncGenerator<Buffer> {
  const cut = (): void => {
    if (!body.readableEnded) gunzip.destroy(new Error('the body ended before it was whole'))
  }
  let bytes = 0
  try {
    if (body.destroyed) cut()
    body.once('close', cut).pipe(gunzip)
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > limitBytes)
        throw new ProblemError('body_too_large', `Unpacked, the body is larger than ${limitBytes} bytes`)
      yield chunk
    }
  } catch (error) {
    if (error instanceof ProblemError) throw error
    const detail = 'Content-Encoding says gzip, and the body is not whole gzip'
    throw new ProblemError('invalid_encoding', detail, { cause: error })
  } finally {
    // What is not wanted any more is read and dropped, so that a caller who is still sending gets to see the answer.
    body.off('close', cut).unpipe(gunzip).resume()
  }
}
