import { expect, test } from 'vitest'
import { countStepSeconds, noStats } from '../run/run-stats.ts'
import { metricsText } from './worker-metrics.ts'

function linesOf(stats: ReturnType<typeof noStats>, build = 'b1'): string[] {
  const gauges = () => ({ running: 1, concurrency: 4, partitions: 2, loopDelaySeconds: 0 })
  return metricsText({ gauges, stats: () => new Map([['orders', stats]]), build, queue: 'default' }).split(
    '\n',
  )
}

test('a step counts in every bucket that it fits into, and always in the last', () => {
  const stats = noStats()
  for (const seconds of [0.1, 0.2, 1_000]) countStepSeconds(stats, seconds)
  const lines = linesOf(stats)
  const upTo = (le: string, count: number): string =>
    `headrace_step_seconds_bucket{queue="default",workflow="orders",le="${le}"} ${count}`
  expect(lines).toEqual(
    expect.arrayContaining([
      upTo('0.025', 0),
      upTo('0.1', 1),
      upTo('0.5', 2),
      upTo('300', 2),
      upTo('+Inf', 3),
      'headrace_step_seconds_count{queue="default",workflow="orders"} 3',
    ]),
  )
})

test('a counter is there before its first count, by workflow', () => {
  expect(linesOf(noStats())).toContain('headrace_steps_rerun_total{queue="default",workflow="orders"} 0')
})

test('whatever a build is called, its label is one', () => {
  const lines = linesOf(noStats(), 'a "b" \\ c')
  expect(lines.find((line) => line.startsWith('headrace_build_info'))).toContain(
    String.raw`build="a \"b\" \\ c"`,
  )
})
