import { type RunStats, STEP_SECONDS_BOUNDS } from '../run/run-stats.ts'
import { sdkVersion } from '../sdk-version.ts'

/** What a worker's metrics are made of, each time they are asked for. */
export interface WorkerMetrics {
  gauges: () => { running: number; concurrency: number; partitions: number; loopDelaySeconds: number }
  /** By workflow. */
  stats: () => ReadonlyMap<string, RunStats>
  build: string
  queue: string
}

type Labels = Record<string, string>
type Series = [labels: Labels, value: number, suffix?: string]
type Add = (kind: 'gauge' | 'counter' | 'histogram', name: string, help: string, series: Series[]) => void

/** Prometheus's text format, written by hand: a dozen numbers are no reason for a library in everybody's worker. */
export function metricsText(parts: WorkerMetrics): string {
  const lines: string[] = []
  const add: Add = (kind, name, help, series) => {
    lines.push(`# HELP headrace_${name} ${help}`, `# TYPE headrace_${name} ${kind}`)
    for (const [labels, value, suffix = ''] of series)
      lines.push(`headrace_${name}${suffix}${labelText(labels)} ${value}`)
  }
  addWorker(add, parts)
  addWorkflows(add, parts)
  return `${lines.join('\n')}\n`
}

function addWorker(add: Add, { gauges, build, queue }: WorkerMetrics): void {
  const { running, concurrency, partitions, loopDelaySeconds } = gauges()
  add('gauge', 'build_info', '1; what runs is in the labels.', [[{ version: sdkVersion, build }, 1]])
  add('gauge', 'worker_running_runs', 'Runs in hand.', [[{ queue }, running]])
  add('gauge', 'worker_concurrency', 'Runs this worker takes at a time.', [[{ queue }, concurrency]])
  add('gauge', 'worker_partitions', 'Task partitions assigned; 0 is fine where there are more workers.', [
    [{ queue }, partitions],
  ])
  add('gauge', 'worker_loop_delay_seconds', 'How late the main loop last turned.', [
    [{ queue }, loopDelaySeconds],
  ])
}

function addWorkflows(add: Add, { stats, queue }: WorkerMetrics): void {
  const all = [...stats()]
  const of = (count: (stats: RunStats) => number, more: Labels = {}): Series[] =>
    all.map(([workflow, one]) => [{ queue, workflow, ...more }, count(one)])
  const started = of(({ runsStarted }) => runsStarted)
  add('counter', 'worker_runs_started_total', 'Runs whose handler was begun here.', started)
  add('counter', 'worker_runs_total', 'Runs that left this worker, by how.', [
    ...of(({ runsCompleted }) => runsCompleted, { end: 'completed' }),
    ...of(({ runsFailed }) => runsFailed, { end: 'failed' }),
    ...of(({ runsReleased }) => runsReleased, { end: 'released' }),
    ...of(({ runsPaused }) => runsPaused, { end: 'paused' }),
    ...of(({ runsSuspended }) => runsSuspended, { end: 'suspended' }),
    ...of(({ runsLost }) => runsLost, { end: 'lost' }),
  ])
  add('counter', 'steps_total', 'Steps stored, by outcome.', [
    ...of(({ stepsStored, stepsFailed }) => stepsStored - stepsFailed, { outcome: 'completed' }),
    ...of(({ stepsFailed }) => stepsFailed, { outcome: 'failed' }),
  ])
  const seconds = all.flatMap(([workflow, one]) => stepSeries({ queue, workflow }, one))
  add('histogram', 'step_seconds', 'Time of a step’s body with all its attempts.', seconds)
  const retries = of(({ stepRetries }) => stepRetries)
  add('counter', 'step_retries_total', 'Attempts made again.', retries)
  const rerun = of(({ stepsRerun }) => stepsRerun)
  add('counter', 'steps_rerun_total', 'Bodies that ran though another result was stored.', rerun)
}

function stepSeries(labels: Labels, { stepSeconds }: RunStats): Series[] {
  const { counts, sum } = stepSeconds
  let total = 0
  const buckets = counts.map((count, at): Series => {
    total += count
    return [{ ...labels, le: String(STEP_SECONDS_BOUNDS[at] ?? '+Inf') }, total, '_bucket']
  })
  return [...buckets, [labels, sum, '_sum'], [labels, total, '_count']]
}

/** What the format cannot hold in a value is escaped: a build is whatever its makers call it. */
function labelText(labels: Labels): string {
  const escaped = (value: string): string =>
    value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(',')}}`
}
