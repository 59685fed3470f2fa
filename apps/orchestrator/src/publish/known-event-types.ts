import { EventTypeChecks, type KnownEventType } from '@headrace/registry'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { listEventTypes, readEventTypes, type Store } from '@headrace/store'
import { eventTypeValue } from '../streams/setting-source.ts'

/** How late an event type that another instance changed may be known here. One short query. */
const READ_EVERY_MS = 1_000

/** The event types, as Postgres has them, for the events of runs. */
export interface KnownEventTypes {
  readonly checks: EventTypeChecks
  /** Resolves when they were read once; null: they were. */
  whenKnown(): Promise<void> | null
  readonly duty: Duty
}

export function createKnownEventTypes({
  store,
  ...shared
}: {
  store: Store
  log: Logger
  clock: Clock
  metrics: Metrics
}): KnownEventTypes {
  const checks = new EventTypeChecks()
  const { promise: first, resolve } = Promise.withResolvers<void>()
  let known: ReadonlyMap<string, KnownEventType> | null = null

  async function runOnce(): Promise<void> {
    const standing = await listEventTypes(store)
    const before = known ?? new Map<string, KnownEventType>()
    const stale = standing.filter(({ name, revision }) => before.get(name)?.revision !== revision)
    const read = await readEventTypes(
      store,
      stale.map(({ name }) => name),
    )
    const now = new Map<string, KnownEventType>()
    for (const { name } of standing) {
      const same = before.get(name)
      if (same !== undefined) now.set(name, same)
    }
    for (const type of read) now.set(type.name, { type: eventTypeValue(type), revision: type.revision })
    if (stale.length > 0 || before.size !== now.size || known === null) checks.set([...now.values()])
    known = now
    resolve()
  }

  return {
    checks,
    whenKnown: () => (known === null ? first : null),
    duty: createDuty({ ...shared, name: 'event_types.read', everyMs: READ_EVERY_MS, runOnce }),
  }
}
