import { readFileSync } from 'node:fs'
import { setInterval as every } from 'node:timers/promises'
import { eventually } from '@headrace/testing'
import { publish } from '../tests/harness/platform.ts'
import type { Stage } from './stage.ts'
import { percentile, round } from './statistics.ts'

const perSecond = 100
const seconds = 20
/** 30 s: until then compilers, not Headrace, are what is measured. */
const warmUp = 3_000

export interface LatencyRow {
  events_per_second: number
  first_step_ms: { p50: number; p99: number }
  completed_ms: { p50: number; p99: number }
  /** Between the facts that are stored on the way: log append → flush begins → claim begins → first body → completion begins. */
  legs_ms: Record<'to_flush' | 'to_claim' | 'to_first_step' | 'to_completion', { p50: number; p99: number }>
}

interface EndedRun {
  place: string
  appended: number
  flushed: number
  claimed: number
  at: number
}

/** Event accepted (its answer is here) → the first step's body runs, and → the run of three steps is stored as completed. */
export async function measureLatency(stage: Stage): Promise<LatencyRow> {
  const worker = await stage.startWorker()
  const accepted = new Map<string, number>()
  const publishing: Promise<void>[] = []
  const { url } = stage.platform.gateway
  const publishOne = async (topic: string, n: number): Promise<void> => {
    const { body } = await publish(url, { topic, data: { n, note: 'x'.repeat(140) } })
    const [event] = body.events ?? []
    accepted.set(`${event?.partition}/${event?.sequence_id}`, performance.timeOrigin + performance.now())
  }
  let sent = 0
  for await (const _ of every(1_000 / perSecond)) {
    sent += 1
    const topic = `bench/latency/${sent % 64}`
    publishing.push(publishOne(topic, sent))
    if (sent === warmUp + perSecond * seconds) break
  }
  await Promise.all(publishing)
  const ended = await eventually('all runs completed', async () => {
    const { rows } = await stage.store.general.query<EndedRun>(
      `select partition || '/' || first_offset as place, ${milliseconds('since')} as appended,
         ${milliseconds('created_at')} as flushed, ${milliseconds('started_at')} as claimed, ${milliseconds('finished_at')} as at
       from runs where workflow = 'bench_latency' and status = 'completed'`,
    )
    return rows.length === accepted.size ? rows : null
  })
  await worker.kill('SIGTERM')
  const warm = new Set([...accepted.keys()].slice(0, warmUp))
  const since = (place: string, at: number): number => at - (accepted.get(place) ?? Number.NaN)
  const bodies = new Map(
    readFileSync(stage.journal, 'utf8')
      .trim()
      .split('\n')
      .map((line): [string, number] => {
        const [place = '', at = ''] = line.split(' ')
        return [place, Number(at)]
      }),
  )
  const counted = ended
    .filter(({ place }) => !warm.has(place))
    .map((run) => ({ ...run, body: bodies.get(run.place) ?? Number.NaN }))
  const row = (values: number[]) => ({
    p50: round(percentile(values, 50), 1),
    p99: round(percentile(values, 99), 1),
  })
  return {
    events_per_second: perSecond,
    first_step_ms: row(counted.map(({ place, body }) => since(place, body))),
    completed_ms: row(counted.map(({ place, at }) => since(place, at))),
    legs_ms: {
      to_flush: row(counted.map(({ appended, flushed }) => flushed - appended)),
      to_claim: row(counted.map(({ flushed, claimed }) => claimed - flushed)),
      to_first_step: row(counted.map(({ claimed, body }) => body - claimed)),
      to_completion: row(counted.map(({ body, at }) => at - body)),
    },
  }
}

const milliseconds = (column: string): string => `extract(epoch from ${column})::float8 * 1000`
