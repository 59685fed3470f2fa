import {
  type BoundStreams,
  type Broker,
  BrokerError,
  eventsTopic,
  longStreamNameFault,
  streamOfTopic,
} from '@headrace/broker'
import { ProblemError, topicFault, type WireStream } from '@headrace/schemas'

export interface StreamReaderParts {
  broker: Pick<Broker, 'topics' | 'offsets'>
  prefix: string
  catalog: BoundStreams
}

/** What a person sees of a stream, but what the orchestrator knows of it. */
export type StreamOnKafka = Omit<WireStream, 'triggers' | 'waited'>

/** Names of all streams, external ones too, sorted. */
export async function streamNames({ broker, prefix, catalog }: StreamReaderParts): Promise<string[]> {
  const topics = await broker.topics.list(eventsTopic(prefix, '').name)
  const own = topics.flatMap((topic) => streamOfTopic(prefix, topic) ?? [])
  return [...new Set([...own, ...catalog.all.map(({ stream }) => stream)])].sort()
}

/** Whether a stream can have this name at all; Kafka answers other names with an error of another kind. */
export const isStreamName = (prefix: string, stream: string): boolean =>
  !stream.includes('/') && topicFault(stream) === null && longStreamNameFault(prefix, stream) === null

/**
 * Throws `stream_not_found`. A stream whose partitions have no leader now is `unreachable`, not absent; and so is an
 * external one whose Kafka topic is not there.
 */
export async function readStream(stream: string, parts: StreamReaderParts): Promise<StreamOnKafka> {
  const { broker, prefix, catalog } = parts
  if (!isStreamName(prefix, stream)) throw noStream(stream)
  const binding = catalog.bindingOf(stream)
  const topic = catalog.topicOf(stream)
  const { known, failed } = await broker.topics.describe([topic])
  if (failed.get(topic) === 'unknown_topic' && binding === null) throw noStream(stream)
  const partitions = known.get(topic)?.partitions ?? 0
  const [marks, configs] = await Promise.all([
    broker.offsets(topic).catch((error: unknown) => {
      const isAbsent = error instanceof BrokerError && error.code === 'unknown_topic'
      if (isAbsent && binding === null) throw noStream(stream)
      if (error instanceof BrokerError && (error.retryable || binding !== null)) return null
      throw error
    }),
    broker.topics.configs([topic]).catch((error: unknown) => {
      // The settings of somebody else's topic may be hidden from us.
      if (binding !== null && error instanceof BrokerError) return new Map<string, never>()
      throw error
    }),
  ])
  const retention = Number(configs.get(topic)?.get('retention.ms')?.value ?? -1)
  const offsetsBy = (mark: 'low' | 'high'): Record<string, number> =>
    Object.fromEntries([...(marks ?? [])].map(([partition, range]) => [String(partition), range[mark]]))
  return {
    name: stream,
    kafka_topic: topic,
    partitions,
    begin: offsetsBy('low'),
    end: offsetsBy('high'),
    retention_ms: retention < 0 ? null : retention,
    external: binding?.rule ?? null,
    status: marks === null ? 'unreachable' : 'ok',
  }
}

export const noStream = (stream: string): ProblemError =>
  new ProblemError('stream_not_found', `There is no stream ${stream.slice(0, 200)}`)
