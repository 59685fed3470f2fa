import { context, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import type { WireRun } from '@headrace/schemas'
import { Worker, workflow } from '@headrace/sdk'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { allEnded, getJson, listRuns, publish, startApp, startPlatform } from '../harness/platform.ts'
import { startTraceCollector, type ToldSpan, type TraceCollector } from '../harness/trace-collector.ts'

const MARK = 'zq7x'
const ours = new InMemorySpanExporter()
let collector: TraceCollector
let url: string
let prefix: string
let worker: Worker
let options: Parameters<typeof startPlatform>[0]

const buy = workflow(
  { id: 'buy', triggerOnEvent: 'orders/*', retries: { initialDelay: '1ms' } },
  async (ctx) => {
    await ctx.step.run('charge', async ({ number }) => {
      trace.getTracer('shop').startSpan('card').end()
      if (number === 1) throw new Error('the card is away')
      return await Promise.resolve(MARK)
    })
    await ctx.step.publishEvent('tell', { topic: 'told/now', data: MARK })
    await ctx.step.waitForEvent('approval', { topic: 'approvals/1', timeout: '1h' })
    trace.getTracer('shop').startSpan('thanks').end()
  },
)
const told = workflow({ id: 'told', triggerOnEvent: 'told/**' }, () => 'done')
const three = workflow(
  { id: 'three', triggerOnEvent: 'many/**', batchSize: 3, batchTimeoutSeconds: 600 },
  () => 'done',
)

beforeAll(async () => {
  collector = await startTraceCollector()
  const services = await infra()
  prefix = services.prefix
  const traced = {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '50',
  }
  const { url: databaseUrl } = await createDatabase()
  options = { brokers: services.brokers, prefix, databaseUrl, env: traced }
  url = (await startPlatform(options)).gateway.url
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(ours)] }))
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  worker = new Worker({ workflows: [buy, told, three], url, app: 'shop', build: '1' })
  await worker.start()
  await eventually('the workflows are there', async () => (await fetch(`${url}/v1/workflows/buy`)).ok)
})
afterAll(async () => {
  await worker.stop()
  await collector.close()
})

const callerOf = (n: number, flags = '01') => ({
  traceId: String(n).padStart(32, 'a'),
  traceparent: `00-${String(n).padStart(32, 'a')}-${String(n).padStart(16, 'b')}-${flags}`,
})

async function post(body: unknown, traceparent?: string): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    ...(traceparent === undefined ? {} : { traceparent }),
  }
  const answer = await fetch(`${url}/v1/events`, { method: 'POST', headers, body: JSON.stringify(body) })
  expect(answer.status).toBe(200)
}

const toldOf = async (what: string, is: (span: ToldSpan) => boolean): Promise<ToldSpan> =>
  await eventually(`the collector has ${what}`, () => collector.spans.find(is) ?? false)
const madeOf = async (what: string, is: (span: ReadableSpan) => boolean): Promise<ReadableSpan> =>
  await eventually(`the worker has ended ${what}`, () => ours.getFinishedSpans().find(is) ?? false)
const ofRun = (id: string, epoch: number) => (span: ReadableSpan) =>
  span.name === 'headrace.run' &&
  span.attributes['headrace.run.id'] === id &&
  span.attributes['headrace.epoch'] === epoch
const below = (parent: ReadableSpan, name: string) => (span: ReadableSpan) =>
  span.name === name && span.parentSpanContext?.spanId === parent.spanContext().spanId

