import { cursorParameter, encodeCursor, limitParameter, noQuery, parseQuery } from '@headrace/http'
import {
  createKeySchema,
  parseOrProblem,
  rotateKeySchema,
  type WireKey,
  type WireList,
  type WireNewKey,
} from '@headrace/schemas'
import { getKey, listKeys, revokeKey } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { issueKey, noKey, reissueKey, wireKey } from '../keys/issue-key.ts'

type ById = { Params: { id: string } }

const listQuery = z.strictObject({
  limit: limitParameter,
  cursor: cursorParameter(z.strictObject({ after: z.string().max(100) })),
})
const config = { scope: 'admin' } as const

/** `GET|POST /v1/keys`, `GET|DELETE /v1/keys/{id}`, `POST /v1/keys/{id}/rotate`. */
export function keyRoutes(app: FastifyInstance, context: ApiContext): void {
  const { store, clock, keys } = context

  app.route({
    method: 'GET',
    url: '/v1/keys',
    config,
    handler: async (request): Promise<WireList<WireKey>> => {
      const { limit, cursor } = parseQuery(listQuery, request.query)
      const page = await listKeys(store, { after: cursor?.after ?? '', limit })
      const next = page.nextCursor
      return {
        data: page.keys.map(wireKey),
        next_cursor: next === null ? null : encodeCursor({ after: next }),
      }
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/keys/:id',
    config,
    handler: async (request): Promise<WireKey> => {
      parseQuery(noQuery, request.query)
      return wireKey((await getKey(store, storable(request.params.id))) ?? missing(request.params.id))
    },
  })

  app.route({
    method: 'POST',
    url: '/v1/keys',
    config,
    handler: async (request, reply): Promise<WireNewKey> => {
      parseQuery(noQuery, request.query)
      const made = await issueKey(store, parseOrProblem(createKeySchema, request.body), clock.now())
      await keys.changed()
      reply.code(201).header('location', `/v1/keys/${made.id}`).header('cache-control', 'no-store')
      return made
    },
  })

  app.route<ById>({
    method: 'POST',
    url: '/v1/keys/:id/rotate',
    config,
    handler: async (request, reply): Promise<WireNewKey> => {
      parseQuery(noQuery, request.query)
      const { grace: graceMs } = parseOrProblem(rotateKeySchema, request.body ?? {})
      const rotated = await reissueKey(store, { id: storable(request.params.id), graceMs })
      await keys.changed()
      reply.header('cache-control', 'no-store')
      return rotated
    },
  })

  app.route<ById>({
    method: 'DELETE',
    url: '/v1/keys/:id',
    config,
    handler: async (request): Promise<WireKey> => {
      parseQuery(noQuery, request.query)
      const revoked = (await revokeKey(store, storable(request.params.id))) ?? missing(request.params.id)
      await keys.changed()
      return wireKey(revoked)
    },
  })
}

/** Postgres has no text with NUL in it, and so no key of that id. */
function storable(id: string): string {
  return id.includes('\u0000') ? missing(id) : id
}

const missing = (id: string): never => {
  throw noKey(id)
}
