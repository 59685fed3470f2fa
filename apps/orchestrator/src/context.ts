import type { Broker } from '@headrace/broker'
import type { Clock, Logger } from '@headrace/service'
import type { ServerClock, Store } from '@headrace/store'
import type { DeadLetterDesk } from './dead-letters/dead-letter-desk.ts'
import type { EventTypes } from './event-types/event-types.ts'
import type { Timers } from './timers/timers.ts'
import type { KnownKeys } from './keys/known-keys.ts'
import type { KnownEventTypes } from './publish/known-event-types.ts'
import type { Bindings } from './streams/bind.ts'
import type { KnownBindings } from './streams/known-bindings.ts'
import type { EndOffsets } from './triggers/end-offsets.ts'
import type { RetentionMargins } from './triggers/retention-margin.ts'
import type { RunEvents } from './runs/run-events.ts'
import type { RunWatch } from './runs/run-watch.ts'

/** What the routes of the public API stand on. */
export interface ApiContext {
  store: Store
  broker: Broker
  prefix: string
  log: Logger
  clock: Clock
  /** Postgres's time: run ids are made by it. */
  serverClock: ServerClock
  events: RunEvents
  deadLetters: DeadLetterDesk
  /** Told of runs that are held until a time. */
  delayed: Pick<Timers, 'expect'>
  endOffsets: EndOffsets
  margins: RetentionMargins
  known: KnownBindings
  bindings: Bindings
  keys: KnownKeys
  eventTypes: EventTypes
  knownTypes: KnownEventTypes
  watch: RunWatch
  version: string
}
