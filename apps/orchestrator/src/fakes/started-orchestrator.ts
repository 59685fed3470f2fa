import { undocumented } from '@headrace/http'
import type { Activity, Clock, RunningApp } from '@headrace/service'
import { silentLogger } from '@headrace/service'
import { openStore, type Store } from '@headrace/store'
import { parseOrchestratorConfig } from '../config.ts'
import { startOrchestrator } from '../start-orchestrator.ts'
import { FakeWorker, type FakeWorkerOptions, request, type Answer } from './fake-worker.ts'

export interface Started {
  app: RunningApp
  url: string
  store: Store
  /** One request below the base URL, whose answer must be what the OpenAPI document says. */
  call<Body = Record<string, unknown>>(
    path: string,
    options?: Parameters<typeof request>[1],
  ): Promise<Answer<Body>>
  /** A worker that has registered. */
  worker(options: Omit<FakeWorkerOptions, 'url'>): Promise<FakeWorker>
  /** One that is not declared dead for a day, however slow the test is; until it beats. */
  lastingWorker(options: Omit<FakeWorkerOptions, 'url'>): Promise<FakeWorker>
  stop(): Promise<void>
}

export interface StartedOptions {
  brokers: string[]
  prefix: string
  databaseUrl: string
  clock?: Clock
  activity?: Activity
  env?: Record<string, string>
}

/** An orchestrator on free ports, and a store of the test's own on its database. */
export async function startedOrchestrator(options: StartedOptions): Promise<Started> {
  const config = parseOrchestratorConfig({
    HEADRACE_AUTH: 'off',
    HEADRACE_KAFKA_BROKERS: options.brokers.join(','),
    HEADRACE_PREFIX: options.prefix,
    HEADRACE_DATABASE_URL: options.databaseUrl,
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_TASK_PARTITIONS: '2',
    HEADRACE_STREAM_PARTITIONS: '3',
    ...options.env,
  })
  const { clock, activity } = options
  const app = await startOrchestrator({
    config,
    log: silentLogger,
    ...(clock ? { clock } : {}),
    ...(activity ? { activity } : {}),
  })
  const url = app.url ?? ''
  const store = openStore({ url: options.databaseUrl, applicationName: 'test' })
  const worker = async (how: Omit<FakeWorkerOptions, 'url'>): Promise<FakeWorker> => {
    const registered = new FakeWorker({ url, ...how })
    const { status, body } = await registered.register()
    if (status !== 200) throw new Error(`not registered: ${JSON.stringify(body)}`)
    return registered
  }
  return {
    app,
    url,
    store,
    async call<Body>(path: string, how?: Parameters<typeof request>[1]) {
      const answer = await request<Body>(`${url}${path}`, how)
      const fault = undocumented({ method: how?.method ?? 'GET', url: path, ...answer })
      if (fault !== null)
        throw new Error(`Correct the operation in libs/http/src/api, or the answer: ${fault}`)
      return answer
    },
    worker,
    lastingWorker: async (how) => {
      const lasting = await worker(how)
      await store.general.query(
        `update workers set last_heartbeat_at = now() + interval '1 day' where id = $1`,
        [lasting.id],
      )
      return lasting
    },
    stop: async () => {
      await app.stop()
      await store.close()
    },
  }
}
