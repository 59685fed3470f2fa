import { issueKey, noKey, wireKey } from '@headrace/orchestrator'
import {
  createLogger,
  databaseSettings,
  databaseUrlOf,
  type Environment,
  type Logger,
  parseConfig,
  processSettings,
  runMain,
} from '@headrace/service'
import { createKeySchema, parseOrProblem } from '@headrace/schemas'
import { listKeys, openStore, revokeKey, type Store, writeAudit } from '@headrace/store'
import { z } from 'zod'

export interface CreateKeyOptions {
  name: string
  scope: string[]
  environment?: string
  rate?: number
  expires?: string
}

const settings = z.object({ ...databaseSettings, ...processSettings })

/**
 * `headrace keys …`: straight to Postgres, for the first key, when there is none to ask the API with. The orchestrators know of
 * it within a second, the gateways within some. Ends the process: 0, 1 with the reason, 2 when the settings are wrong.
 */
async function onStore(env: Environment, work: (store: Store) => Promise<object>): Promise<never> {
  let log: Logger | null = null
  return await runMain({
    log: () => log,
    start: async () => {
      const parsed = parseConfig(settings, env)
      log = createLogger({ name: 'keys', level: parsed.HEADRACE_LOG_LEVEL })
      const store = openStore({
        url: databaseUrlOf(parsed),
        applicationName: 'headrace-keys',
        connections: 1,
      })
      try {
        const told = await work(store)
        process.stdout.write(`${JSON.stringify(told, null, 2)}\n`)
      } finally {
        await store.close()
      }
      return { stop: async () => await Promise.resolve('drained'), stopped: Promise.resolve('drained') }
    },
  })
}

export async function createKeyCommand(env: Environment, options: CreateKeyOptions): Promise<never> {
  const { name, scope: scopes, environment, rate, expires } = options
  return await onStore(env, async (store) => {
    const wanted = parseOrProblem(createKeySchema, {
      name,
      scopes,
      ...(environment === undefined ? {} : { environment }),
      ...(rate === undefined ? {} : { rate_limit: { events_per_second: rate } }),
      ...(expires === undefined ? {} : { expires_at: expires }),
    })
    const made = await issueKey(store, wanted, Date.now())
    const { key: _, ...after } = made
    await note(store, { action: 'createKey', id: made.id, after })
    return made
  })
}

/** Up to 10,000: as JSON, for other programs. */
export async function listKeysCommand(env: Environment): Promise<never> {
  return await onStore(env, async (store) =>
    (await listKeys(store, { after: '', limit: 10_000 })).keys.map(wireKey),
  )
}

export async function revokeKeyCommand(env: Environment, id: string): Promise<never> {
  return await onStore(env, async (store) => {
    const revoked = await revokeKey(store, id)
    if (revoked === null) throw noKey(id)
    const after = wireKey(revoked)
    await note(store, { action: 'revokeKey', id, after })
    return after
  })
}

const note = async (
  store: Store,
  { action, id, after }: { action: string; id: string; after: object },
): Promise<void> =>
  await writeAudit(store, {
    keyId: null,
    action,
    method: 'CLI',
    path: `/v1/keys/${id}`,
    requestId: null,
    before: null,
    after: JSON.stringify(after),
  })
