import { cursorParameter, encodeCursor, limitParameter, parseQuery } from '@headrace/http'
import { bounded, type WireAudit, type WireList } from '@headrace/schemas'
import { type AuditRecord, listAudit } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { wireTime } from './wire-run.ts'

const auditQuery = z.strictObject({
  key_id: bounded(100).optional(),
  path: bounded(1_000).optional(),
  limit: limitParameter,
  cursor: cursorParameter(z.strictObject({ below: z.int().min(1) })),
})

/** `GET /v1/audit`. */
export function auditRoute(app: FastifyInstance, { store }: ApiContext): void {
  app.route({
    method: 'GET',
    url: '/v1/audit',
    config: { scope: 'admin' },
    handler: async (request): Promise<WireList<WireAudit>> => {
      const { key_id: keyId = null, path = null, limit, cursor } = parseQuery(auditQuery, request.query)
      const page = await listAudit(store, { keyId, path }, { below: cursor?.below ?? null, limit })
      const next = page.nextCursor
      return {
        data: page.entries.map(wireAudit),
        next_cursor: next === null ? null : encodeCursor({ below: next }),
      }
    },
  })
}

const wireAudit = ({ id, at, keyId, action, method, path, ...rest }: AuditRecord): WireAudit => ({
  id: String(id),
  at: wireTime(at),
  key_id: keyId,
  action,
  method,
  path,
  request_id: rest.requestId,
  before: rest.before === null ? null : (JSON.parse(rest.before) as unknown),
  after: rest.after === null ? null : (JSON.parse(rest.after) as unknown),
})
