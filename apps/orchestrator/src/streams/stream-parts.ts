import type { Broker } from '@headrace/broker'
import type { Frames } from '@headrace/core'
import type { Clock, Duty, Logger, Metrics } from '@headrace/service'
import type { Store } from '@headrace/store'
import { createKnownKeys, type KnownKeys } from '../keys/known-keys.ts'
import { type Bindings, createBindings } from './bind.ts'
import { createConfigRepair } from './config-settings.ts'
import { createKnownBindings, type KnownBindings } from './known-bindings.ts'

export interface StreamParts {
  known: KnownBindings
  bindings: Bindings
  keys: KnownKeys
  /** To be started and stopped. */
  parts: readonly Duty[]
}

export function streamParts(options: {
  store: Store
  broker: Broker
  prefix: string
  /** Null: no schema registry is configured. */
  frames: Frames | null
  log: Logger
  clock: Clock
  metrics: Metrics
}): StreamParts {
  const producer = options.broker.producer()
  const known = createKnownBindings(options)
  const repair = createConfigRepair({ ...options, producer })
  const bindings = createBindings({ ...options, producer, known, repair: () => repair.poke() })
  const keys = createKnownKeys({ ...options, tell: () => repair.poke() })
  return { known, bindings, keys, parts: [known.duty, keys.duty, repair] }
}
