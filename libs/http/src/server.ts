import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { limits, ProblemError } from '@headrace/schemas'
import { codeOf, explainListenError, type ListenOptions, type Logger, type Metrics } from '@headrace/service'
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { takeJson } from './body.ts'
import { decodeBody } from './content-encoding.ts'
import { createPathMethods, type PathMethods } from './path-methods.ts'
import { problemOfFramework, sendProblem } from './problem-reply.ts'
import { requestIdOf } from './request-id.ts'
import type { Caller } from './keys/caller.ts'
import type { Authorize, Scope } from './scope.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the caller's key must allow. Every route says it; one that does not stops the server from starting. */
    scope?: Scope
  }
  interface FastifyRequest {
    /** Who sent it, from the time on when it was let in. */
    caller: Caller
  }
}

export interface HttpServerOptions {
  log: Logger
  metrics: Metrics
  /** First part of the metrics' names: `gateway` → `headrace_gateway_requests_total`. */
  name: string
  /** Bytes of a request's body, unless its route says otherwise. */
  bodyLimitBytes?: number
  authorize: Authorize
  /** Turns an app's own failures (Postgres away) into problems; null: not one it knows. */
  explain?: (error: unknown) => ProblemError | null
}

/** Longest name that a path holds: step keys and event ids stand there, percent-encoded. */
const PATH_SEGMENT_CHARACTERS_MAX = 1_024
/** Longer than the idle time of usual load balancers (60 s): they must close first, else requests fail in flight. */
const KEEP_ALIVE_MS = 72_000
/** For the whole request to arrive: the largest body at 140 KB/s. Who sends slower holds memory of ours for nothing. */
const RECEIVE_MS_MAX = 120_000
/**
 * How long a server that stops goes on serving, each answer with `Connection: close`. A connection that is closed while its
 * client sends is a failed request (RFC 9112 §9.5), so those in use are told to end before idle ones are closed.
 */
const LEAVE_MS = 500

/**
 * A fastify instance with our edge on it: problem+json for whatever goes wrong, 404 and 405, request ids, scopes,
 * exact JSON, request metrics. Once `close()` was called clients have half a second to leave: they are served, and each
 * answer ends its connection. Then what is in flight is finished, and new requests on open connections are answered with 503
 * `shutting_down`. Hooks `preClose` of its user run between the two.
 */
export function createHttpServer(options: HttpServerOptions): FastifyInstance {
  const { log } = options
  const paths = createPathMethods()
  const answers = new WeakMap<Socket, ServerResponse>()
  const failed = (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply =>
    sendProblem(reply, problemOf(error, request, options))
  const app = fastify({
    bodyLimit: options.bodyLimitBytes ?? limits.requestBytesMax,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: RECEIVE_MS_MAX,
    genReqId: (request) => requestIdOf(request.headers['x-request-id']),
    routerOptions: { maxParamLength: PATH_SEGMENT_CHARACTERS_MAX },
    // Our own hook answers in our own words.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id)
      failed(error, request, reply)
    },
    clientErrorHandler: (error, socket) => {
      const answer = answers.get(socket)
      // In the middle of an answer there is no room for another: broken off, it is seen not to be whole.
      if (answer?.headersSent === true && !answer.writableFinished) socket.destroy()
      else answerBrokenRequest(error, socket, log)
    },
  })
  app.server.on('request', (request, answer) => answers.set(request.socket, answer))
  takeJson(app)
  app.setErrorHandler(failed)
  app.setNotFoundHandler((request, reply) => sendProblem(reply, notFound(request, paths)))
  app.addHook('onRoute', (route) => {
    if (route.config?.scope === undefined)
      throw new Error(`${String(route.method)} ${route.url} declares no scope`)
    paths.add(route.url, [route.method].flat())
  })
  letClientsLeave(app)
  guardRequests(app, options)
  unpackBodies(app)
  measureRequests(app, options)
  return app
}

/** From the call of `close()` on it is fastify that ends each connection with its answer. */
function letClientsLeave(app: FastifyInstance): void {
  const connected = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    connected.add(socket)
    socket.once('close', () => connected.delete(socket))
  })
  app.addHook('preClose', async () => {
    const gone = [...connected].map(async (socket) => await new Promise((left) => socket.once('close', left)))
    const all = new AbortController()
    const late = sleep(LEAVE_MS, undefined, { signal: all.signal }).catch(() => undefined)
    await Promise.race([Promise.all(gone), late])
    all.abort()
  })
}

