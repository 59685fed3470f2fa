import { movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import { createDuty } from './duty.ts'
import { createLogger } from './log.ts'
import { createMetrics } from './metrics.ts'

function setup(work: (run: number, signal: AbortSignal) => Promise<unknown>) {
  const clock = movableClock()
  const lines: Record<string, unknown>[] = []
  const stream = { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) }
  const log = createLogger({ name: 'test', level: 'info', stream })
  const metrics = createMetrics()
  let runs = 0
  const duty = createDuty({
    name: 'sweep',
    everyMs: 1_000,
    jitter: 0,
    runOnce: async (signal) => {
      runs += 1
      return await work(runs, signal)
    },
    log,
    clock,
    metrics,
    random: () => 0.999_999,
  })
  return { clock, duty, lines, metrics, runs: () => runs }
}

test('it runs at once, and then after each pause', async () => {
  const { clock, duty, runs } = setup(async () => undefined)
  duty.start()
  await clock.resting()
  expect(runs()).toBe(1)
  await clock.advance(999)
  expect(runs()).toBe(1)
  await clock.advance(1)
  expect(runs()).toBe(2)
  await duty.stop()
})

test('a result of "again" is followed by the next run without a pause', async () => {
  const { clock, duty, runs } = setup(async (run) => (run < 4 ? 'again' : undefined))
  duty.start()
  await clock.resting()
  expect(runs()).toBe(4)
  await duty.stop()
})

test('a poke ends the pause; many pokes during a run make one more run', async () => {
  const held = Promise.withResolvers<void>()
  const second = Promise.withResolvers<void>()
  const { clock, duty, runs } = setup(async (run) => {
    if (run !== 2) return
    second.resolve()
    await held.promise
  })
  duty.start()
  await clock.resting()
  duty.poke()
  await second.promise
  for (let i = 0; i < 10; i += 1) duty.poke()
  held.resolve()
  await clock.resting()
  expect(runs()).toBe(3)
  await duty.stop()
})

test('an error is logged with its code and counted; the next try is backed off, and no poke hurries it', async () => {
  const { clock, duty, lines, metrics, runs } = setup(async (run) => {
    if (run <= 2) throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
  })
  duty.start()
  await clock.resting()
  expect(lines).toMatchObject([
    { event: 'duty.failed', duty: 'sweep', code: 'ECONNREFUSED', failures: 1, retry_ms: 250 },
  ])
  duty.poke()
  await clock.advance(249)
  expect(runs()).toBe(1)
  await clock.advance(1)
  expect(lines).toHaveLength(2)
  expect(lines[1]).toMatchObject({ failures: 2, retry_ms: 500 })
  await clock.advance(500)
  expect(runs()).toBe(3)
  expect(await metrics.registry.metrics()).toContain('headrace_duty_failures_total{duty="sweep"} 2')
  await duty.stop()
})

test('work that is done every second is tried every two at the least, and a long outage is not a flood of lines', async () => {
  const { clock, duty, lines, runs } = setup(async () => {
    throw new Error('away')
  })
  duty.start()
  await clock.resting()
  for (let second = 0; second < 60; second += 1) {
    await clock.advance(1_000)
    await clock.resting()
  }
  expect(runs()).toBeGreaterThan(28)
  expect(lines.length).toBeLessThan(10)
  expect(lines.at(-1)).toMatchObject({ retry_ms: 2_000, suppressed: 4 })
  await duty.stop()
})

test('runs never overlap, whoever asks', async () => {
  let inFlight = 0
  let most = 0
  const { duty } = setup(async () => {
    inFlight += 1
    most = Math.max(most, inFlight)
    await new Promise((resolve) => setImmediate(resolve))
    inFlight -= 1
  })
  duty.start()
  await Promise.all([duty.runOnce(), duty.runOnce(), duty.runOnce()])
  await duty.stop()
  expect(most).toBe(1)
})

test('runOnce gives its caller the result, and the error', async () => {
  const { duty } = setup(async (run) => {
    if (run === 2) throw new Error('no')
    return 42
  })
  await expect(duty.runOnce()).resolves.toBe(42)
  await expect(duty.runOnce()).rejects.toThrow('no')
})

test('stop aborts the run in flight, waits for it, and nothing runs afterwards', async () => {
  let ended = false
  const { clock, duty, lines, runs } = setup(async (_, signal) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    ended = true
    throw signal.reason
  })
  duty.start()
  await new Promise((resolve) => setImmediate(resolve))
  await Promise.all([duty.stop(), duty.stop()])
  expect(ended).toBe(true)
  duty.poke()
  duty.start()
  await clock.advance(10_000)
  expect(runs()).toBe(1)
  expect(lines).toEqual([])
  await expect(duty.runOnce()).rejects.toMatchObject({ code: 'duty_stopped' })
})
