import { Readable } from 'node:stream'
import { limits, ProblemError } from '@headrace/schemas'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AdmissionTicket } from '../ingest/admission.ts'
import { parseIdempotencyKey } from '../ingest/idempotency.ts'
import { readLines } from '../ingest/read-lines.ts'
import { answerLines, GROUP_EVENTS_MAX } from '../produce/answer-lines.ts'
import { announcedBytes, bodyOf } from './publish-request.ts'
import type { PublishParts, Traced } from './publish-route.ts'

/** The line that is read, and those that are being written. A shorter request holds no more than its length. */
const STREAM_BYTES_MAX = 2 * limits.lineBytesMax
/** Of a connection on which nothing moves: the caller neither sends nor takes answers. */
const IDLE_MS_MAX = 30_000

/**
 * `POST /v1/events` with NDJSON, streamed both ways. The answer begins before the fates are known, so it is a 207 whatever
 * they are: each line says its own. What is in flight is bounded, so the request is admitted once, for all it may hold.
 */
export function publishLines(request: FastifyRequest, reply: FastifyReply, parts: Traced): FastifyReply {
  const idempotencyKey = parseIdempotencyKey(request.headers['idempotency-key'])
  const ticket = admitted(request, parts)
  const body = bodyOf(request)
  const answers = answerLines(readLines(chunksUntil(body, parts.stopping)), {
    ...parts,
    caller: request.caller,
    publisher: { keyId: request.caller.keyId, idempotencyKey },
    requestId: request.id,
  })
  const answer = Readable.from(untilRead(answers, body, parts.stopping))
  answer.once('close', () => ticket.release())
  reply.raw.setTimeout(IDLE_MS_MAX, () => reply.raw.destroy())
  return (
    reply
      .code(207)
      .header('content-type', 'application/x-ndjson; charset=utf-8')
      .header('cache-control', 'no-store')
      // Kept for another request, it would hold up a stop: its headers are sent long before that is known.
      .header('connection', 'close')
      // Proxies of nginx's kind collect an answer before they pass it on.
      .header('x-accel-buffering', 'no')
      .send(answer)
  )
}

function admitted(request: FastifyRequest, { admission }: PublishParts): AdmissionTicket {
  const packed = request.headers['content-encoding'] !== undefined
  const bytes = packed ? null : announcedBytes(request)
  const ticket = admission.admit(Math.min(bytes ?? STREAM_BYTES_MAX, STREAM_BYTES_MAX))
  try {
    ticket.addEvents(GROUP_EVENTS_MAX)
    return ticket
  } catch (error) {
    ticket.release()
    throw error
  }
}

/** An answer that ends early waits for its caller to stop sending: closed before that, the connection would break and take the answer with it. */
async function* untilRead(
  answers: AsyncIterable<string>,
  body: Readable,
  stopping: AbortSignal,
): AsyncGenerator<string> {
  yield* answers
  if (body.readableEnded || body.destroyed || stopping.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  body.once('close', resolve).once('end', resolve).once('error', resolve).resume()
  await promise
}

/** What the body brings, until it ends or the gateway stops. Its connection is left open: the answer goes over it. */
async function* chunksUntil(body: Readable, stopping: AbortSignal): AsyncGenerator<Buffer> {
  const chunks = body.iterator({ destroyOnReturn: false })
  const { promise: stopped, reject } = Promise.withResolvers<never>()
  stopped.catch(() => undefined)
  const stop = (): void =>
    reject(new ProblemError('shutting_down', 'This instance is stopping; send the other lines again'))
  if (stopping.aborted) stop()
  stopping.addEventListener('abort', stop, { once: true })
  try {
    for (;;) {
      const { done, value } = await Promise.race([chunks.next(), stopped])
      if (done === true) return
      yield value as Buffer
    }
  } finally {
    stopping.removeEventListener('abort', stop)
    // What is still being waited for cannot be given back.
    if (!stopping.aborted) await chunks.return?.()
  }
}