function guardRequests(app: FastifyInstance, { authorize }: HttpServerOptions): void {
  let closing = false
  // Replaced before any route sees it.
  app.decorateRequest('caller')
  app.addHook('preClose', (done) => {
    closing = true
    done()
  })
  // What was in flight is answered on a connection that ends with it; kept open, an idle one would hold up the stop.
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (closing) reply.header('connection', 'close')
    done()
  })
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    if (closing) {
      reply.header('connection', 'close')
      done(new ProblemError('shutting_down', 'This instance is stopping; send the request again'))
      return
    }
    // A path that does not exist has no scope: whoever asks for it learns only that.
    const scope = request.routeOptions.config.scope
    try {
      if (scope !== undefined) request.caller = authorize(request, scope)
      done()
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)))
    }
  })
}

/** Bodies reach their routes unpacked, but where they are only passed on. */
function unpackBodies(app: FastifyInstance): void {
  app.addHook('preParsing', (request, _reply, payload, done) => {
    const { bodyLimit, config } = request.routeOptions
    const encoding = request.headers['content-encoding']
    if (encoding === undefined || config.scope === undefined || config.scope === 'passed_on') return done()
    try {
      done(null, decodeBody(payload, encoding, bodyLimit))
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)))
    }
  })
}

function measureRequests(app: FastifyInstance, { metrics, name }: HttpServerOptions): void {
  const labels = ['route', 'method', 'code'] as const
  const requests = metrics.counter({
    name: `${name}_requests_total`,
    help: 'HTTP requests answered.',
    labels,
  })
  const seconds = metrics.histogram({
    name: `${name}_request_seconds`,
    help: 'Time from the request to the end of its answer.',
    labels,
  })
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none'
    const values = { route, method: request.method, code: String(reply.statusCode) }
    requests.inc(values)
    seconds.observe(values, reply.elapsedTime / 1_000)
    done()
  })
}

function notFound(request: FastifyRequest, paths: PathMethods): ProblemError {
  const path = request.url.split('?', 1)[0] ?? ''
  const allow = paths.of(path)
  if (allow.length === 0) return new ProblemError('not_found', `There is no ${path.slice(0, 200)} here`)
  return new ProblemError(
    'method_not_allowed',
    `This path takes ${allow.join(', ')}, not ${request.method}`,
    {
      allow,
    },
  )
}

/** Absent where the caller has no trace. */
const traceIdOf = (traceparent: unknown): string | undefined =>
  typeof traceparent === 'string' ? /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(traceparent)?.[1] : undefined

function problemOf(
  error: unknown,
  request: FastifyRequest,
  { log, explain }: HttpServerOptions,
): ProblemError {
  if (error instanceof ProblemError) return error
  const known = problemOfFramework(error) ?? explain?.(error) ?? null
  if (known !== null) return known
  log.error(
    {
      event: 'http.failed',
      code: codeOf(error),
      request_id: request.id,
      trace_id: traceIdOf(request.headers['traceparent']),
      route: request.routeOptions.url,
      err: error,
    },
    'a request failed for a reason nobody foresaw',
  )
  return new ProblemError('internal', 'Something unexpected went wrong; the log has it under this request id')
}

/** Bytes that are no HTTP request never reach a route; the connection is answered and closed. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Socket, log: Logger): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    socket.end(`HTTP/1.1 408 ${STATUS_CODES[408]}\r\nconnection: close\r\n\r\n`)
    return
  }
  log.debug({ event: 'http.broken_request', code: error.code ?? 'unknown' }, 'not an HTTP request')
  const detail =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? 'The headers are larger than 16 KiB'
      : 'The request line or a header is malformed'
  const body = JSON.stringify(new ProblemError('invalid_header', detail).toProblem(null))
  const head = [
    `HTTP/1.1 400 ${STATUS_CODES[400]}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

/** Listens, and returns the base URL with the real port. Rejects with PortTakenError, or with Node's own error. */
export async function listenHttp(app: FastifyInstance, options: ListenOptions): Promise<string> {
  try {
    await app.listen({ host: options.host, port: options.port })
  } catch (error) {
    throw explainListenError(error, options)
  }
  const address = app.server.address()
  const port = address !== null && typeof address === 'object' ? address.port : options.port
  const host =
    options.host.includes(':') && !options.host.startsWith('[') ? `[${options.host}]` : options.host
  return `http://${host}:${port}`
}
