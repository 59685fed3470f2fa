import { type Broker, eventsTopic, type StreamDirectory } from '@headrace/broker'
import {
  cursorParameter,
  encodeCursor,
  limitParameter,
  noQuery,
  parseQuery,
  requireStream,
} from '@headrace/http'
import { parseOrProblem, ProblemError, streamOf, type WireList, type WireStream } from '@headrace/schemas'
import type { Logger } from '@headrace/service'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { withinDeadline } from '../kafka-deadline.ts'
import type { AskOrchestrator } from '../orchestrator/ask-orchestrator.ts'
import { readTriggers } from '../orchestrator/read-triggers.ts'
import { bindStream, type BindStreamParts, isBinding, unbindStream } from '../streams/bind-stream.ts'
import { putStream, type PutStreamParts, putStreamSchema } from '../streams/put-stream.ts'
import {
  isStreamName,
  noStream,
  readStream,
  streamNames,
  type StreamOnKafka,
} from '../streams/read-streams.ts'

export interface StreamParts extends PutStreamParts, BindStreamParts {
  broker: Pick<Broker, 'topics' | 'offsets'>
  directory: StreamDirectory
  ask: AskOrchestrator
  log: Logger
}

const ASK_MS_MAX = 5_000
/** Kafka may take so long to make or to remove a topic on all its brokers. */
const CHANGE_MS_MAX = 15_000

const listQuery = z.strictObject({ limit: limitParameter, cursor: cursorParameter(z.string().max(250)) })
const deleteQuery = z.strictObject({ confirm: z.string().optional() })
type Named = { Params: { stream: string } }

/** `GET /v1/streams`, `GET|PUT|DELETE /v1/streams/{stream}`. */
export function streamRoutes(parts: StreamParts) {
  return async (app: FastifyInstance): Promise<void> => {
    const url = '/v1/streams/:stream'
    app.route({
      method: 'GET',
      url: '/v1/streams',
      config: { scope: 'events:read' },
      handler: async (request) => await listStreams(request, parts),
    })
    app.route<Named>({
      method: 'GET',
      url,
      config: { scope: 'events:read' },
      async handler(request) {
        parseQuery(noQuery, request.query)
        const { stream } = request.params
        requireStream(request.caller, stream)
        return await describeOne(stream, request, parts)
      },
    })
    app.route<Named>({
      method: 'PUT',
      url,
      config: { scope: 'admin' },
      async handler(request, reply) {
        parseQuery(noQuery, request.query)
        const { stream } = request.params
        const made = await withinDeadline(put(stream, request, parts), CHANGE_MS_MAX)
        const found = await describeOne(stream, request, parts)
        reply.code(made ? 201 : 200)
        return found
      },
    })
    app.route<Named>({
      method: 'DELETE',
      url,
      config: { scope: 'admin' },
      async handler(request, reply) {
        const { confirm } = parseQuery(deleteQuery, request.query)
        await deleteStream(request, confirm, parts)
        reply.code(204)
      },
    })
  }
}

/** Whether it is new. */
async function put(stream: string, { body, headers }: FastifyRequest, parts: StreamParts): Promise<boolean> {
  const { authorization } = headers
  if (isBinding(body)) return await bindStream(stream, body, { ...parts, authorization })
  const wanted = parseOrProblem(putStreamSchema, body ?? {})
  const bound = parts.bindings.streams.bindingOf(stream)
  if (bound === null) return await putStream(stream, wanted, parts)
  const detail = `the stream ${stream} is bound to the Kafka topic ${bound.rule.kafka_topic}, which others rule: change it there`
  throw new ProblemError('stream_exists', detail)
}

async function listStreams(request: FastifyRequest, parts: StreamParts): Promise<WireList<WireStream>> {
  const { limit, cursor } = parseQuery(listQuery, request.query)
  const all = await withinDeadline(streamNames(onKafka(parts)), ASK_MS_MAX)
  const names = all.filter((name) => request.caller.grants.readsOf(name))
  const behind = cursor === undefined ? names : names.filter((name) => name > cursor)
  const page = behind.slice(0, limit)
  const last = page.at(-1)
  const nextCursor = behind.length > page.length && last !== undefined ? encodeCursor(last) : null
  return { data: await describe(page, request, parts), next_cursor: nextCursor }
}

