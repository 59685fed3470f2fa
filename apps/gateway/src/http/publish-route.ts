import type { Readable } from 'node:stream'
import { type StreamDirectory, StreamsRefusedError } from '@headrace/broker'
import { checkpoint } from '@headrace/core'
import { decodeUtf8, noQuery, parseQuery, sendProblem } from '@headrace/http'
import { type FieldFault, limits, ProblemError } from '@headrace/schemas'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayMetrics } from '../gateway-metrics.ts'
import type { Admission, AdmissionTicket } from '../ingest/admission.ts'
import { parseIdempotencyKey } from '../ingest/idempotency.ts'
import { parseEvents } from '../ingest/parse-events.ts'
import { type PreparedEvent, prepareEvents } from '../ingest/prepare-events.ts'
import { readBody } from '../ingest/read-body.ts'
import { parseTraceparent } from '../ingest/traceparent.ts'
import { withinDeadline } from '../kafka-deadline.ts'
import { publishAnswer } from '../produce/publish-answer.ts'
import type { PublishEvents } from '../produce/publish-events.ts'

export interface PublishParts {
  admission: Admission
  streams: StreamDirectory
  publish: PublishEvents
  metrics: GatewayMetrics
  now: () => number
}

/** From the whole body to the answer. Below the 5 s within which every publisher is told something. */
const PUBLISH_MS_MAX = 4_500
/** What is left for the send, however long the look for a new stream took. */
const PRODUCE_MS_LEAST = 500
/** Of callers without an API key: all there are while keys are not checked. */
const OPEN_KEY_ID = 'local'

/** `POST /v1/events`. Bodies are dispatched by content type: each format brings its own parser. */
export function publishRoute(parts: PublishParts) {
  return async (app: FastifyInstance): Promise<void> => {
    // The handler reads the body itself: it is counted against what is in flight before and while it is read.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', (_request, payload, done) => done(null, payload))
    app.route({
      method: 'POST',
      url: '/v1/events',
      config: { scope: 'events:write' },
      handler: async (request, reply) => await publishEvents(request, reply, parts),
    })
  }
}

async function publishEvents(
  request: FastifyRequest,
  reply: FastifyReply,
  parts: PublishParts,
): Promise<unknown> {
  parseQuery(noQuery, request.query)
  const ticket = parts.admission.admit(announcedBytes(request) ?? 0)
  const told = { events: 1 }
  try {
    return await answer(request, reply, { ...parts, ticket, told })
  } catch (error) {
    parts.metrics.rejected(error instanceof ProblemError ? error.code : 'internal', told.events)
    throw error
  } finally {
    ticket.release()
  }
}

interface Admitted extends PublishParts {
  ticket: AdmissionTicket
  /** How many events the request holds, as far as is known when it fails. */
  told: { events: number }
}

async function answer(request: FastifyRequest, reply: FastifyReply, parts: Admitted): Promise<unknown> {
  const events = await readEvents(request, parts)
  const deadline = performance.now() + PUBLISH_MS_MAX
  await ensureStreams(events, parts.streams, PUBLISH_MS_MAX - PRODUCE_MS_LEAST)
  const held = checkpoint('gateway.before-produce')
  if (held) await held
  const outcomes = await parts.publish(events, deadline - performance.now())
  const told = publishAnswer(outcomes, request.id)
  if (told.status === 503) {
    return await sendProblem(reply, told.problem, { events: told.events })
  }
  reply.code(told.status).header('content-type', 'application/json; charset=utf-8')
  return JSON.stringify(told.body)
}

async function readEvents(
  request: FastifyRequest,
  { ticket, told, now }: Admitted,
): Promise<readonly PreparedEvent[]> {
  refuseEncoded(request)
  const idempotencyKey = parseIdempotencyKey(request.headers['idempotency-key'])
  const bytes = await readBody(bodyOf(request), {
    lengthBytes: announcedBytes(request),
    onBytes: (read) => ticket.raiseBytes(read),
  })
  const body = parseEvents(decodeUtf8(bytes))
  told.events = body.events.length
  ticket.addEvents(body.events.length)
  return prepareEvents(body, {
    keyId: OPEN_KEY_ID,
    idempotencyKey,
    traceparent: parseTraceparent(request.headers['traceparent']),
    now: now(),
  })
}

/** Every stream of the request exists when this resolves: nothing of it is written before all of it can be. */
async function ensureStreams(
  events: readonly PreparedEvent[],
  streams: StreamDirectory,
  ms: number,
): Promise<void> {
  const wanted = new Set(events.map(({ stream }) => stream))
  if (streams.knowsAll(wanted)) return
  try {
    await withinDeadline(streams.ensure(wanted), ms)
  } catch (error) {
    if (error instanceof StreamsRefusedError) throw refused(events, error)
    throw error
  }
}

/** Points at every event of the request that a stream is missing for. */
function refused(events: readonly PreparedEvent[], error: StreamsRefusedError): ProblemError {
  const { code, message: detail } = error
  const streams = new Set(error.streams)
  const faults = events
    .filter(({ stream }) => streams.has(stream))
    .map(({ pointer }): FieldFault => ({ pointer: `${pointer}/topic`, code, detail }))
  return ProblemError.fromFaults(faults)
}

function refuseEncoded(request: FastifyRequest): void {
  const encoding = request.headers['content-encoding']
  if (encoding === undefined || encoding === 'identity') return
  throw new ProblemError(
    'unsupported_media_type',
    `Content-Encoding ${JSON.stringify(encoding.slice(0, 40))} is not supported; send the body as it is`,
  )
}

/** An empty body has no content type to dispatch by, so no parser has passed it on. */
const bodyOf = (request: FastifyRequest): Readable => (request.body as Readable | undefined) ?? request.raw

function announcedBytes(request: FastifyRequest): number | null {
  const header = request.headers['content-length']
  const bytes = header === undefined ? Number.NaN : Number(header)
  if (Number.isSafeInteger(bytes)) return bytes
  if (header === undefined) return null
  throw new ProblemError(
    'invalid_header',
    `Content-Length must be a number of bytes, at most ${limits.requestBytesMax}`,
  )
}
