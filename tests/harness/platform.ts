import type { WireList, WireRun, WireWorker } from '@headrace/schemas'
import { eventually, freePort, startHeadrace, startProcess, type TestProcess } from '@headrace/testing'

/** Headrace as real processes on given services, each app on ports of its own. */
export interface PlatformOptions {
  brokers: readonly string[]
  prefix: string
  databaseUrl: string
  env?: Record<string, string>
}

export interface AppProcess {
  process: TestProcess
  url: string
  managementUrl: string
}

export interface Platform {
  options: PlatformOptions
  gateway: AppProcess
  orchestrators: AppProcess[]
  triggerServices: AppProcess[]
}

export type AppName = 'gateway' | 'orchestrator' | 'trigger-service'

/** One app in a process; resolves when it says that it is ready. `port` starts it again where it was. */
export async function startApp(
  name: AppName,
  options: PlatformOptions,
  env: Record<string, string> = {},
  ports: { port?: number; managementPort?: number; ready?: boolean } = {},
): Promise<AppProcess> {
  const port = ports.port ?? (await freePort())
  const managementPort = ports.managementPort ?? (await freePort())
  const process = await startHeadrace([name], {
    HEADRACE_KAFKA_BROKERS: options.brokers.join(','),
    HEADRACE_PREFIX: options.prefix,
    ...(name === 'gateway' ? {} : { HEADRACE_DATABASE_URL: options.databaseUrl }),
    ...(name === 'trigger-service' ? {} : { HEADRACE_PORT: String(port) }),
    HEADRACE_MANAGEMENT_PORT: String(managementPort),
    HEADRACE_KAFKA_REPLICATION_FACTOR: '1',
    HEADRACE_AUTH: 'off',
    ...options.env,
    ...env,
  })
  const app = {
    process,
    url: `http://127.0.0.1:${port}`,
    managementUrl: `http://127.0.0.1:${managementPort}`,
  }
  if (ports.ready !== false) await isReady(app)
  return app
}

async function isReady(app: AppProcess): Promise<void> {
  await eventually(`${app.process.name} is ready`, async () => {
    const response = await fetch(`${app.managementUrl}/readyz`).catch(() => null)
    return response?.ok === true
  })
}

/** The same app again, on the ports it had: after a kill. */
export async function restartApp(
  name: AppName,
  app: AppProcess,
  options: PlatformOptions,
  env: Record<string, string> = {},
  until: { ready?: boolean } = {},
): Promise<AppProcess> {
  const port = Number(new URL(app.url).port)
  const managementPort = Number(new URL(app.managementUrl).port)
  return await startApp(name, options, env, { port, managementPort, ...until })
}

export async function startPlatform(
  options: PlatformOptions,
  counts: { orchestrators?: number; triggerServices?: number } = {},
): Promise<Platform> {
  const orchestrators = [await startApp('orchestrator', options)]
  for (let n = 1; n < (counts.orchestrators ?? 1); n += 1)
    orchestrators.push(await startApp('orchestrator', options))
  const [first] = orchestrators
  const [gateway, ...triggerServices] = await Promise.all([
    startApp('gateway', options, { HEADRACE_ORCHESTRATOR_URL: first?.url ?? '' }),
    ...Array.from(
      { length: counts.triggerServices ?? 1 },
      async () => await startApp('trigger-service', options),
    ),
  ])
  return { options, gateway, orchestrators, triggerServices }
}

export interface WorkerOptions {
  gatewayUrl: string
  /** Which of the test worker's workflows it has. */
  workflows: readonly string[]
  journal: string
  databaseUrl: string
  /** Programs with different workflows are different apps. */
  app?: string
  env?: Record<string, string>
  waitUntilLive?: boolean
}

let workers = 0

/** A worker process with the workflows of tests/harness/worker.ts; resolves when it has partitions. */
export async function startWorker(options: WorkerOptions): Promise<TestProcess> {
  workers += 1
  const build = `test-build-${workers}`
  const host = `test-worker-${workers}`
  const process = await startProcess({
    name: host,
    args: ['--conditions=@headrace/source', 'tests/harness/worker.ts'],
    env: {
      HEADRACE_URL: options.gatewayUrl,
      HEADRACE_APP: options.app ?? 'tests',
      HEADRACE_BUILD_ID: build,
      HEADRACE_TEST_WORKFLOWS: options.workflows.join(','),
      HEADRACE_TEST_JOURNAL: options.journal,
      HEADRACE_TEST_DATABASE_URL: options.databaseUrl,
      ...options.env,
    },
  })
  if (options.waitUntilLive !== false) {
    await eventually(`${host} has partitions`, async () => {
      const live = await liveWorkers(options.gatewayUrl)
      return live.some((worker) => worker.build === build && worker.partitions.length > 0)
    })
  }
  return process
}

export async function getJson<Body>(url: string): Promise<Body> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`GET ${url}: ${response.status} ${await response.text()}`)
  return (await response.json()) as Body
}

export interface PublishAnswer {
  status: number
  retryAfter: string | null
  body: {
    code?: string
    events?: {
      id?: string
      topic?: string
      partition?: number
      sequence_id?: number
      problem?: { code: string }
    }[]
  }
}

export async function publish(
  gatewayUrl: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<PublishAnswer> {
  const response = await fetch(`${gatewayUrl}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    body: (await response.json()) as PublishAnswer['body'],
  }
}

/** Every run of a workflow, oldest first, page by page. */
export async function listRuns(url: string, workflow: string): Promise<WireRun[]> {
  const runs: WireRun[] = []
  for (let cursor: string | null = ''; cursor !== null;) {
    const page: WireList<WireRun> = await getJson(
      `${url}/v1/runs?workflow=${workflow}&limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`,
    )
    runs.push(...page.data)
    cursor = page.next_cursor
  }
  return runs.sort((a, b) => a.id.localeCompare(b.id))
}

/** Waits until as many runs of the workflow ended as were expected. Fails at once when there are more. */
export async function allEnded(
  url: string,
  workflow: string,
  count: number,
  deadlineMs = 240_000,
): Promise<WireRun[]> {
  return await eventually(
    `${count} runs of ${workflow} ended`,
    async () => {
      const runs = await listRuns(url, workflow)
      const ended = runs.filter((run) =>
        ['completed', 'failed', 'cancelled', 'timed_out'].includes(run.status),
      )
      return runs.length >= count && ended.length === runs.length ? runs : null
    },
    { deadlineMs },
  )
}

export async function liveWorkers(url: string): Promise<WireWorker[]> {
  const { data }: WireList<WireWorker> = await getJson(`${url}/v1/workers`)
  return data.filter((worker) => worker.status === 'live')
}

/** The sum of a metric's samples whose labels contain all of these. */
export async function metric(
  app: AppProcess,
  name: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const response = await fetch(`${app.managementUrl}/metrics`)
  const lines = (await response.text())
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  return lines
    .filter((line) => wanted.every((pair) => line.includes(pair)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
