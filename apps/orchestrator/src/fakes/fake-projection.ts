import { type Broker, createBroker, responsesTopic } from '@headrace/broker'
import { encodeResponse } from '@headrace/core'
import { type EventRecord, streamOf } from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { createProjections, loadCorrelatorCursors, type Store } from '@headrace/store'
import type { Eventually } from './waiting-runs.ts'

/** The trigger service's side of waits: copies events to the response topic, when and as a test says. */
export interface FakeProjection {
  readonly broker: Broker
  /** An event as it stands in its stream. */
  event(topic: string, data: unknown, changes?: Partial<EventRecord>): EventRecord
  /** Resolves when Kafka has acknowledged their copies. */
  project(...events: EventRecord[]): Promise<void>
  /** A record of the response topic that no projection wrote, where the copies of this topic lie. */
  raw(topic: string, value: string): Promise<void>
  /** All partitions of a stream are projected from then on (ms), up to these offsets. */
  begin(stream: string, projectedFrom: number, offsets: readonly number[]): Promise<void>
  /** The projection passed all below. */
  passed(stream: string, partition: number, nextOffset: number): Promise<void>
  /** As if the stream had been waited on, projected and opened for a day; nothing lies on it. */
  opened(stream: string, partitions?: number): Promise<void>
  /** The correlator has read all that is on the response topic. */
  correlated(): Promise<void>
  close(): Promise<void>
}

export function fakeProjection(
  store: Store,
  { brokers, prefix, eventually }: { brokers: string[]; prefix: string; eventually: Eventually },
): FakeProjection {
  const broker = createBroker({ brokers, clientId: 'fake-projection', logger: silentLogger })
  const producer = broker.producer()
  const topicName = responsesTopic(prefix).name
  const next = new Map<string, number>()
  const produce = async (records: Parameters<typeof producer.produce>[0]): Promise<void> => {
    await eventually('the response topic takes records', async () => {
      const outcomes = await producer.produce(records)
      return outcomes.every(({ status }) => status === 'written')
    })
  }
  return {
    broker,
    event(topic, data, changes = {}) {
      const stream = streamOf(topic)
      const sequenceId = changes.sequenceId ?? next.get(stream) ?? 0
      next.set(stream, sequenceId + 1)
      return {
        id: `${topic}-${sequenceId}` as EventRecord['id'],
        source: 'test',
        topic,
        eventType: null,
        data: data as EventRecord['data'],
        key: null,
        createdAt: Date.now(),
        stream,
        partition: 0,
        sequenceId,
        traceparent: null,
        dedup: false,
        ...changes,
      }
    },
    project: async (...events) =>
      await produce(
        events.map((event) => ({ topic: topicName, partition: null, ...encodeResponse(event, 1) })),
      ),
    raw: async (topic, value) =>
      await produce([{ topic: topicName, partition: null, key: topic, value, headers: {} }]),
    begin: async (stream, projectedFrom, offsets) => await begin(store, stream, projectedFrom, offsets),
    async passed(stream, partition, nextOffset) {
      await store.general.query(
        `update trigger_cursors set next_offset = $3 where trigger_id = 'headrace:projection' and stream = $1 and partition = $2`,
        [stream, partition, nextOffset],
      )
    },
    opened: async (stream, partitions = 1) => await openStreamForADay(store, stream, partitions),
    async correlated() {
      await eventually('the correlator is at the end of the response topic', async () => {
        const [ends, cursors] = [await broker.offsets(topicName), await loadCorrelatorCursors(store)]
        return [...ends].every(([partition, { high }]) => (cursors.get(partition) ?? 0) >= high)
      })
    },
    close: async () => await broker.close(),
  }
}

async function begin(
  store: Store,
  stream: string,
  projectedFrom: number,
  offsets: readonly number[],
): Promise<void> {
  await createProjections(
    store,
    offsets.map((fromOffset, partition) => ({ stream, partition, fromOffset, projectedFrom })),
  )
}

async function openStreamForADay(store: Store, stream: string, partitions: number): Promise<void> {
  const dayAgo = Date.now() - 86_400_000
  await store.general.query(
    `insert into waited_streams (stream, projected_from, open_from)
     values ($1, to_timestamp($2::float8 / 1000), to_timestamp($2::float8 / 1000))`,
    [stream, dayAgo],
  )
  const offsets = Array.from({ length: partitions }, () => 0)
  await begin(store, stream, dayAgo, offsets)
}
