import { codeOf, limited, type ServiceContext } from '@headrace/service'
import { schemaVersion, type Store } from '@headrace/store'

/** How soon after the migration the work begins, and how often an absent Postgres is asked. */
const LOOK_EVERY_MS = 250
const LOG_EVERY_MS = 10_000

/**
 * Resolves once Postgres has the schema that this version works with; until then `/readyz` says what is missing. The
 * orchestrator migrates. A newer schema is fine: migrations only add what older versions can live with. Rejects only
 * when `signal` is aborted.
 */
export async function untilSchema(context: ServiceContext, store: Store, signal: AbortSignal): Promise<void> {
  const { log, clock } = context
  const schema = context.health.check('schema')
  for (;;) {
    const lack = await lackOf(store)
    signal.throwIfAborted()
    if (lack === null) return schema.ok()
    schema.fail(lack.detail)
    limited(log, `schema/${lack.code}`, LOG_EVERY_MS, clock).info(
      { event: 'schema.waited_for', code: lack.code },
      lack.detail,
    )
    await clock.sleep(LOOK_EVERY_MS, signal)
  }
}

async function lackOf(store: Store): Promise<{ code: string; detail: string } | null> {
  try {
    const { current, expected } = await schemaVersion(store)
    if (current >= expected) return null
    const detail = `Postgres has schema version ${current}; ${expected} is needed, and an orchestrator makes it`
    return { code: 'schema_behind', detail }
  } catch (error) {
    const code = codeOf(error)
    return { code, detail: `the version of Postgres’s schema could not be read: ${code}` }
  }
}
