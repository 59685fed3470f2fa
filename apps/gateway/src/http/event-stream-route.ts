import { PassThrough } from 'node:stream'
import type { Broker, StreamCatalog } from '@headrace/broker'
import { type Caller, OPEN_KEY_ID, requireReadable } from '@headrace/http'
import { type FieldFault, ProblemError } from '@headrace/schemas'
import { type Clock, codeOf, type Logger } from '@headrace/service'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { followStream } from '../history/follow-stream.ts'
import { type FollowQuery, parseFollowQuery } from '../history/history-query.ts'
import { historyReader } from '../history/history-reader.ts'
import { createStreamEnds, type StreamEnds } from '../history/stream-ends.ts'
import {
  decodeStreamPosition,
  encodeStreamPosition,
  type StreamPosition,
} from '../history/stream-position.ts'
import { writeStream } from '../history/write-stream.ts'
import { withinDeadline } from '../kafka-deadline.ts'
import { problemOfKafka } from '../kafka-problem.ts'
import { isStreamName, noStream } from '../streams/read-streams.ts'
import { streamProblem } from './stream-problem.ts'

export interface EventStreamParts {
  broker: Pick<Broker, 'readRange' | 'offsets' | 'stableEnds' | 'offsetsForTime'>
  prefix: string
  catalog: Pick<StreamCatalog, 'topicOf' | 'reader'>
  clock: Clock
  log: Logger
  /** Aborted when the gateway stops: readers connect again, elsewhere. */
  stopping: AbortSignal
}

/** Each holds a connection, and up to some MiB while it reads what lies behind. */
export const READERS_MAX = 64
const ASK_MS_MAX = 5_000
/** How long a reader whose key was revoked goes on, beside what it takes to learn of that. */
const KEY_LOOK_MS = 5_000
/** What a dropped reader may still take; then its connection is closed. */
const LEAVE_MS = 5_000

/** `GET /v1/events/stream`: the events of a stream as they come, as server-sent events. */
export function eventStreamRoute(parts: EventStreamParts) {
  let readers = 0
  const ends = createStreamEnds(parts.broker, parts.clock)
  return async (app: FastifyInstance): Promise<void> => {
    app.route({
      method: 'GET',
      url: '/v1/events/stream',
      config: { scope: 'events:read' },
      exposeHeadRoute: false,
      async handler(request, reply) {
        const query = parseFollowQuery(request.query)
        requireReadable(request.caller, ...query.asked)
        if (readers >= READERS_MAX)
          throw new ProblemError('overloaded', `${READERS_MAX} readers follow streams here; ask again later`)
        readers += 1
        const gone = new AbortController()
        reply.raw.once('close', () => gone.abort(new Error('the reader has gone')))
        let isFollowing = false
        try {
          const from = await startOf(request, query, parts)
          isFollowing = true
          endWithKey(request.caller, gone, parts.clock)
          return follow(reply, { query, from, ends, parts, gone: gone.signal, left: () => (readers -= 1) })
        } finally {
          if (!isFollowing) readers -= 1
        }
      },
    })
  }
}

interface Following {
  query: FollowQuery
  from: StreamPosition
  ends: StreamEnds
  parts: EventStreamParts
  gone: AbortSignal
  left: () => void
}

/** Cuts a reader off whose key is not valid any more. Ends with the reader. */
function endWithKey(caller: Caller, gone: AbortController, clock: Clock): void {
  if (caller.keyId === OPEN_KEY_ID) return
  const look = async (): Promise<void> => {
    while (caller.isValid()) await clock.sleep(KEY_LOOK_MS, gone.signal)
    gone.abort(new Error('the API key is not valid any more'))
  }
  // Aborted while it sleeps: the reader has gone by itself.
  look().catch(() => undefined)
}

/** Answers at once; what follows is written for as long as the reader stays. */
function follow(reply: FastifyReply, { query, from, ends, parts, gone, left }: Following): PassThrough {
  const { broker, catalog, clock, log } = parts
  const { stream, filter } = query
  const signal = AbortSignal.any([gone, parts.stopping])
  const out = new PassThrough()
  const topic = catalog.topicOf(stream)
  const read = historyReader(catalog, stream)
  const items = followStream({ broker, read, ends, topic, filter, from, clock, signal })
  const idOf = (position: StreamPosition) => encodeStreamPosition(stream, position)
  const problemOf = (error: unknown): ProblemError => {
    const known = error instanceof ProblemError ? error : problemOfKafka(error)
    if (known !== null) return known
    log.error(
      { event: 'event_stream.failed', code: codeOf(error), stream, err: error },
      'a reader was cut off',
    )
    return new ProblemError('internal', 'Something unexpected went wrong; the log has it')
  }
  const serve = async (): Promise<void> => {
    try {
      const how = await writeStream({ items, out, idOf, from, problemOf, clock, signal })
      if (how !== 'lagged') return
      log.warn({ event: 'event_stream.lagged', code: 'reader_lagged', stream }, 'a slow reader is dropped')
      await clock.sleep(LEAVE_MS, gone).catch(() => undefined)
      reply.raw.destroy()
    } finally {
      left()
    }
  }
  serve().catch(problemOf)
  reply
    .type('text/event-stream')
    .header('cache-control', 'no-store')
    // Kept for another request, it would hold up a stop: its headers are sent long before that is known.
    .header('connection', 'close')
    // Proxies of nginx's kind collect an answer before they pass it on.
    .header('x-accel-buffering', 'no')
  return out
}

/** Where a reader begins: behind the last event it has seen, else where it asks to. */
async function startOf(
  request: FastifyRequest,
  { stream, from }: FollowQuery,
  { broker, prefix, catalog }: EventStreamParts,
): Promise<StreamPosition> {
  if (!isStreamName(prefix, stream)) throw noStream(stream)
  const topic = catalog.topicOf(stream)
  const ask = async (): Promise<StreamPosition> => {
    const ends = await broker.stableEnds(topic)
    if (from === 'latest') return ends
    const marks = await broker.offsets(topic)
    const found = from === 'earliest' ? null : await broker.offsetsForTime(topic, from)
    return new Map(
      [...ends].map(([partition, end]) => [
        partition,
        found === null ? (marks.get(partition)?.low ?? 0) : (found.get(partition) ?? end),
      ]),
    )
  }
  const lastId = request.headers['last-event-id']
  const resumed = typeof lastId === 'string' && lastId !== '' ? decodeStreamPosition(stream, lastId) : null
  if (typeof lastId === 'string' && lastId !== '' && resumed === null) throw badLastId()
  const first = await streamProblem(stream, withinDeadline(ask(), ASK_MS_MAX))
  return resumed ?? first
}

function badLastId(): ProblemError {
  const detail = 'is no id of an event of this stream; take the last id that was received, or leave it out'
  const fault: FieldFault = { pointer: 'Last-Event-ID', code: 'invalid_header', detail }
  return new ProblemError('invalid_header', `Last-Event-ID: ${detail}`, { errors: [fault] })
}
