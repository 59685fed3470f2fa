import { randomUUID } from 'node:crypto'
import { type Broker, deadLettersTopic, type StreamCatalog } from '@headrace/broker'
import { createDuty, type Duty, type ServiceContext, version } from '@headrace/service'
import { RepeatSweep } from './repeats/sweep.ts'
import { beatInstance, type ServerClock, type Store } from '@headrace/store'

/** Instances count as live by this; the same beat as workers'. */
const BEAT_EVERY_MS = 2_000
/** Clocks drift apart by milliseconds an hour. */
const CLOCK_EVERY_MS = 60_000
/** Until it is there; then once in a while, because somebody may delete it. */
const DEAD_LETTERS_EVERY_MS = 5 * 60_000
/** Dead letters are few; order matters only within one record's source. */
const DEAD_LETTERS_PARTITIONS = 4

/** What an instance does beside reading: it tells that it lives, and keeps what it stands on in order. */
export function createDuties(
  context: ServiceContext,
  {
    store,
    broker,
    serverClock,
    prefix,
    streams,
  }: {
    store: Store
    broker: Broker
    serverClock: ServerClock
    prefix: string
    streams: Pick<StreamCatalog, 'topicOf'>
  },
): Duty[] {
  const { log, clock, metrics } = context
  const id = randomUUID()
  const topic = { ...deadLettersTopic(prefix), partitions: DEAD_LETTERS_PARTITIONS }
  return [
    createDuty({
      name: 'trigger-service.heartbeat',
      everyMs: BEAT_EVERY_MS,
      log,
      clock,
      metrics,
      runOnce: async () => await beatInstance(store, { id, component: 'trigger_service', version }),
    }),
    createDuty({
      name: 'trigger-service.clock',
      everyMs: CLOCK_EVERY_MS,
      log,
      clock,
      metrics,
      runOnce: async () => await serverClock.refresh(),
    }),
    new RepeatSweep(context, { store, broker, streams }).duty,
    createDuty({
      name: 'trigger-service.dead-letters-topic',
      everyMs: DEAD_LETTERS_EVERY_MS,
      log,
      clock,
      metrics,
      runOnce: async () => {
        await broker.topics.ensureTopics([topic])
      },
    }),
  ]
}
