import { type Broker, BrokerError, deadLettersTopic } from '@headrace/broker'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { countDecidedDeadLetters, type Store } from '@headrace/store'

export interface DeadLetterGaugeOptions {
  broker: Pick<Broker, 'offsets'>
  store: Store
  prefix: string
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** One question to Kafka and one statement a minute. */
const COUNT_EVERY_MS = 60_000

/** What Kafka still has of dead letters, less what was decided of it. Of all instances together: not to be summed over them. */
export function deadLetterGauge({ broker, store, prefix, ...shared }: DeadLetterGaugeOptions): Duty {
  const gauge = shared.metrics.gauge({
    name: 'dead_letters_open',
    help: 'Dead letters about which nothing was decided, neither redriven nor discarded, of those that Kafka has.',
  })
  const topic = deadLettersTopic(prefix).name
  return createDuty({
    name: 'dead_letters.count',
    everyMs: COUNT_EVERY_MS,
    ...shared,
    runOnce: async () => {
      const offsets = await broker.offsets(topic).catch((error: unknown) => {
        // Made with the first of them.
        if (error instanceof BrokerError && error.code === 'unknown_topic') return new Map<number, never>()
        throw error
      })
      const kept = [...offsets].map(([partition, { low, high }]) => ({ partition, low, high }))
      const decided = await countDecidedDeadLetters(store, kept)
      const all = kept.reduce((sum, { low, high }) => sum + high - low, 0)
      // Of a topic that was made anew decisions may be left for a while.
      gauge.set(Math.max(0, all - decided))
    },
  })
}