async function describeOne(stream: string, request: FastifyRequest, parts: StreamParts): Promise<WireStream> {
  const [found] = await describe([stream], request, parts)
  if (found === undefined) throw noStream(stream)
  return found
}

/**
 * What Kafka says of the streams, and where the orchestrator can be asked which triggers read them and whether runs wait
 * on them. One that does not exist is left out: it may have been deleted while a list was made.
 */
async function describe(
  streams: readonly string[],
  request: FastifyRequest,
  parts: StreamParts,
): Promise<WireStream[]> {
  const reading = Promise.all(
    streams.map(async (stream) => await readStream(stream, onKafka(parts)).catch(absent)),
  )
  const { authorization } = request.headers
  const [found, triggers, waited] = await Promise.all([
    withinDeadline(reading, ASK_MS_MAX),
    triggersByStream(parts.ask, authorization),
    waitedStreams(parts.ask, authorization),
  ])
  const there = found.filter((stream) => stream !== null)
  return there.map((stream: StreamOnKafka) => ({
    ...stream,
    triggers: triggers === null ? null : (triggers.get(stream.name) ?? []),
    waited: waited === null ? null : waited.has(stream.name),
  }))
}

const onKafka = ({ broker, prefix, bindings }: StreamParts) => ({ broker, prefix, catalog: bindings.streams })

function absent(error: unknown): null {
  if (error instanceof ProblemError && error.code === 'stream_not_found') return null
  throw error
}

async function triggersByStream(
  ask: AskOrchestrator,
  authorization: string | undefined,
): Promise<Map<string, string[]> | null> {
  const triggers = await readTriggers(ask, authorization)
  if (triggers === null) return null
  const byStream = Map.groupBy(triggers, ({ pattern }) => streamOf(pattern))
  return new Map([...byStream].map(([stream, read]) => [stream, read.map(({ id }) => id)]))
}

const waitedShape = z.object({ data: z.array(z.object({ stream: z.string() })) })

async function waitedStreams(
  ask: AskOrchestrator,
  authorization: string | undefined,
): Promise<Set<string> | null> {
  const answer = await ask.get('/v1/waited-streams', waitedShape, { authorization })
  return answer === null ? null : new Set(answer.data.map(({ stream }) => stream))
}

async function deleteStream(
  { params, headers }: FastifyRequest<Named>,
  confirm: string | undefined,
  parts: StreamParts,
): Promise<void> {
  const { stream } = params
  const { broker, prefix, directory, log, topics, bindings } = parts
  if (confirm !== stream) {
    const detail = `must repeat the name of the stream: ?confirm=${stream.slice(0, 200)}; the events of a stream of Headrace's own are removed for good`
    throw new ProblemError('invalid_query', `?confirm: ${detail}`, {
      errors: [{ pointer: '?confirm', code: 'invalid_query', detail }],
    })
  }
  if (!isStreamName(prefix, stream)) throw noStream(stream)
  if (bindings.streams.bindingOf(stream) !== null) {
    const { authorization } = headers
    return await withinDeadline(unbindStream(stream, { ...parts, authorization }), CHANGE_MS_MAX)
  }
  const topic = eventsTopic(prefix, stream).name
  const { failed } = await withinDeadline(broker.topics.describe([topic]), ASK_MS_MAX)
  if (failed.get(topic) === 'unknown_topic') throw noStream(stream)
  if (topics !== 'create') {
    const detail = `HEADRACE_KAFKA_TOPICS=${topics} forbids to change topics here`
    throw new ProblemError('stream_exists', detail)
  }
  await withinDeadline(broker.topics.deleteTopic(topic), CHANGE_MS_MAX)
  directory.forget(stream)
  log.info({ event: 'stream.deleted', stream }, `stream ${stream} was deleted with its events`)
}
