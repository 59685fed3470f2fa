import { OPEN_KEY_ID, operations } from '@headrace/http'
import { codeOf, type Logger } from '@headrace/service'
import { type Store, writeAudit } from '@headrace/store'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { boundedJson, factsOf } from './audit-facts.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null: it changes nothing that is audited. */
    audited: Audited | null
  }
}

interface Audited {
  before: Fields | null
  /** What it was answered with; null as long as it was not. */
  told: Fields | null
}
type Fields = Readonly<Record<string, unknown>>

/** A run that is started is its own record, as an event is; to try data changes nothing. */
const NOT_AUDITED = new Set(['POST /v1/runs', 'POST /v1/event-types/{name}/validate'])
const PATH_CHARACTERS_MAX = 1_000

/**
 * Writes the audit log: every request that has changed something, before it is answered. Not in the transaction of the
 * change: a death between the two costs the entry, and the log of a failure has it. What workers and gateways say of themselves
 * changes nothing that a person decided. Add it before the routes.
 */
export function auditChanges(app: FastifyInstance, { store, log }: { store: Store; log: Logger }): void {
  app.decorateRequest('audited', null)
  app.addHook('preHandler', async (request) => {
    if (!isAudited(request)) return
    const { url = '' } = request.routeOptions
    const params = request.params as Readonly<Record<string, string>>
    // What cannot be read now is not known: the request itself says what is wrong.
    const before = await factsOf(url)
      .before?.(store, params)
      .catch(() => null)
    request.audited = { before: before ?? null, told: null }
  })
  app.addHook('preSerialization', (request, _reply, payload, done) => {
    if (request.audited !== null) request.audited.told = fieldsOf(payload)
    done(null, payload)
  })
  app.addHook('onSend', async (request, reply) => {
    const { audited } = request
    if (audited === null || reply.statusCode >= 300 || audited.told?.['dry_run'] === true) return
    const entry = entryOf(request, audited)
    await writeAudit(store, entry).catch((error: unknown) =>
      log.error(
        { event: 'audit.not_written', code: codeOf(error), request_id: request.id, ...entry, err: error },
        'a change is not in the audit log; this line has it',
      ),
    )
  })
}

function isAudited({ method, routeOptions }: FastifyRequest): boolean {
  const { scope } = routeOptions.config
  if (method === 'GET' || method === 'HEAD' || scope === undefined) return false
  return scope !== 'worker' && scope !== 'internal' && !NOT_AUDITED.has(routeOf(method, routeOptions.url))
}

function entryOf(request: FastifyRequest, { before, told }: Audited) {
  const { method, routeOptions, caller } = request
  const route = routeOf(method, routeOptions.url)
  const after =
    told === null ? null : factsOf(routeOptions.url ?? '').after(told, fieldsOf(request.body) ?? {})
  return {
    keyId: caller.keyId === OPEN_KEY_ID ? null : caller.keyId,
    action: operations[route]?.id ?? route,
    method,
    path: (request.url.split('?', 1)[0] ?? '').slice(0, PATH_CHARACTERS_MAX),
    requestId: request.id,
    before: boundedJson(before),
    after: boundedJson(after),
  }
}

const routeOf = (method: string, url = ''): string => `${method} ${url.replaceAll(/:(\w+)/g, '{$1}')}`

const fieldsOf = (value: unknown): Fields | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null
