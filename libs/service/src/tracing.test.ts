import { createRequire } from 'node:module'
import { eventually } from '@headrace/testing'
import { afterEach, expect, test, vi } from 'vitest'
import { systemClock } from './clock.ts'
import { createHealth } from './health.ts'
import { createLogger } from './log.ts'
import { createMetrics } from './metrics.ts'
import type { ServiceContext } from './service.ts'
import { isTraced, startTracing } from './tracing.ts'

const endpoint = 'http://collector.example:4318'

afterEach(() => vi.unstubAllEnvs())

function context(lines: string[] = []) {
  const releases: (() => Promise<void> | void)[] = []
  const stream = { write: (line: string) => void lines.push(line) }
  const service: ServiceContext = {
    signal: new AbortController().signal,
    log: createLogger({ name: 'test', level: 'debug', stream }),
    clock: systemClock,
    health: createHealth(),
    metrics: createMetrics(),
    onStop: (release) => void releases.push(async () => await release(new AbortController().signal)),
  }
  return { service, releases }
}

const loaded = (): string[] =>
  Object.keys(createRequire(import.meta.url).cache).filter((file) =>
    /@opentelemetry\/(sdk|otlp|exporter)/.test(file),
  )

test.each([
  [{}, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, true],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint }, true],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: ' ' }, false],
  [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: endpoint }, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: 'True' }, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_TRACES_EXPORTER: 'none' }, false],
])('an endpoint turns traces on, and what OpenTelemetry has to turn them off does: %o', (env, traced) => {
  expect(isTraced(env)).toBe(traced)
})

test('without an endpoint nothing of OpenTelemetry is loaded, with one it is', async () => {
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', '')
  const { service, releases } = context()
  expect(await startTracing(service, 'headrace-test')).toBe(null)
  expect(loaded()).toEqual([])
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', 'http://127.0.0.1:1')
  expect(await startTracing(service, 'headrace-test')).not.toBe(null)
  expect(loaded()).not.toEqual([])
  for (const release of releases) await release()
})

test('a span goes on with the trace that it is given, sampled or not, and begins one where it is given nonsense', async () => {
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', 'http://127.0.0.1:1')
  vi.stubEnv('OTEL_TRACES_SAMPLER', 'parentbased_always_on')
  const { service } = context()
  const tracing = await startTracing(service, 'headrace-test')
  const within = (traceparent: unknown) =>
    tracing?.begin('it', { kind: 'server', parent: { traceparent }, attributes: {} }).traceparent
  const traceId = 'a'.repeat(32)
  expect(within(`00-${traceId}-${'b'.repeat(16)}-01`)).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`))
  expect(within(`00-${traceId}-${'b'.repeat(16)}-00`)).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`))
  for (const nonsense of [undefined, ['a'], 'x', `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`])
    expect(within(nonsense)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
})

test('a collector that is away costs spans: nothing throws, a stop ends, and the log says so once', async () => {
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', 'http://127.0.0.1:1')
  vi.stubEnv('OTEL_EXPORTER_OTLP_TIMEOUT', '200')
  vi.stubEnv('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', '10')
  const lines: string[] = []
  const { service, releases } = context(lines)
  const tracing = await startTracing(service, 'headrace-test')
  for (let n = 0; n < 100; n += 1)
    tracing?.begin('it', { kind: 'server', parent: null, attributes: { n } }).end({ error: 'no' })
  for (const release of releases) await release()
  expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(['traces.not_sent'])
})

test('what OpenTelemetry says of itself is in the log: spans that its queue had no room for', async () => {
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', 'http://127.0.0.1:1')
  vi.stubEnv('OTEL_EXPORTER_OTLP_TIMEOUT', '200')
  vi.stubEnv('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', '5')
  vi.stubEnv('OTEL_BSP_MAX_QUEUE_SIZE', '10')
  const lines: string[] = []
  const { service, releases } = context(lines)
  const tracing = await startTracing(service, 'headrace-test')
  const events = () => lines.map((line) => JSON.parse(line) as { event: string; detail?: string })
  const make = (n: number) => tracing?.begin('it', { kind: 'server', parent: null, attributes: { n } }).end()
  for (let n = 0; n < 100; n += 1) make(n)
  // The queue is emptied by and by, in vain; the next span finds room, and tells of those that did not.
  await eventually('it tells of what it dropped', () => {
    make(100)
    return events().some(({ event }) => event === 'traces.diagnostic')
  })
  expect(events().find(({ event }) => event === 'traces.diagnostic')?.detail).toMatch(/^Dropped \d+ spans/)
  for (const release of releases) await release()
})
