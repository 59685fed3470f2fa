import type { Broker } from '@headrace/broker'
import type { Clock } from '@headrace/service'

/** Where streams end now, asked of Kafka once for all who follow one. */
export interface StreamEnds {
  /** Per partition; at most {@link ASK_EVERY_MS} old. Rejects as `Broker.stableEnds` does. */
  of(topic: string): Promise<ReadonlyMap<number, number>>
}

/** What a follower waits at most beyond Kafka's own time for an event; each stream that is followed costs one request. */
export const ASK_EVERY_MS = 200

export function createStreamEnds(broker: Pick<Broker, 'stableEnds'>, clock: Pick<Clock, 'now'>): StreamEnds {
  const known = new Map<string, { until: number; ends: Promise<ReadonlyMap<number, number>> }>()
  return {
    async of(topic) {
      const now = clock.now()
      for (const [other, { until }] of known) if (until <= now) known.delete(other)
      let asked = known.get(topic)
      if (asked === undefined) {
        asked = { until: now + ASK_EVERY_MS, ends: broker.stableEnds(topic) }
        known.set(topic, asked)
      }
      return await asked.ends
    },
  }
}
