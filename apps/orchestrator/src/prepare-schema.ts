import { type Clock, codeOf, limited, type Logger } from '@headrace/service'
import { classify, migrate, schemaVersion, type Store } from '@headrace/store'

export interface PrepareSchemaOptions {
  store: Store
  databaseUrl: string
  /** False: only check. */
  mayMigrate: boolean
  log: Logger
  clock: Clock
  signal: AbortSignal
}

/** A Postgres that starts beside us is waited for; one that is away for longer is a failed start, which is seen. */
const PATIENCE_MS = 60_000
const AGAIN_AFTER_MS = 500

/** Brings the schema up to this version, or makes sure that it is. Rejects with the reason in one line. */
export async function prepareSchema(options: PrepareSchemaOptions): Promise<void> {
  const { store, log, clock, signal } = options
  const deadlineMs = clock.now() + PATIENCE_MS
  for (;;) {
    try {
      if (options.mayMigrate && !(await isNewer(store))) {
        const { applied } = await migrate(options.databaseUrl)
        if (applied.length > 0)
          log.info({ event: 'schema.migrated', migrations: applied }, 'the schema is up to date')
        return
      }
      return await checkVersion(store)
    } catch (error) {
      if (classify(error) !== 'outage' || clock.now() >= deadlineMs) throw error
      limited(log, 'schema.waiting', 10_000, clock).warn(
        { event: 'schema.waiting', code: codeOf(error), err: error },
        'Postgres cannot be reached yet; trying again',
      )
      await clock.sleep(AGAIN_AFTER_MS, signal)
    }
  }
}

/** After a rollback, or in the middle of an upgrade: migrations only add what the version before can live with. */
async function isNewer(store: Store): Promise<boolean> {
  const { current, expected } = await schemaVersion(store)
  return current > expected
}

async function checkVersion(store: Store): Promise<void> {
  const { current, expected } = await schemaVersion(store)
  if (current >= expected) return
  throw new Error(
    `The database is at schema version ${current}, this version of Headrace needs ${expected}: run headrace migrate, or start one orchestrator with HEADRACE_MIGRATE=on`,
  )
}
