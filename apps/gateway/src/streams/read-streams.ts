import { type Broker, BrokerError, eventsTopic, longStreamNameFault, streamOfTopic } from '@headrace/broker'
import { ProblemError, topicFault, type WireStream } from '@headrace/schemas'

export interface StreamReaderParts {
  broker: Pick<Broker, 'topics' | 'offsets'>
  prefix: string
}

/** What a person sees of a stream, but what the orchestrator knows of it. */
export type StreamOnKafka = Omit<WireStream, 'triggers' | 'waited'>

/** Names of all streams, sorted. */
export async function streamNames({ broker, prefix }: StreamReaderParts): Promise<string[]> {
  const topics = await broker.topics.list(eventsTopic(prefix, '').name)
  return topics.flatMap((topic) => streamOfTopic(prefix, topic) ?? []).sort()
}

/** Whether a stream can have this name at all; Kafka answers other names with an error of another kind. */
export const isStreamName = (prefix: string, stream: string): boolean =>
  !stream.includes('/') && topicFault(stream) === null && longStreamNameFault(prefix, stream) === null

/** Throws `stream_not_found`. A stream whose partitions have no leader now is `unreachable`, not absent. */
export async function readStream(stream: string, parts: StreamReaderParts): Promise<StreamOnKafka> {
  const { broker, prefix } = parts
  if (!isStreamName(prefix, stream)) throw noStream(stream)
  const topic = eventsTopic(prefix, stream).name
  const { known, failed } = await broker.topics.describe([topic])
  if (failed.get(topic) === 'unknown_topic') throw noStream(stream)
  const partitions = known.get(topic)?.partitions ?? 0
  const [marks, configs] = await Promise.all([
    broker.offsets(topic).catch((error: unknown) => {
      if (error instanceof BrokerError && error.code === 'unknown_topic') throw noStream(stream)
      if (error instanceof BrokerError && error.retryable) return null
      throw error
    }),
    broker.topics.configs([topic]),
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
    status: marks === null ? 'unreachable' : 'ok',
  }
}

export const noStream = (stream: string): ProblemError =>
  new ProblemError('stream_not_found', `There is no stream ${stream.slice(0, 200)}`)
