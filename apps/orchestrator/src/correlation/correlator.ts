import { type Broker, type LanedConsumer, partitionKey, responsesTopic } from '@headrace/broker'
import type { Clock, Logger, Metrics } from '@headrace/service'
import {
  loadCorrelatorCursors,
  raiseCorrelatorCursor,
  resetCorrelatorCursor,
  type Store,
} from '@headrace/store'
import type { ResponseChunk } from './correlate.ts'
import { ResponseLane } from './response-lane.ts'

/**
 * Reads the response topic and answers waits. Any number of instances share its partitions; each begins where Postgres
 * says that its partition was left, so that what is in memory here is never needed by anybody.
 */
export interface Correlator {
  start(): void
  /** Leaves the group, then finishes the steps under way. */
  stop(): Promise<void>
}

export interface CorrelatorOptions {
  store: Store
  broker: Pick<Broker, 'consumer'>
  prefix: string
  correlate: (chunk: ResponseChunk, signal: AbortSignal) => Promise<void>
  log: Logger
  clock: Clock
  metrics: Metrics
}

export function createCorrelator(options: CorrelatorOptions): Correlator {
  const { store, broker, prefix, correlate, log, clock } = options
  const topic = responsesTopic(prefix).name
  const lanes = new Set<ResponseLane>()
  const losses = options.metrics.counter({
    name: 'response_losses_total',
    help: 'Times that responses went before they were read, by code: waits may not have seen their answer.',
    labels: ['code'],
  })
  const rebalances = options.metrics.counter({
    name: 'kafka_rebalances_total',
    help: 'Times the consumer group was joined.',
  })
  const consumer: LanedConsumer = broker.consumer({
    groupId: `${prefix}.orchestrator`,
    topics: [topic],
    fromBeginning: true,
    lane: ({ partition, signal }) => {
      const lane = new ResponseLane({
        topic,
        partition,
        signal,
        consumer,
        correlate,
        atEnd: async (_partition, nextOffset) =>
          await raiseCorrelatorCursor(store, { partition, nextOffset, logTimeMs: null }),
        begunAnew: async (_partition, nextOffset) =>
          await resetCorrelatorCursor(store, { partition, nextOffset }),
        lost: (code) => losses.inc({ code }),
        log,
        clock,
      })
      lanes.add(lane)
      signal.addEventListener('abort', () => lanes.delete(lane), { once: true })
      return lane
    },
    onAssigned: async (added) => {
      rebalances.inc()
      const cursors = await loadCorrelatorCursors(store)
      const partitions = added.flatMap((each) => each.partitions)
      return new Map(
        partitions.map((partition) => [partitionKey(topic, partition), cursors.get(partition) ?? 0]),
      )
    },
  })
  lagGauges(options.metrics, clock, () => lanes)
  return {
    start: () => consumer.start(),
    async stop() {
      const open = [...lanes]
      await consumer.stop()
      await Promise.all(open.map(async (lane) => await lane.idle()))
    },
  }
}

/** Of the partitions that this instance reads. */
function lagGauges(metrics: Metrics, clock: Clock, lanes: () => Iterable<ResponseLane>): void {
  metrics.gauge({
    name: 'correlator_lag_records',
    help: 'Responses that are on their topic and were not matched with waits yet.',
    labels: ['partition'],
    collect: (gauge) => {
      gauge.reset()
      for (const lane of lanes())
        gauge.set({ partition: String(lane.partition) }, lane.lag(clock.now()).records)
    },
  })
  metrics.gauge({
    name: 'correlator_lag_seconds',
    help: 'Age of the oldest response that was read and not matched yet; 0 when there is none.',
    labels: ['partition'],
    collect: (gauge) => {
      gauge.reset()
      for (const lane of lanes())
        gauge.set({ partition: String(lane.partition) }, lane.lag(clock.now()).seconds)
    },
  })
  metrics.gauge({
    name: 'correlator_bytes',
    help: 'Bytes of responses that were read and not matched yet.',
    collect: (gauge) => {
      let bytes = 0
      for (const lane of lanes()) bytes += lane.bytes
      gauge.set(bytes)
    },
  })
}
