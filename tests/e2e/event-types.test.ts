import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import { parseOrchestratorConfig, startOrchestrator } from '@headrace/orchestrator'
import type { Problem, WireEventType, WireRun } from '@headrace/schemas'
import { ApiError, Client, defineEvent, workflow, Worker } from '@headrace/sdk'
import { type RunningApp, silentLogger } from '@headrace/service'
import { createDatabase, eventually, infra, startHeadrace, startOwnSchemaRegistry } from '@headrace/testing'
import { parseTriggerServiceConfig, startTriggerService } from '@headrace/trigger-service'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { getJson, listRuns, publish } from '../harness/platform.ts'

/** What a definition in TypeScript does to everybody who publishes: from the worker by registry and config topic to the gateway. */

const { brokers, prefix } = await infra()
const registry = await startOwnSchemaRegistry()
const apps: RunningApp[] = []
const workers: Worker[] = []
let url: string

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

const order = { order_id: z.string(), total: z.number() }
/** A worker whose one workflow is started by orders of this shape. */
function workerOf(build: string, schema: z.ZodType): Worker {
  const created = defineEvent('orders/created', { schema })
  const flow = workflow({ id: 'on_order', triggerOnEvent: created }, (_ctx, { events }) => events[0].data)
  const worker = new Worker({
    workflows: [flow],
    url,
    app: 'shop',
    build,
    log: silentLogger,
    drainTimeout: '1s',
  })
  workers.push(worker)
  return worker
}

const eventType = async (): Promise<WireEventType> => await getJson(`${url}/v1/event-types/orders.created`)
const ordersRun = async (count: number): Promise<WireRun[]> =>
  await eventually(`${count} orders have run`, async () => {
    const runs = await listRuns(url, 'on_order')
    return runs.length >= count && runs.every(({ status }) => status === 'completed') && runs
  })
const ordered = async (data: unknown) => await publish(url, { topic: 'orders/created', data })

/** What is checked here is not written: the answer says when the gateway has heard of the type. */
const refusedByGateway = async (data: unknown): Promise<Problem> =>
  await eventually('the gateway checks by the type', async () => {
    const body = JSON.stringify({ topic: 'orders/created', data })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${url}/v1/events?dry_run=true`, { method: 'POST', headers, body })
    return answer.status === 422 && ((await answer.json()) as Problem)
  })

beforeAll(async () => {
  const { url: databaseUrl } = await createDatabase()
  const database = { HEADRACE_DATABASE_URL: databaseUrl }
  const orchestrator = await startOrchestrator({
    config: parseOrchestratorConfig(env(database)),
    log: silentLogger,
  })
  const triggers = await startTriggerService({
    config: parseTriggerServiceConfig({ ...env(database), HEADRACE_PORT: undefined }),
    log: silentLogger,
  })
  const gateway = await startGateway({
    config: parseGatewayConfig(env({ HEADRACE_ORCHESTRATOR_URL: orchestrator.url ?? '' })),
    log: silentLogger,
  })
  apps.push(gateway, triggers, orchestrator)
  url = gateway.url ?? ''
})

afterAll(async () => {
  for (const worker of workers) await worker.stop().catch(() => {})
  for (const app of apps) await app.stop()
})

test('a change of a definition that breaks older readers stops the worker that brings it, with the registry’s reason, and no other', async () => {
  const first = workerOf('1', z.object({ ...order, note: z.string().optional() }))
  await first.start()
  await eventually('the first worker is ready', () => first.ready)
  expect(await eventType()).toMatchObject({ version: 1, mode: 'enforce', content_model: 'closed' })
  expect((await ordered({ order_id: 'a', total: 1 })).status).toBe(200)
  const [run] = await ordersRun(1)
  expect(await getJson(`${url}/v1/runs/${run?.id}`)).toMatchObject({ output: { order_id: 'a', total: 1 } })

  const breaking = workerOf('2', z.object({ ...order, total: z.string(), paid: z.boolean() }))
  const stopped = await breaking.run().catch((error: unknown) => error)
  expect(stopped).toBeInstanceOf(ApiError)
  expect(stopped).toMatchObject({ code: 'schema_incompatible', status: 422, retryable: false })
  expect((stopped as ApiError).message).toMatch(
    /orders\.created.* registry says: .*TYPE_CHANGED at \/properties\/total/,
  )
  expect(await eventType()).toMatchObject({ version: 1 })
  expect((await ordered({ order_id: 'b', total: 2 })).status).toBe(200)
  await ordersRun(2)

  const grown = workerOf(
    '3',
    z.object({ ...order, note: z.string().optional(), gift: z.boolean().optional() }),
  )
  await grown.start()
  await eventually('the third worker is ready', () => grown.ready)
  expect(await eventType()).toMatchObject({ version: 2 })
})

test('what a definition says is checked at the gateway, whoever publishes', async () => {
  expect(await refusedByGateway({ order_id: 7, total: 1 })).toMatchObject({
    code: 'schema_invalid',
    errors: [{ pointer: '/data/order_id' }],
  })
  const batch = await publish(url, {
    events: [
      { topic: 'orders/created', data: { order_id: 'c', total: 1 } },
      { topic: 'orders/created', data: { order_id: 'd', total: 1, colour: 'red' } },
    ],
  })
  expect(batch).toMatchObject({ status: 422, body: { code: 'schema_invalid' } })
  const refused = await new Client({ url }).events
    .publish({ topic: 'orders/created', data: { order_id: 'd' } })
    .catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(ApiError)
  expect(refused).toMatchObject({
    code: 'schema_invalid',
    retryable: false,
    errors: [{ pointer: '/events/0/data/total' }],
  })
})

test('headrace schemas pushes what a module exports, and checks without writing', async () => {
  const example = 'examples/event-triggered/workflows.ts'
  const schemas = async (action: string) => {
    const process = await startHeadrace(['schemas', action, example], { HEADRACE_URL: url })
    const { code } = await process.exit
    return { code, said: [...process.stdout, ...process.stderr].join('\n') }
  }
  const missing = await schemas('check')
  expect(missing).toMatchObject({ code: 1, said: expect.stringContaining('users.signup: is not there') })
  // Of the first test, with an optional note: the example would take it away.
  expect(missing.said).toContain('orders.created: refused: schema_incompatible')

  const pushed = await schemas('push')
  expect(pushed).toMatchObject({ code: 1, said: expect.stringContaining('orders.created: refused') })
  expect(pushed.said).toContain('users.signup: pushed (version 1')
  expect(await schemas('check')).toMatchObject({
    code: 1,
    said: expect.stringContaining('users.signup: is the same'),
  })
})
