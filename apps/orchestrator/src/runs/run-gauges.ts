import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { countLiveRuns, listWorkers, type Store, workflowsWithoutWorker } from '@headrace/store'

export interface RunGaugesOptions {
  store: Store
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** As often as metrics are usually scraped; a scrape itself never waits for Postgres. */
const COUNT_EVERY_MS = 10_000

/** Gauges of what lives in Postgres: every instance shows the same, so they are not to be summed over instances. */
export function runGauges({ store, log, clock, metrics }: RunGaugesOptions): Duty {
  const runs = metrics.gauge({ name: 'runs', help: 'Runs that have not ended.', labels: ['status', 'queue'] })
  const oldest = metrics.gauge({
    name: 'queue_oldest_queued_seconds',
    help: 'Age of the oldest queued run.',
    labels: ['queue'],
  })
  const blocked = metrics.gauge({
    name: 'queue_blocked_runs',
    help: 'Queued runs that no worker can take.',
    labels: ['queue', 'reason'],
  })
  const workers = metrics.gauge({ name: 'workers', help: 'Workers.', labels: ['status', 'build'] })
  const running = metrics.gauge({
    name: 'worker_running_runs',
    help: 'Runs in the hands of workers.',
    labels: ['queue'],
  })

  async function count(): Promise<void> {
    const [counts, known, nowMs] = await Promise.all([
      countLiveRuns(store),
      listWorkers(store),
      store.serverNow(),
    ])
    const queued = counts.filter(({ status }) => status === 'queued')
    const withoutWorker = await workflowsWithoutWorker(
      store,
      queued.map(({ workflow }) => workflow),
    )
    // A queue that has emptied must not keep its last value.
    for (const gauge of [runs, oldest, blocked, workers, running]) gauge.reset()
    for (const { status, queue, runs: some } of counts) runs.inc({ status, queue }, some)
    for (const { queue, workflow, runs: some, held } of queued) {
      if (held) blocked.inc({ queue, reason: 'concurrency' }, some)
      else if (withoutWorker.has(workflow)) blocked.inc({ queue, reason: 'no_worker' }, some)
    }
    const oldestByQueue = new Map<string, number>()
    for (const { queue, oldestQueuedAt } of queued) {
      if (oldestQueuedAt === null) continue
      oldestByQueue.set(queue, Math.min(oldestByQueue.get(queue) ?? oldestQueuedAt, oldestQueuedAt))
    }
    for (const [queue, atMs] of oldestByQueue) oldest.set({ queue }, Math.max(0, nowMs - atMs) / 1_000)
    for (const worker of known) {
      workers.inc({ status: worker.status, build: worker.build })
      if (worker.running > 0) running.inc({ queue: worker.queue }, worker.running)
    }
  }

  return createDuty({ name: 'runs.count', everyMs: COUNT_EVERY_MS, runOnce: count, log, clock, metrics })
}
