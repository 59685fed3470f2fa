import type { Store } from './connection.ts'

/**
 * Postgres's time without asking it each time: its difference from the local clock, measured now and then.
 * Good to half a round trip. Never decides anything (statements use `now()`): it stamps run ids, which only have to
 * fall into the right day.
 */
export interface ServerClock {
  /** Estimate of Postgres's clock, ms since 1970; the local clock until the first `refresh`. */
  now(): number
  /** Measures again; call it every minute or so. */
  refresh(): Promise<void>
}

export function createServerClock(store: Pick<Store, 'serverNow'>, local: { now(): number }): ServerClock {
  let aheadMs = 0
  return {
    now: () => local.now() + aheadMs,
    async refresh() {
      const before = local.now()
      const server = await store.serverNow()
      const after = local.now()
      aheadMs = server - (before + after) / 2
    },
  }
}
