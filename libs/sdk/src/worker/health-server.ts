import { createServer, type Server } from 'node:http'
import type { RunStats } from '../run/run-host.ts'

export interface HealthParams {
  port: number
  host: string
  /** Registered, in its group, and heard by an orchestrator. */
  ready: () => boolean
  gauges: () => { running: number; concurrency: number; partitions: number; loopDelaySeconds: number }
  stats: RunStats
  queue: string
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

/** Prometheus's text format, written by hand: a dozen numbers are no reason for a library in everybody's worker. */
function metricsText({ gauges, stats, queue }: HealthParams): string {
  const { running, concurrency, partitions, loopDelaySeconds } = gauges()
  const label = `{queue="${queue}"}`
  const lines: string[] = []
  const add = (
    type: 'gauge' | 'counter',
    name: string,
    help: string,
    series: [labels: string, value: number][],
  ): void => {
    lines.push(`# HELP headrace_${name} ${help}`, `# TYPE headrace_${name} ${type}`)
    for (const [labels, value] of series) lines.push(`headrace_${name}${labels} ${value}`)
  }
  const by = (key: string, value: string): string => `{queue="${queue}",${key}="${value}"}`
  add('gauge', 'worker_running_runs', 'Runs in hand.', [[label, running]])
  add('gauge', 'worker_concurrency', 'Runs this worker takes at a time.', [[label, concurrency]])
  add('gauge', 'worker_partitions', 'Task partitions assigned; 0 is fine where there are more workers.', [
    [label, partitions],
  ])
  add('gauge', 'worker_loop_delay_seconds', 'How late the main loop last turned.', [
    [label, loopDelaySeconds],
  ])
  add('counter', 'worker_runs_started_total', 'Runs whose handler was begun here.', [
    [label, stats.runsStarted],
  ])
  add('counter', 'worker_runs_total', 'Runs that left this worker, by how.', [
    [by('end', 'completed'), stats.runsCompleted],
    [by('end', 'failed'), stats.runsFailed],
    [by('end', 'released'), stats.runsReleased],
    [by('end', 'paused'), stats.runsPaused],
    [by('end', 'suspended'), stats.runsSuspended],
    [by('end', 'lost'), stats.runsLost],
  ])
  add('counter', 'steps_total', 'Steps stored, by outcome.', [
    [by('outcome', 'completed'), stats.stepsStored - stats.stepsFailed],
    [by('outcome', 'failed'), stats.stepsFailed],
  ])
  add('counter', 'step_retries_total', 'Attempts made again.', [[label, stats.stepRetries]])
  add('counter', 'steps_rerun_total', 'Bodies that ran though another result was stored.', [
    [label, stats.stepsRerun],
  ])
  return `${lines.join('\n')}\n`
}
