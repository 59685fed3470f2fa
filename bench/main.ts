import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { measureLatency } from './latency.ts'
import { measureLists } from './lists.ts'
import { measurePublishing } from './publishing.ts'
import { measureRecovery } from './recovery.ts'
import { openStage } from './stage.ts'
import { measureStarting } from './starting.ts'
import { measureThroughput, type ThroughputRow } from './throughput.ts'
import { measureAnswers, measureParked } from './waits.ts'

/**
 * `npm run bench [-- throughput latency publishing recovery answers parked starting lists]`: measures all, or what is named, and prints a
 * table and JSON (also in .cache/bench.json). Absolute times belong to this machine; compare ratios of one run.
 */
const wanted = process.argv.slice(2)
const measures = (name: string): boolean => wanted.length === 0 || wanted.includes(name)
const concurrencies = [100, 300, 1_000]

const results: Record<string, unknown> = {
  machine: { cores: availableParallelism(), model: cpus()[0]?.model, node: process.version },
}
if (['throughput', 'latency', 'publishing', 'recovery', 'answers', 'parked'].some(measures)) {
  const stage = await openStage()
  try {
    if (measures('throughput')) {
      const rows: ThroughputRow[] = []
      for (const concurrency of concurrencies) rows.push(await measureThroughput(stage, concurrency))
      console.table(
        rows.map(({ cpu_ms_per_run, ...row }) => ({ ...row, ...prefixed('cpu ms: ', cpu_ms_per_run) })),
      )
      results['throughput'] = rows
    }
    if (measures('latency')) {
      const row = await measureLatency(stage)
      console.table({ 'first step': row.first_step_ms, completed: row.completed_ms, ...row.legs_ms })
      results['latency'] = row
    }
    if (measures('publishing')) {
      const row = await measurePublishing(stage)
      console.table([row])
      results['publishing'] = row
    }
    if (measures('recovery')) {
      const row = await measureRecovery(stage)
      console.table([row])
      results['recovery_seconds'] = row
    }
    if (measures('answers')) {
      const row = await measureAnswers(stage)
      console.table({ resumed: row.resumed_ms })
      results['answers'] = row
    }
    if (measures('parked')) {
      const row = await measureParked(stage)
      console.table({ before: row.before, parked: row.parked })
      results['parked'] = row
    }
  } finally {
    await stage.end()
  }
}
if (measures('starting')) {
  const row = await measureStarting()
  console.table([row])
  results['starting'] = row
}
if (measures('lists')) {
  const rows = await measureLists()
  console.table(rows)
  results['lists'] = rows
}
mkdirSync('.cache', { recursive: true })
writeFileSync('.cache/bench.json', `${JSON.stringify(results, null, 2)}\n`)
console.log(JSON.stringify(results))

function prefixed(prefix: string, values: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]))
}
