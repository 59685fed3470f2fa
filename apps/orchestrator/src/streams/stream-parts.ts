import type { Broker } from '@headrace/broker'
import type { Frames } from '@headrace/core'
import type { Clock, Duty, Logger, Metrics } from '@headrace/service'
import { createSchemaRegistry } from '@headrace/registry'
import type { Store } from '@headrace/store'
import type { OrchestratorConfig } from '../config.ts'
import { EventTypes } from '../event-types/event-types.ts'
import { createKnownEventTypes, type KnownEventTypes } from '../publish/known-event-types.ts'
import { createKnownKeys, type KnownKeys } from '../keys/known-keys.ts'
import { type Bindings, createBindings } from './bind.ts'
import { createConfigRepair } from './config-settings.ts'
import { createKnownBindings, type KnownBindings } from './known-bindings.ts'

export interface StreamParts {
  known: KnownBindings
  bindings: Bindings
  keys: KnownKeys
  eventTypes: EventTypes
  knownTypes: KnownEventTypes
  /** To be started and stopped. */
  parts: readonly Duty[]
}

export function streamParts({
  config,
  ...options
}: {
  config: Pick<OrchestratorConfig, 'schemaRegistry' | 'schemaRegister'>
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
  const { schemaRegistry: access, schemaRegister: mode } = config
  const registry = access === null ? null : createSchemaRegistry(access)
  const eventTypes = new EventTypes({ ...options, registry, mode, known, tell: () => repair.poke() })
  const knownTypes = createKnownEventTypes(options)
  const parts = [known.duty, keys.duty, knownTypes.duty, repair]
  return { known, bindings, keys, eventTypes, knownTypes, parts }
}
