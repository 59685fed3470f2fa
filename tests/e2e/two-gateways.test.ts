import { createBroker, eventsTopic } from '@headrace/broker'
import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import { parseOrchestratorConfig, startOrchestrator } from '@headrace/orchestrator'
import { type RunningApp, silentLogger } from '@headrace/service'
import { openStore, registerApp } from '@headrace/store'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { parseTriggerServiceConfig, startTriggerService } from '@headrace/trigger-service'
import { expect, test } from 'vitest'
import { publish } from '../harness/platform.ts'

/** P2: a publisher whose first try was not answered tries again elsewhere, and the first may have arrived after all. */

const EVENTS = 1_000
/** Of one request: the two gateways write the same ones within some milliseconds. */
const AT_ONCE = 50

test('the same id sent by two gateways at once, 1,000 times, starts 1,000 runs', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const kafka = {
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_AUTH: 'off',
    HEADRACE_PREFIX: prefix,
    HEADRACE_MANAGEMENT_PORT: '0',
  }
  const log = silentLogger
  const running: RunningApp[] = []
  const broker = createBroker({ brokers, clientId: 'test', logger: log })
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  const topic = eventsTopic(prefix, 'orders')
  try {
    const database = { ...kafka, HEADRACE_DATABASE_URL: databaseUrl }
    const orchestrator = parseOrchestratorConfig({ ...database, HEADRACE_PORT: '0' })
    running.push(await startOrchestrator({ config: orchestrator, log }))
    running.push(await startTriggerService({ config: parseTriggerServiceConfig(database), log }))
    const urls: string[] = []
    for (let n = 0; n < 2; n += 1) {
      const gateway = await startGateway({
        config: parseGatewayConfig({ ...kafka, HEADRACE_PORT: '0' }),
        log,
      })
      running.push(gateway)
      urls.push(gateway.url ?? '')
    }
    await broker.topics.ensureTopics([{ ...topic, partitions: 4 }])
    const window = { size: 1, timeout_ms: null, max_bytes: 1024 * 1024 }
    await registerApp(store, {
      app: 'shop',
      build: 'b1',
      workflows: [
        {
          id: 'each',
          queue: 'default',
          on_deploy: 'upgrade',
          triggers: [{ id: 'each', pattern: 'orders/**', window }],
        },
      ],
      newCursors: async () => {
        const marks = await broker.offsets(topic.name)
        return new Map([['orders', new Map([...marks.keys()].map((partition) => [partition, 0]))]])
      },
    })
    for (let from = 0; from < EVENTS; from += AT_ONCE) {
      const numbers = Array.from({ length: AT_ONCE }, (_, index) => from + index)
      const sent = urls.map(async (url, at) => {
        // Half of them under another key each time, so that the two copies mostly lie on two partitions.
        const events = numbers.map((number) => ({
          topic: 'orders/created',
          id: `e${number}`,
          key: number % 2 === 0 ? `k${number}` : `k${number}-${at}`,
          source: 'till',
          data: number,
        }))
        return await publish(url, { events })
      })
      for (const { status } of await Promise.all(sent)) expect(status).toBe(200)
    }
    const marks = await broker.offsets(topic.name)
    expect([...marks.values()].reduce((sum, { high }) => sum + high, 0)).toBe(2 * EVENTS)
    await eventually('all that was written is read', async () => {
      const { rows } = await store.general.query<{ partition: number; next_offset: number }>(
        `select partition, next_offset from trigger_cursors where trigger_id = 'each'`,
      )
      return rows.every(({ partition, next_offset: next }) => next === marks.get(partition)?.high)
    })
    const { rows } = await store.general.query<{ input: string }>(
      `select input from runs where trigger_id = 'each'`,
    )
    const numbers = rows.flatMap(({ input }) =>
      (JSON.parse(input) as { events: { data: number }[] }).events.map(({ data }) => data),
    )
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: EVENTS }, (_, number) => number))
  } finally {
    for (const app of running.toReversed()) await app.stop()
    await broker.close()
    await store.close()
  }
})
