import { parseGatewayConfig, startGateway } from '@headrace/gateway'
import { issueKey, parseOrchestratorConfig, startOrchestrator } from '@headrace/orchestrator'
import { createKeySchema, type Problem } from '@headrace/schemas'
import { type RunningApp, silentLogger } from '@headrace/service'
import { openStore, type Store } from '@headrace/store'
import { createDatabase, eventually, infra } from '@headrace/testing'
import { expect } from 'vitest'

interface Call {
  /** Null: none is sent. */
  key: string | null
  method?: string
  body?: unknown
  /** The gateway, unless given. */
  at?: string
  headers?: Record<string, string>
}

interface Answer<Body> {
  status: number
  headers: Headers
  body: Body
}

/** A gateway and an orchestrator that check keys, as they do unless told otherwise. */
export interface KeyedHeadrace {
  /** The gateway's. */
  readonly url: string
  /** The orchestrator's. */
  readonly direct: string
  readonly store: Store
  readonly call: <Body = Problem>(path: string, call: Call) => Promise<Answer<Body>>
  /** Makes a key as the command line does: before there is one to ask with. */
  readonly made: (name: string, scopes: string[], more?: object) => Promise<string>
  /** One that was made, by its name. */
  readonly keyOf: (name: string) => string
  /** Resolves when the gateway, or who is at `at`, knows the key. */
  readonly known: (key: string, at?: string) => Promise<void>
  /** Starts another gateway, which asks this orchestrator. */
  readonly gateway: (orchestratorUrl: string) => Promise<string>
  readonly stop: () => Promise<void>
}

export async function startKeyed(): Promise<KeyedHeadrace> {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const apps: RunningApp[] = []
  const keys = new Map<string, string>()
  const env = (more: Record<string, string>): NodeJS.ProcessEnv => ({
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_PREFIX: prefix,
    HEADRACE_PORT: '0',
    HEADRACE_MANAGEMENT_PORT: '0',
    HEADRACE_STREAM_PARTITIONS: '1',
    HEADRACE_TASK_PARTITIONS: '1',
    ...more,
  })
  async function gateway(orchestratorUrl: string): Promise<string> {
    const config = parseGatewayConfig(env({ HEADRACE_ORCHESTRATOR_URL: orchestratorUrl }))
    const app = await startGateway({ config, log: silentLogger })
    apps.push(app)
    return app.url ?? ''
  }
  const config = parseOrchestratorConfig(env({ HEADRACE_DATABASE_URL: databaseUrl }))
  const orchestrator = await startOrchestrator({ config, log: silentLogger })
  apps.push(orchestrator)
  const direct = orchestrator.url ?? ''
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  const url = await gateway(direct)

  async function call<Body = Problem>(path: string, { at = url, ...more }: Call): Promise<Answer<Body>> {
    return await ask<Body>(`${at}${path}`, more)
  }
  return {
    url,
    direct,
    store,
    call,
    async made(name, scopes, more = {}) {
      const wanted = createKeySchema.parse({ name, scopes, ...more })
      const { key } = await issueKey(store, wanted, Date.now())
      keys.set(name, key)
      return key
    },
    keyOf: (name) => keys.get(name) ?? expect.fail(`no key ${name}`),
    async known(key, at = url) {
      await eventually('the key is known', async () => {
        const { status } = await call('/v1/streams', { key, at })
        return status === 200 || status === 403
      })
    },
    gateway,
    async stop() {
      for (const app of apps.toReversed()) await app.stop()
      await store.close()
    },
  }
}

async function ask<Body>(
  url: string,
  { key, method = 'GET', body, headers: more }: Call,
): Promise<Answer<Body>> {
  const leaving = new AbortController()
  const answer = await fetch(url, {
    method,
    signal: leaving.signal,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...more,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const { status, headers } = answer
  const isJson = /json/.test(headers.get('content-type') ?? '')
  const told = isJson ? ((await answer.json()) as Body) : (null as Body)
  // A stream of events has no end.
  if (!isJson) leaving.abort()
  return { status, headers, body: told }
}
