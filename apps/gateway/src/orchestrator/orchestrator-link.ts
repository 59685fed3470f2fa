import {
  Agent as HttpAgent,
  type IncomingMessage,
  request as httpRequest,
  type RequestOptions,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { Readable } from 'node:stream'
import { limits, ProblemError } from '@headrace/schemas'

/** Long enough for a busy machine, short enough that a caller hears of an outage at once. */
const CONNECT_MS_MAX = 2_000
/** The longest wait that the contract knows, and some time to answer it. */
const HEAD_MS_MAX = limits.runWaitMsMax + 15_000
/** Each waiting caller (`?wait=`) holds one. */
const SOCKETS_MAX = 2_048

interface OutgoingRequest {
  method: string
  /** Path and query, as they came. */
  path: string
  headers: NonNullable<RequestOptions['headers']>
  /** Null: without a body. */
  body: Readable | null
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal
}

/** The way to the orchestrator: connections kept open, requests and answers streamed. */
export interface OrchestratorLink {
  /** Resolves with the head of the answer. Throws `orchestrator_unavailable`, or the signal's reason. */
  send(request: OutgoingRequest): Promise<IncomingMessage>
  close(): void
}

export function createOrchestratorLink(baseUrl: string): OrchestratorLink {
  const base = new URL(baseUrl)
  const secure = base.protocol === 'https:'
  const options = { keepAlive: true, maxSockets: SOCKETS_MAX }
  const agent = secure ? new HttpsAgent(options) : new HttpAgent(options)
  const open = secure ? httpsRequest : httpRequest
  const prefix = base.pathname.replace(/\/$/, '')

  return {
    async send({ method, path, headers, body, signal }) {
      signal.throwIfAborted()
      const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
      const request = open({
        agent,
        hostname: base.hostname.replace(/^\[|\]$/g, ''),
        port: base.port,
        method,
        path: `${prefix}${path}`,
        headers,
        signal,
      })
      const headTimer = setTimeout(() => request.destroy(new Error('no answer in time')), HEAD_MS_MAX)
      request.once('socket', (socket) => {
        if (!socket.connecting) return
        const timer = setTimeout(() => request.destroy(new Error('no connection in time')), CONNECT_MS_MAX)
        socket.once('connect', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
      })
      request.once('response', resolve)
      request.on('error', (error) => reject(signal.aborted ? signal.reason : unavailable(error)))
      if (body === null) request.end()
      else body.once('error', (error) => request.destroy(error)).pipe(request)
      try {
        return await promise
      } finally {
        clearTimeout(headTimer)
      }
    },
    close: () => agent.destroy(),
  }
}

function unavailable(error: Error): ProblemError {
  return new ProblemError(
    'orchestrator_unavailable',
    `The orchestrator did not answer (${error.message || error.name}); publishing events does not need it`,
    { cause: error },
  )
}
