import { prepareSchema } from '@headrace/orchestrator'
import {
  createLogger,
  databaseSettings,
  databaseUrlOf,
  type Environment,
  type Logger,
  parseConfig,
  processSettings,
  runMain,
  systemClock,
} from '@headrace/service'
import { openStore } from '@headrace/store'
import { z } from 'zod'

export interface MigrateOptions {
  /** Change nothing; fail when the schema is older than this version needs. */
  check: boolean
}

const settings = z.object({ ...databaseSettings, ...processSettings })

/**
 * Postgres's schema brought up to date, or only looked at; then the process ends: 0 when the schema is one that this
 * version works with, else 1 with the reason, 2 when the settings are wrong. Waits up to a minute for a Postgres that
 * starts beside it. May be run by any number of processes at once, and again: it then does nothing.
 */
export async function runMigration(env: Environment, { check }: MigrateOptions): Promise<never> {
  let log: Logger | null = null
  return await runMain({
    log: () => log,
    start: async (signal) => {
      const values = parseConfig(settings, env)
      const databaseUrl = databaseUrlOf(values)
      log = createLogger({ name: 'migrate', level: values.HEADRACE_LOG_LEVEL })
      const store = openStore({ url: databaseUrl, applicationName: 'headrace-migrate', connections: 1 })
      try {
        await prepareSchema({ store, databaseUrl, mayMigrate: !check, log, clock: systemClock, signal })
      } finally {
        await store.close()
      }
      log.info({ event: 'schema.ready' }, 'the schema is one that this version works with')
      return { stop: async () => await Promise.resolve('drained'), stopped: Promise.resolve('drained') }
    },
  })
}
