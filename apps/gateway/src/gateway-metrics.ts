import type { Metrics } from '@headrace/service'
import type { Admission } from './ingest/admission.ts'

/** What the gateway counts (its request metrics come with the HTTP server). */
export interface GatewayMetrics {
  accepted(stream: string): void
  /** `reason` is a problem code. */
  rejected(reason: string, events: number): void
  produced(events: number, seconds: number): void
  producerRecreated(): void
}

/** Events of one request: from one to the limit of a request. */
const BATCH_BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]

export function createGatewayMetrics(
  metrics: Metrics,
  { inFlight }: Pick<Admission, 'inFlight'>,
): GatewayMetrics {
  const events = metrics.counter({
    name: 'gateway_events_total',
    help: 'Events accepted: written, and held by all in-sync replicas.',
    labels: ['stream'],
  })
  const rejected = metrics.counter({
    name: 'gateway_rejected_events_total',
    help: 'Events that were not accepted, by problem code. A body that could not be read counts as one.',
    labels: ['reason'],
  })
  const seconds = metrics.histogram({
    name: 'gateway_produce_seconds',
    help: 'Time from handing the events of a request to the producer to their last outcome.',
  })
  const batch = metrics.histogram({
    name: 'gateway_batch_events',
    help: 'Events of one request.',
    buckets: BATCH_BUCKETS,
  })
  const recreated = metrics.counter({
    name: 'kafka_producer_recreated_total',
    help: 'Producers thrown away because the fate of a send was unknown.',
  })
  metrics.gauge({
    name: 'gateway_inflight_bytes',
    help: 'Bytes of request bodies between arrival and answer.',
    collect: (gauge) => gauge.set(inFlight.bytes),
  })
  metrics.gauge({
    name: 'gateway_inflight_events',
    help: 'Events between arrival and answer.',
    collect: (gauge) => gauge.set(inFlight.events),
  })
  // The label look-up of a counter costs more than the count; streams are at most 200.
  const eventsByStream = new Map<string, { inc(): void }>()
  return {
    accepted(stream) {
      let child = eventsByStream.get(stream)
      if (child === undefined) {
        child = events.labels({ stream })
        eventsByStream.set(stream, child)
      }
      child.inc()
    },
    rejected: (reason, count) => rejected.inc({ reason }, count),
    producerRecreated: () => recreated.inc(),
    produced(count, value) {
      batch.observe(count)
      seconds.observe(value)
    },
  }
}