test('a publish, its window, its run with its steps, and what the run publishes are one trace', async () => {
  const caller = callerOf(1)
  await post({ topic: 'orders/1', data: { said: MARK } }, caller.traceparent)
  const inTrace = (name: string) => (span: ToldSpan) => span.traceId === caller.traceId && span.name === name

  const request = await toldOf('the request', inTrace('POST /v1/events'))
  expect(request).toMatchObject({ service: 'headrace-gateway', kind: 2, parentSpanId: '1'.padStart(16, 'b') })
  expect(request.attributes['http.response.status_code']).toBe(200)
  const topic = `${prefix}.events.orders`
  const batch = await toldOf('the batch', inTrace(`send ${topic}`))
  expect(batch).toMatchObject({ kind: 4, parentSpanId: request.spanId })
  const window = await toldOf('the window', inTrace(`process ${topic}`))
  expect(window).toMatchObject({ service: 'headrace-trigger-service', kind: 5, parentSpanId: batch.spanId })
  expect(window.attributes).toMatchObject({ 'headrace.workflow': 'buy', 'messaging.destination.name': topic })

  const id = String(window.attributes['headrace.run.id'])
  const run = await madeOf('the run', ofRun(id, 1))
  expect(run.spanContext().traceId).toBe(caller.traceId)
  expect(run.parentSpanContext?.spanId).toBe(window.spanId)
  const stepOf = async (key: string) =>
    await madeOf(
      `the step ${key}`,
      (span) => below(run, 'headrace.step')(span) && span.attributes['headrace.step.key'] === key,
    )
  const charge = await stepOf('charge')
  expect(charge.attributes['headrace.step.attempts']).toBe(2)
  expect(charge.events).toMatchObject([
    {
      name: 'headrace.retry',
      attributes: { 'exception.message': 'the card is away', 'headrace.attempt': 1 },
    },
  ])
  expect(ours.getFinishedSpans().filter(below(charge, 'card'))).toHaveLength(2)
  const tell = await stepOf('tell')
  const answer = await toldOf('the window of what it tells', inTrace(`process ${prefix}.events.told`))
  expect(answer.parentSpanId).toBe(tell.spanContext().spanId)
})

test('a wait ends the span of its run; what goes on with it is another one, which links to it', async () => {
  const [run] = await eventually('the run waits', async () => {
    const runs = await listRuns(url, 'buy')
    return runs[0]?.status === 'waiting' ? runs : false
  })
  const id = (run as WireRun).id
  const before = await madeOf('the run until its wait', ofRun(id, 1))
  expect(before.attributes['headrace.run.end']).toBe('suspended')
  expect(before.events.map(({ name }) => name)).toEqual(['headrace.wait'])
  expect((await publish(url, { topic: 'approvals/1', data: { ok: true } })).status).toBe(200)
  const after = await madeOf('the run after it', ofRun(id, 2))
  expect(after.links.map(({ context: { spanId } }) => spanId)).toEqual([before.spanContext().spanId])
  expect(after.spanContext().traceId).toBe(before.spanContext().traceId)
  expect(after.attributes['headrace.run.end']).toBe('completed')
  // What was stored is not run again, so it has no span; the code around it has.
  expect(ours.getFinishedSpans().filter(below(after, 'headrace.step'))).toEqual([])
  expect(ours.getFinishedSpans().filter(below(after, 'thanks'))).toHaveLength(1)
})

test('a window of several events begins a trace of its own, with a link to each batch that they came in', async () => {
  const caller = callerOf(2)
  await post({ topic: 'many/same', data: 1 }, caller.traceparent)
  await post({
    events: [
      { topic: 'many/same', data: 2 },
      { topic: 'many/same', data: 3 },
    ],
  })
  const [run] = await allEnded(url, 'three', 1)
  const topic = `${prefix}.events.many`
  const window = await toldOf('the window', (span) => span.attributes['headrace.run.id'] === run?.id)
  expect(window.attributes['messaging.batch.message_count']).toBe(3)
  expect(window.parentSpanId ?? '').toBe('')
  const links = window.links?.map(({ traceId }) => traceId)
  expect(links).toHaveLength(2)
  expect(links).toContain(caller.traceId)
  expect(links).not.toContain(window.traceId)
  for (const { spanId } of window.links ?? [])
    await toldOf('the batch', (span) => span.spanId === spanId && span.name === `send ${topic}`)
  const { traceparent } = await getJson<WireRun>(`${url}/v1/runs/${run?.id}`)
  expect(traceparent).toBe(`00-${window.traceId}-${window.spanId}-01`)
})

