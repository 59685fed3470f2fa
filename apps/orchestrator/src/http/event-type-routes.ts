import { flagParameter, noQuery, parseQuery, requireReadable } from '@headrace/http'
import {
  eventTypeBodySchema,
  eventTypeName,
  parseOrProblem,
  ProblemError,
  type PutEventType,
  type WireEventType,
  type WireEventTypeDryRun,
  type WireValidation,
  validateDataSchema,
  type Json,
  type WireList,
} from '@headrace/schemas'
import { type EventTypeRecord, listEventTypes, readEventTypes } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { noEventType } from '../event-types/event-types.ts'
import { validateData } from '../event-types/usable-schema.ts'
import { eventTypeValue } from '../streams/setting-source.ts'
import { answerWithin } from './answer-within.ts'
import { pageOf, pageParameters } from './page.ts'

type ByName = { Params: { name: string } }

const listQuery = z.strictObject(pageParameters)
const putQuery = z.strictObject({ dry_run: flagParameter })
/** The registry is asked some six times for one schema, each time for 5 s at the most, and by then it is taken for away. */
const REGISTRY_MS_MAX = 12_000

/** `GET /v1/event-types`, `GET|PUT|DELETE /v1/event-types/{name}`, `POST …/validate`. */
export function eventTypeRoutes(app: FastifyInstance, context: ApiContext): void {
  readingRoutes(app, context)
  changingRoutes(app, context)
}

const url = '/v1/event-types/:name'

/** Postgres has no text with NUL in it, and so no event type of that name. */
function storable(name: string): string {
  if (name.includes('\u0000')) throw noEventType(name)
  return name
}

function readingRoutes(app: FastifyInstance, { store }: ApiContext): void {
  const find = async (name: string): Promise<EventTypeRecord> => {
    const [type] = await readEventTypes(store, [storable(name)])
    if (type === undefined) throw noEventType(name)
    return type
  }

  app.route({
    method: 'GET',
    url: '/v1/event-types',
    config: { scope: 'events:read' },
    handler: async (request): Promise<WireList<WireEventType>> => {
      const query = parseQuery(listQuery, request.query)
      const all = await listEventTypes(store)
      const readable = all.filter(({ pattern }) => request.caller.grants.readsAllOf(pattern))
      const page = pageOf(readable, ({ name }) => name, query)
      const shown = await readEventTypes(
        store,
        page.items.map(({ name }) => name),
      )
      return { data: shown.map(wireEventType), next_cursor: page.nextCursor }
    },
  })

  app.route<ByName>({
    method: 'GET',
    url,
    config: { scope: 'events:read' },
    handler: async (request): Promise<WireEventType> => {
      parseQuery(noQuery, request.query)
      const type = await find(request.params.name)
      requireReadable(request.caller, type.pattern)
      return wireEventType(type)
    },
  })

  app.route<ByName>({
    method: 'POST',
    url: `${url}/validate`,
    config: { scope: 'events:read' },
    handler: async (request): Promise<WireValidation> => {
      parseQuery(noQuery, request.query)
      const type = await find(request.params.name)
      requireReadable(request.caller, type.pattern)
      const { data } = parseOrProblem(validateDataSchema, request.body)
      return validateData(type, data as Json)
    },
  })
}

function changingRoutes(app: FastifyInstance, { clock, eventTypes }: ApiContext): void {
  const withinTime = async <Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> =>
    await answerWithin(clock, REGISTRY_MS_MAX, work, registryLate)

  app.route<ByName>({
    method: 'PUT',
    url,
    config: { scope: 'admin' },
    handler: async (request, reply): Promise<WireEventType | WireEventTypeDryRun> => {
      const { dry_run: dryRun } = parseQuery(putQuery, request.query)
      const body = parseOrProblem(eventTypeBodySchema, request.body)
      refuseOtherName(request.params.name, body)
      if (dryRun) {
        const tried = await withinTime(async (signal) => await eventTypes.tryPut(body, signal))
        const outcome = tried.isSame ? 'same' : tried.stored === null ? 'new' : 'changed'
        return { dry_run: true, name: tried.name, subject: tried.write.subject, outcome }
      }
      const { type, isNew } = await withinTime(async (signal) => await eventTypes.put(body, signal))
      if (isNew) reply.code(201).header('location', `/v1/event-types/${encodeURIComponent(type.name)}`)
      return wireEventType(type)
    },
  })

  app.route<ByName>({
    method: 'DELETE',
    url,
    config: { scope: 'admin' },
    handler: async (request, reply): Promise<void> => {
      parseQuery(noQuery, request.query)
      await eventTypes.remove(storable(request.params.name))
      await reply.code(204).send()
    },
  })
}

const registryLate = (ms: number): ProblemError =>
  new ProblemError(
    'schema_registry_unavailable',
    `The schema registry has not answered within ${ms / 1_000} s`,
  )

function refuseOtherName(name: string, { pattern }: PutEventType): void {
  const own = eventTypeName(pattern)
  if (name === own) return
  const detail = `belongs to the event type ${own}, and the path names ${name.slice(0, 200)}`
  throw ProblemError.fromFaults([{ pointer: '/pattern', code: 'invalid_field', detail }])
}

const wireEventType = (type: EventTypeRecord): WireEventType => ({
  ...eventTypeValue(type),
  content_model: type.contentModel,
  version: type.registered?.version ?? null,
  created_at: new Date(type.createdAt).toISOString(),
  updated_at: new Date(type.updatedAt).toISOString(),
})
