import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Health } from './health.ts'
import type { Metrics } from './metrics.ts'
import { listen } from './port-taken.ts'

export interface ManagementServerOptions {
  host: string
  /** 0 = any free port. */
  port: number
  /** What changes the port, for the error when it is taken. */
  change?: string
  health: Health
  metrics: Metrics
}

export interface ManagementServer {
  readonly port: number
  readonly url: string
  close(): Promise<void>
}

/**
 * `/healthz` (the process answers), `/readyz` (200 when every check is ok, else 503; the body lists them) and
 * `/metrics`, on a port of its own that is never exposed to users. Rejects with PortTakenError.
 */
export async function startManagementServer(options: ManagementServerOptions): Promise<ManagementServer> {
  const { host, health, metrics } = options
  const server = createServer((request, response) => {
    respond(request, response, health, metrics).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500)
      response.end(error instanceof Error ? error.message : String(error))
    })
  })
  const port = await listen(server, {
    host,
    port: options.port,
    change: options.change ?? 'HEADRACE_MANAGEMENT_PORT',
  })
  let closing: Promise<void> | null = null
  return {
    port,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
      return closing
    },
  }
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  health: Health,
  metrics: Metrics,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    send(response, 405, 'application/json', JSON.stringify({ status: 'method_not_allowed' }))
    return
  }
  const [path = ''] = (request.url ?? '').split('?', 1)
  switch (path) {
    case '/healthz':
      return send(response, 200, 'application/json', JSON.stringify({ status: 'ok' }))
    case '/readyz': {
      const { ready, checks } = await health.readiness()
      const body = JSON.stringify({ status: ready ? 'ready' : 'not_ready', checks })
      return send(response, ready ? 200 : 503, 'application/json', body)
    }
    case '/metrics':
      return send(response, 200, metrics.registry.contentType, await metrics.registry.metrics())
    default:
      return send(response, 404, 'application/json', JSON.stringify({ status: 'not_found' }))
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
  response.end(body)
}
