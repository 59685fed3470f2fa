import type { Broker, StreamCatalog } from '@headrace/broker'
import type { Clock } from '@headrace/service'

/** Where streams end now, for the lag that the API shows. Asked once a second at the most, however many ask. */
export interface EndOffsets {
  /** The end of each partition; empty where Kafka cannot be asked, or the stream has no topic. */
  of(stream: string): Promise<ReadonlyMap<number, number>>
}

const FRESH_MS = 1_000
/** A list that shows no lag is better than one that waits for Kafka. */
const ASK_FOR_MS = 2_000

export function createEndOffsets(
  broker: Pick<Broker, 'offsets'>,
  streams: Pick<StreamCatalog, 'topicOf'>,
  clock: Clock,
): EndOffsets {
  const known = new Map<string, { atMs: number; ends: Promise<ReadonlyMap<number, number>> }>()
  return {
    async of(stream) {
      const fresh = known.get(stream)
      if (fresh !== undefined && clock.now() - fresh.atMs < FRESH_MS) return await fresh.ends
      const ends = broker.offsets(streams.topicOf(stream), { signal: AbortSignal.timeout(ASK_FOR_MS) }).then(
        (offsets) => new Map([...offsets].map(([partition, { high }]) => [partition, high])),
        () => new Map<number, number>(),
      )
      known.set(stream, { atMs: clock.now(), ends })
      return await ends
    },
  }
}
