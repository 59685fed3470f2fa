import { setTimeout as delay } from 'node:timers/promises'
import type { TestProcess } from '@headrace/testing'
import { publish, restartApp } from '../tests/harness/platform.ts'
import { cpuMs } from './cpu.ts'
import type { Stage } from './stage.ts'
import { median, round } from './statistics.ts'

const preloaded = 20_000
const rounds = 3

export interface ThroughputRow {
  concurrency: number
  runs_per_second: number
  cpu_ms_per_run: Record<
    'gateway' | 'trigger_service' | 'orchestrator' | 'worker' | 'postgres' | 'kafka',
    number
  >
}

/**
 * 20,000 events of 180 bytes wait on 4 partitions; then the trigger service is started, and each event becomes a run of
 * three dependent steps. Time from the first run's creation to the last one's end, by Postgres's clock. The trigger
 * service is cold in each round; its start without work is taken off.
 */
export async function measureThroughput(stage: Stage, concurrency: number): Promise<ThroughputRow> {
  const worker = await stage.startWorker(concurrency)
  const startMs = await startCost(stage)
  const results: ThroughputRow[] = []
  // The first round warms the worker and the orchestrator up, as in a service that has run for a minute.
  for (let n = 0; n <= rounds; n += 1) {
    const row = await once(stage, { concurrency, worker, startMs })
    if (n > 0) results.push(row)
  }
  await worker.kill('SIGTERM')
  const of = (pick: (row: ThroughputRow) => number): number => round(median(results.map(pick)), 3)
  return {
    concurrency,
    runs_per_second: Math.round(of((row) => row.runs_per_second)),
    cpu_ms_per_run: {
      gateway: of((row) => row.cpu_ms_per_run.gateway),
      trigger_service: of((row) => row.cpu_ms_per_run.trigger_service),
      orchestrator: of((row) => row.cpu_ms_per_run.orchestrator),
      worker: of((row) => row.cpu_ms_per_run.worker),
      postgres: of((row) => row.cpu_ms_per_run.postgres),
      kafka: of((row) => row.cpu_ms_per_run.kafka),
    },
  }
}

/** CPU of a trigger service that starts and finds nothing to do: taken off, since it is restarted in each round. */
async function startCost({ platform }: Stage): Promise<number> {
  const [service] = platform.triggerServices
  if (!service) throw new Error('the stage has no trigger service')
  await service.process.kill('SIGTERM')
  const restarted = await restartApp('trigger-service', service, platform.options)
  platform.triggerServices[0] = restarted
  return cpuMs(restarted.process.pid)
}

interface Round {
  concurrency: number
  worker: TestProcess
  startMs: number
}

async function once(stage: Stage, { concurrency, worker, startMs }: Round): Promise<ThroughputRow> {
  const { platform, store } = stage
  const [service] = platform.triggerServices
  if (!service) throw new Error('the stage has no trigger service')
  await service.process.kill('SIGTERM')
  await store.general.query('delete from runs; delete from steps;')
  await preload(platform.gateway.url)
  await store.general.query('vacuum analyze')

  const [orchestrator] = platform.orchestrators
  const pids = {
    gateway: platform.gateway.process.pid,
    orchestrator: orchestrator?.process.pid ?? 0,
    worker: worker.pid,
    postgres: stage.postgres.pid ?? 0,
    kafka: stage.kafka.pid ?? 0,
  }
  const before = Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, cpuMs(pid)]))
  const restarted = await restartApp('trigger-service', service, platform.options)
  platform.triggerServices[0] = restarted
  await allCompleted(stage)
  const spent = (name: keyof typeof pids): number => (cpuMs(pids[name]) - (before[name] ?? 0)) / preloaded
  const { rows } = await store.general.query<{ seconds: number }>(
    "select extract(epoch from max(finished_at) - min(created_at))::float8 seconds from runs where status = 'completed'",
  )
  const result: ThroughputRow = {
    concurrency,
    runs_per_second: preloaded / (rows[0]?.seconds ?? Number.NaN),
    cpu_ms_per_run: {
      gateway: spent('gateway'),
      trigger_service: (cpuMs(restarted.process.pid) - startMs) / preloaded,
      orchestrator: spent('orchestrator'),
      worker: spent('worker'),
      postgres: spent('postgres'),
      kafka: spent('kafka'),
    },
  }
  return result
}

/** Seldom enough not to be measured itself: the count reads every run, and each 10 ms it was a third of Postgres's time. */
const lookEveryMs = 500
const deadlineMs = 300_000

async function allCompleted({ store }: Stage): Promise<void> {
  const end = performance.now() + deadlineMs
  for (;;) {
    const { rows } = await store.general.query<{ count: number }>(
      "select count(*)::int count from runs where status = 'completed'",
    )
    if (rows[0]?.count === preloaded) return
    if (performance.now() > end) throw new Error(`${rows[0]?.count} of ${preloaded} runs completed`)
    await delay(lookEveryMs)
  }
}

async function preload(url: string): Promise<void> {
  const data = { order_id: 'o-000000', note: 'x'.repeat(140) }
  for (let sent = 0; sent < preloaded; sent += 1_000) {
    const events = Array.from({ length: 1_000 }, (_, n) => ({ topic: `bench/throughput/${n % 64}`, data }))
    const answer = await publish(url, { events })
    if (answer.status !== 200)
      throw new Error(`publishing answered ${answer.status}: ${JSON.stringify(answer.body).slice(0, 300)}`)
  }
}
