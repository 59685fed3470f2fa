import { KeyRing } from '@headrace/http'
import { type Clock, codeOf, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { type Store, validKeys } from '@headrace/store'

/** How long a key that was revoked by another instance, or from the command line, passes here. One short query. */
const READ_EVERY_MS = 1_000

/** The API keys, as Postgres has them. */
export interface KnownKeys {
  readonly ring: KeyRing
  /**
   * A key was made or changed: it counts here when this resolves, and is being told to the gateways. Never rejects, for the
   * change is committed: where Postgres cannot be read now, it counts here as soon as it can.
   */
  changed(): Promise<void>
  readonly duty: Duty
}

export function createKnownKeys({
  store,
  tell,
  ...shared
}: {
  store: Store
  /** Tells the gateways what has changed. */
  tell: () => void
  log: Logger
  clock: Clock
  metrics: Metrics
}): KnownKeys {
  const ring = new KeyRing(() => shared.clock.now())
  let begun = 0
  let taken = 0
  const refresh = async (): Promise<void> => {
    begun += 1
    const mine = begun
    const keys = await validKeys(store)
    // Overtaken by a later reading: what was revoked in between must not come back.
    if (mine < taken) return
    taken = mine
    ring.set(keys.map(({ key }) => key))
  }
  return {
    ring,
    async changed() {
      tell()
      await refresh().catch((error: unknown) =>
        shared.log.warn(
          { event: 'keys.not_read', code: codeOf(error), err: error },
          'a key was changed, and could not be read again at once',
        ),
      )
    },
    duty: createDuty({ ...shared, name: 'keys.read', everyMs: READ_EVERY_MS, runOnce: refresh }),
  }
}
