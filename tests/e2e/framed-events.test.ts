import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import { parseOrchestratorConfig, startOrchestrator } from '@headrace/orchestrator'
import type { PublishedEvent, WireDeadLetter, WireEvent, WireList } from '@headrace/schemas'
import { workflow, Worker } from '@headrace/sdk'
import { type RunningApp, silentLogger } from '@headrace/service'
import { createDatabase, eventually, infra, startOwnSchemaRegistry } from '@headrace/testing'
import { parseTriggerServiceConfig, startTriggerService } from '@headrace/trigger-service'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { getJson, listRuns, publish } from '../harness/platform.ts'

/** What is framed by the schema of its event type is read by everything that reads events. */

const { brokers, prefix } = await infra()
const registry = await startOwnSchemaRegistry()
const apps: RunningApp[] = []
let url: string
let worker: Worker

const env = (more: Record<string, string>): NodeJS.ProcessEnv => ({
  HEADRACE_KAFKA_BROKERS: brokers.join(','),
  HEADRACE_AUTH: 'off',
  HEADRACE_PREFIX: prefix,
  HEADRACE_PORT: '0',
  HEADRACE_MANAGEMENT_PORT: '0',
  HEADRACE_STREAM_PARTITIONS: '1',
  HEADRACE_TASK_PARTITIONS: '1',
  HEADRACE_SCHEMA_REGISTRY_URL: registry.url,
  ...more,
})

const PAYMENT = {
  type: 'record',
  name: 'Payment',
  fields: [
    { name: 'amount', type: { type: 'bytes', logicalType: 'decimal', precision: 12, scale: 2 } },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'no', type: 'long' },
    { name: 'note', type: ['null', 'string'] },
  ],
}
const payment = { amount: '12.50', at: '2026-11-23T12:00:00.001Z', no: '9007199254740993', note: null }

const settle = workflow({ id: 'settle', triggerOnEvent: 'payments/made' }, async (ctx, { events }) => {
  const [made] = events
  const topic = `payments/settled-${made.key ?? ''}`
  const refused = await ctx.step
    .publishEvent('refused', { topic, data: { amount: 12.5 } })
    .then(() => null, String)
  await ctx.step.publishEvent('settled', { topic, data: made.data })
  const settled = await ctx.step.waitForEvent('wait', {
    topic,
    timeout: '1m',
    if: 'event.data.amount == "12.50"',
  })
  return { made: made.data, refused, settled: settled.data }
})

beforeAll(async () => {
  const { url: databaseUrl } = await createDatabase()
  const database = { HEADRACE_DATABASE_URL: databaseUrl }
  const log = silentLogger
  const orchestrator = await startOrchestrator({ config: parseOrchestratorConfig(env(database)), log })
  const triggers = await startTriggerService({
    config: parseTriggerServiceConfig({ ...env(database), HEADRACE_PORT: undefined }),
    log,
  })
  const gateway = await startGateway({
    config: parseGatewayConfig(env({ HEADRACE_ORCHESTRATOR_URL: orchestrator.url ?? '' })),
    log,
  })
  apps.push(gateway, triggers, orchestrator)
  url = gateway.url ?? ''
  const put = await fetch(`${url}/v1/event-types/payments._`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ pattern: 'payments/*', schema_type: 'avro', schema: PAYMENT }),
  })
  if (!put.ok) throw new Error(await put.text())
  worker = new Worker({ workflows: [settle], url, app: 'shop', build: '1', log, drainTimeout: '1s' })
  await worker.start()
  await eventually('the worker is ready', () => worker.ready)
  await eventually('the gateway has heard of the event type', async () => {
    const body = { topic: 'payments/made', data: {} }
    const answer = await fetch(`${url}/v1/events?dry_run=true`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return answer.status === 422
  })
})

afterAll(async () => {
  await worker.stop().catch(() => {})
  for (const app of apps) await app.stop()
})

const made = (key: string) => ({ topic: 'payments/made', key, data: payment })
const settled = async (count: number): Promise<unknown[]> =>
  await eventually(`${count} payments are settled`, async () => {
    const runs = await listRuns(url, 'settle')
    if (runs.length < count || runs.some(({ status }) => status !== 'completed')) return false
    const whole = runs.map(async ({ id }) => await getJson<{ output: unknown }>(`${url}/v1/runs/${id}`))
    return (await Promise.all(whole)).map(({ output }) => output)
  })

test('Avro comes to handlers, waits, filters, history, followers and explanations as it was published, also while the registry is away', async () => {
  const { status, body } = await publish(url, made('a'))
  expect(status).toBe(200)
  const [output] = await settled(1)
  expect(output).toEqual({
    made: payment,
    refused: expect.stringContaining('schema_invalid'),
    settled: payment,
  })

  const [event] = (body as { events: PublishedEvent[] }).events
  const history = await getJson<WireList<WireEvent>>(`${url}/v1/events?stream=payments`)
  expect(history.data.map(({ data }) => data)).toEqual([payment, payment])
  const place = `payments/${event?.partition}/${event?.sequence_id}`
  expect(await getJson(`${url}/v1/events/${place}`)).toMatchObject({ data: payment })
  expect(await getJson(`${url}/v1/events/${place}/explain`)).toMatchObject({
    triggers: [{ trigger: 'settle', outcome: 'run' }],
  })
  const followed = await fetch(`${url}/v1/events/stream?pattern=payments/made&from=earliest`)
  const text = new TextDecoder()
  let told = ''
  for await (const chunk of followed.body ?? []) {
    told += text.decode(chunk as Uint8Array, { stream: true })
    if (told.includes('"9007199254740993"')) break
  }

  await registry.kill()
  const more = Array.from({ length: 20 }, (_, n) => made(`k${n}`))
  expect((await publish(url, { events: more })).status).toBe(200)
  for (const one of await settled(1 + more.length))
    expect(one).toMatchObject({ made: payment, settled: payment })
  expect((await getJson<WireList<WireDeadLetter>>(`${url}/v1/dead-letters`)).data).toEqual([])
})
