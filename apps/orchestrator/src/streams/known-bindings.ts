import { BoundStreams } from '@headrace/broker'
import type { Frames } from '@headrace/core'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { listStreamBindings, type Store } from '@headrace/store'

/** How late a binding that another instance made may be known here. One short query. */
const READ_EVERY_MS = 1_000

/** The external streams, as Postgres has them. */
export interface KnownBindings {
  readonly streams: BoundStreams
  /** Reads them now: for what must not go by a binding of a second ago. */
  refresh(): Promise<void>
  readonly duty: Duty
}

export function createKnownBindings({
  store,
  prefix,
  frames,
  ...shared
}: {
  store: Store
  prefix: string
  frames: Frames | null
  log: Logger
  clock: Clock
  metrics: Metrics
}): KnownBindings {
  const streams = new BoundStreams(prefix, frames)
  const refresh = async (): Promise<void> => streams.set(await listStreamBindings(store))
  return {
    streams,
    refresh,
    duty: createDuty({ ...shared, name: 'streams.bindings', everyMs: READ_EVERY_MS, runOnce: refresh }),
  }
}
