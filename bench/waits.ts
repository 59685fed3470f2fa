import { readFileSync } from 'node:fs'
import { setInterval as every } from 'node:timers/promises'
import { eventually } from '@headrace/testing'
import { publish } from '../tests/harness/platform.ts'
import { residentMib } from '../tests/harness/memory.ts'
import type { Stage } from './stage.ts'
import { percentile, round } from './statistics.ts'

const perSecond = 50
const seconds = 20
/** 10 s: until then compilers, not Headrace, are what is measured. */
const warmUp = 500
const parkedMany = 100_000
const atOnce = 1_000

export interface AnswerRow {
  answers_per_second: number
  resumed_ms: { p50: number; p99: number }
}

/** Answer accepted (its reply is here) → the body of the step after the wait runs. */
export async function measureAnswers(stage: Stage): Promise<AnswerRow> {
  const worker = await stage.startWorker()
  const total = warmUp + perSecond * seconds
  await park(stage, 0, total)
  const accepted = new Map<number, number>()
  const publishing: Promise<void>[] = []
  const answer = async (n: number): Promise<void> => {
    await publish(stage.platform.gateway.url, { topic: `bench_answers/${n}`, data: { n } })
    accepted.set(n, performance.timeOrigin + performance.now())
  }
  let sent = 0
  for await (const _ of every(1_000 / perSecond)) {
    publishing.push(answer(sent))
    sent += 1
    if (sent === total) break
  }
  await Promise.all(publishing)
  await eventually('all runs completed', async () => (await count(stage, 'completed')) === total)
  await worker.kill('SIGTERM')
  const resumed = readFileSync(stage.journal, 'utf8')
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('answer/'))
    .map((line) => line.slice('answer/'.length).split(' ').map(Number))
    .filter(([n = 0]) => n >= warmUp)
    .map(([n = 0, at = 0]) => at - (accepted.get(n) ?? Number.NaN))
  return {
    answers_per_second: perSecond,
    resumed_ms: { p50: round(percentile(resumed, 50), 1), p99: round(percentile(resumed, 99), 1) },
  }
}

export interface ParkedRow {
  waits: number
  /** Resident MiB of each process, before and with so many runs parked. */
  before: Record<string, number>
  parked: Record<string, number>
}

/** What 100,000 parked waits hold in memory. */
export async function measureParked(stage: Stage): Promise<ParkedRow> {
  const worker = await stage.startWorker(1_000)
  const { gateway, orchestrators, triggerServices } = stage.platform
  const resident = (): Record<string, number> => ({
    gateway: residentMib(gateway.process.pid),
    trigger_service: residentMib(triggerServices[0]?.process.pid ?? 0),
    orchestrator: residentMib(orchestrators[0]?.process.pid ?? 0),
    worker: residentMib(worker.pid),
  })
  const before = resident()
  await park(stage, 1_000_000, parkedMany)
  const parked = resident()
  await worker.kill('SIGTERM')
  return { waits: parkedMany, before, parked }
}

/** Starts runs that wait each on a topic of their own; resolves when all are parked. */
async function park(stage: Stage, first: number, total: number): Promise<void> {
  await stage.store.general.query(
    'delete from waits; delete from responses; delete from runs; delete from steps;',
  )
  for (let from = 0; from < total; from += atOnce) {
    const events = Array.from({ length: Math.min(atOnce, total - from) }, (_, n) => ({
      topic: `bench/asks/${n % 64}`,
      data: { n: first + from + n },
    }))
    const { status } = await publish(stage.platform.gateway.url, { events })
    if (status !== 200) throw new Error(`publishing answered ${status}`)
  }
  await eventually('all runs are parked', async () => (await count(stage, 'waiting')) === total, {
    deadlineMs: 900_000,
  })
}

async function count({ store }: Stage, status: string): Promise<number> {
  const { rows } = await store.general.query<{ count: number }>(
    `select count(*)::int from runs where workflow = 'bench_waits' and status = $1`,
    [status],
  )
  return rows[0]?.count ?? 0
}
