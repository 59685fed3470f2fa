import type { IncomingMessage } from 'node:http'
import { createPathMethods } from '@headrace/http'
import { ProblemError } from '@headrace/schemas'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { endToEndHeaders } from './hop-headers.ts'
import type { OrchestratorLink } from './orchestrator-link.ts'

/** What the gateway answers itself: nothing below these is another app's, but what became of an event. */
const OWN_PATHS = ['/v1/events', '/v1/streams', '/v1/status']
const EXPLAIN = /^\/v1\/events\/[^/]+\/[^/]+\/[^/]+\/explain$/
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

export interface PassThroughParts {
  link: OrchestratorLink
  /** Aborted when the gateway stops: callers who only wait are told to ask again. */
  stopping: AbortSignal
}

/**
 * The rest of `/v1` goes on to the orchestrator as it came, body and answer streamed, with the caller's key, which is
 * checked there. Registered after the gateway's own routes, whose other methods and sub-paths it must not pass on.
 */
export function passThroughRoutes({ link, stopping }: PassThroughParts) {
  return async (app: FastifyInstance): Promise<void> => {
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    app.route({
      method: [...METHODS],
      url: '/v1/*',
      config: { scope: 'passed_on' },
      exposeHeadRoute: false,
      handler: async (request, reply) => await passOn(request, reply, { link, stopping }),
    })
  }
}

/** Refuses what begins with a path of the gateway's own and fits none of its routes: 405 with `Allow`, else 404. */
export function guardOwnPaths(app: FastifyInstance): void {
  const methods = createPathMethods()
  app.addHook('onRoute', ({ url, method }) => {
    if (!url.endsWith('*')) methods.add(url, [method].flat())
  })
  app.addHook('onRequest', (request, _reply, done) => {
    const path = request.url.split('?', 1)[0] ?? ''
    const isPassedOn = EXPLAIN.test(path) || !OWN_PATHS.some((own) => isBelow(path, own))
    if (request.routeOptions.url !== '/v1/*' || isPassedOn) return done()
    const allow = methods.of(path)
    if (allow.length === 0)
      return done(new ProblemError('not_found', `There is no ${path.slice(0, 200)} here`))
    const detail = `This path takes ${allow.join(', ')}, not ${request.method}`
    done(new ProblemError('method_not_allowed', detail, { allow }))
  })
}

const isBelow = (path: string, own: string): boolean => path === own || path.startsWith(`${own}/`)

async function passOn(
  request: FastifyRequest,
  reply: FastifyReply,
  { link, stopping }: PassThroughParts,
): Promise<IncomingMessage> {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(new Error('the caller has gone'))
  })
  const { method, raw } = request
  const mayBeAskedAgain = method === 'GET' || method === 'HEAD'
  const chunked = raw.headers['transfer-encoding'] !== undefined
  const hasBody = chunked || Number(raw.headers['content-length'] ?? 0) > 0
  try {
    const answer = await link.send({
      method,
      path: request.url,
      headers: {
        ...endToEndHeaders(raw.headers),
        'x-request-id': request.id,
        ...(chunked ? { 'transfer-encoding': 'chunked' } : {}),
      },
      body: hasBody ? raw : null,
      signal: mayBeAskedAgain ? AbortSignal.any([gone.signal, stopping]) : gone.signal,
    })
    reply.code(answer.statusCode ?? 502).headers(endToEndHeaders(answer.headers))
    return answer
  } catch (error) {
    if (!stopping.aborted || gone.signal.aborted) throw error
    throw new ProblemError('shutting_down', 'This instance is stopping; send the request again', {
      cause: error,
    })
  }
}