test('what its publisher does not sample is told to nobody, and stays unsampled', async () => {
  const caller = callerOf(3, '00')
  await post({ topic: 'told/3', data: MARK }, caller.traceparent)
  const run = await eventually('the run has ended', async () => {
    const runs = await listRuns(url, 'told')
    return (
      runs.find(
        ({ traceparent, status }) => status === 'completed' && traceparent?.includes(caller.traceId),
      ) ?? false
    )
  })
  expect(run.traceparent).toMatch(new RegExp(`^00-${caller.traceId}-[0-9a-f]{16}-00$`))
  // Whatever was made before this one is told before it.
  await post({ topic: 'told/4', data: 1 }, callerOf(4).traceparent)
  await toldOf(
    'a later window',
    (span) => span.traceId === callerOf(4).traceId && span.name.startsWith('process'),
  )
  expect(collector.spans.filter(({ traceId }) => traceId === caller.traceId)).toEqual([])
})

test('an event that brings a context of its own keeps it; the batch that it came in links to it', async () => {
  const [caller, own] = [callerOf(5), callerOf(6)]
  const cloudEvent = {
    specversion: '1.0',
    id: 'e',
    source: '/shop',
    type: 't',
    subject: 'told/5',
    traceparent: own.traceparent,
  }
  const headers = { 'content-type': 'application/cloudevents+json', traceparent: caller.traceparent }
  const answer = await fetch(`${url}/v1/events`, {
    method: 'POST',
    headers,
    body: JSON.stringify(cloudEvent),
  })
  expect(answer.status).toBe(200)
  const window = await toldOf(
    'the window',
    ({ traceId, name }) => traceId === own.traceId && name.startsWith('process'),
  )
  expect(window.parentSpanId).toBe('6'.padStart(16, 'b'))
  const batch = await toldOf(
    'the batch',
    ({ traceId, name }) => traceId === caller.traceId && name.startsWith('send'),
  )
  expect(batch.links).toMatchObject([{ traceId: own.traceId }])
})

test('no span holds a payload', () => {
  const made = ours.getFinishedSpans().map(({ attributes, events }) => ({ attributes, events }))
  expect(JSON.stringify([collector.spans, made])).not.toContain(MARK)
})

test('a collector that is away holds up no publish and no stop, and is told of once', async () => {
  const away = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_EXPORTER_OTLP_TIMEOUT: '100' }
  const gateway = await startApp('gateway', options, away)
  for (let n = 0; n < 5; n += 1)
    expect((await publish(gateway.url, { topic: 'told/6', data: n })).status).toBe(200)
  expect(await gateway.process.kill('SIGTERM')).toMatchObject({ code: 0 })
  const lines = gateway.process.stdout.filter((line) => line.includes('traces.not_sent'))
  expect(lines).toHaveLength(1)
})

test('without an endpoint nothing is sent, and a caller’s context goes on as it came', async () => {
  const gateway = await startApp('gateway', options, { OTEL_SDK_DISABLED: 'true' })
  const caller = callerOf(7)
  const headers = { 'content-type': 'application/json', traceparent: caller.traceparent }
  const body = JSON.stringify({ topic: 'told/7', data: 1 })
  expect((await fetch(`${gateway.url}/v1/events`, { method: 'POST', headers, body })).status).toBe(200)
  const window = await toldOf('the window', (span) => span.traceId === caller.traceId)
  expect(window).toMatchObject({ service: 'headrace-trigger-service', parentSpanId: '7'.padStart(16, 'b') })
  expect(await gateway.process.kill('SIGTERM')).toMatchObject({ code: 0 })
  expect(
    collector.spans.filter(
      ({ traceId, service }) => traceId === caller.traceId && service === 'headrace-gateway',
    ),
  ).toEqual([])
})
