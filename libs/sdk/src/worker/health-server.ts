import { createServer, type Server } from 'node:http'
import { metricsText, type WorkerMetrics } from './worker-metrics.ts'

export interface HealthParams extends WorkerMetrics {
  port: number
  host: string
  /** Registered, in its group, and heard by an orchestrator. */
  ready: () => boolean
}

/** `/healthz` (the process answers), `/readyz` (200 or 503) and `/metrics`, for the cluster, never for users. */
export async function startHealthServer(params: HealthParams): Promise<Server> {
  const server = createServer((request, response) => {
    const [status, type, body] = answerTo(request.url?.split('?', 1)[0] ?? '/', params)
    response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
    response.end(body)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(params.port, params.host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // A worker that has ended everything else must not be kept alive by its probe.
  server.unref()
  return server
}

function answerTo(path: string, params: HealthParams): [status: number, type: string, body: string] {
  switch (path) {
    case '/healthz':
      return [200, 'application/json', '{"status":"ok"}']
    case '/readyz':
      return params.ready()
        ? [200, 'application/json', '{"status":"ready"}']
        : [503, 'application/json', '{"status":"not_ready"}']
    case '/metrics':
      return [200, 'text/plain; version=0.0.4; charset=utf-8', metricsText(params)]
    default:
      return [404, 'application/json', '{"status":"not_found"}']
  }
}
