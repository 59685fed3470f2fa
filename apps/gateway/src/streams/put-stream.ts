import { type Broker, eventsTopic, longStreamNameFault, tooManyStreamsFault } from '@headrace/broker'
import { durationMs, limits, ProblemError, topicFault } from '@headrace/schemas'
import type { Logger } from '@headrace/service'
import { z } from 'zod'

/** Of one topic; more cost every broker and every consumer. */
const PARTITIONS_MAX = 1_000
/** Below it Kafka's own clean-up, which runs every few minutes, decides. */
const RETENTION_MS_LEAST = 60_000
const RETENTION_MS_MAX = 10 * 366 * 24 * 3_600_000

export const putStreamSchema = z.strictObject({
  partitions: z.int().min(1).max(PARTITIONS_MAX).optional(),
  retention: z
    .union([z.string(), z.number()], { error: 'must be a duration such as "7d", or a number of seconds' })
    .transform((duration, context) => {
      const ms = durationMs(duration)
      if (ms !== null && ms >= RETENTION_MS_LEAST && ms <= RETENTION_MS_MAX) return ms
      context.addIssue({
        code: 'custom',
        message: 'must be a duration such as "7d", from 1 minute to 10 years',
      })
      return z.NEVER
    })
    .optional(),
})
export type PutStream = z.infer<typeof putStreamSchema>

export interface PutStreamParts {
  broker: Pick<Broker, 'topics'>
  prefix: string
  /** Where the request names none. */
  partitions: number
  /** HEADRACE_KAFKA_TOPICS. */
  topics: 'create' | 'verify' | 'off'
  log: Logger
}

/**
 * Makes the stream, or changes its retention and raises its number of partitions. Returns whether it was made. With
 * another number the events of a key may go to another partition: between those before and those after there is no order.
 */
export async function putStream(stream: string, wanted: PutStream, parts: PutStreamParts): Promise<boolean> {
  const { broker, prefix, log } = parts
  const named = stream.includes('/') ? 'the name of a stream holds no /' : topicFault(stream)
  const fault = named ?? longStreamNameFault(prefix, stream)
  if (fault !== null) throw new ProblemError('invalid_topic', fault)
  const plan = eventsTopic(prefix, stream)
  const { known, failed } = await broker.topics.describe([plan.name])
  if (failed.get(plan.name) !== 'unknown_topic') {
    await change(stream, wanted, { ...parts, existing: known.get(plan.name)?.partitions ?? null })
    return false
  }
  if (parts.topics !== 'create') {
    const detail = `there is no Kafka topic ${plan.name}, and HEADRACE_KAFKA_TOPICS=${parts.topics} forbids to make it here`
    throw new ProblemError('stream_not_found', detail)
  }
  const tooMany = await tooManyStreamsFault(
    { topics: broker.topics, prefix, streamsMax: limits.streamsMax },
    1,
  )
  if (tooMany !== null) throw new ProblemError('too_many_streams', tooMany)
  const partitions = wanted.partitions ?? parts.partitions
  const retention = wanted.retention === undefined ? {} : { 'retention.ms': String(wanted.retention) }
  await broker.topics.ensureTopics([{ ...plan, config: { ...plan.config, ...retention }, partitions }])
  log.info({ event: 'stream.created', stream, partitions }, `stream ${stream} was made`)
  return true
}

async function change(
  stream: string,
  { partitions, retention }: PutStream,
  { broker, prefix, topics, existing, log }: PutStreamParts & { existing: number | null },
): Promise<void> {
  if (existing !== null && partitions !== undefined && partitions < existing) {
    const detail = `the stream ${stream} has ${existing} partitions: Kafka takes none away, they can only be raised`
    throw new ProblemError('stream_exists', detail)
  }
  const isGrown = existing !== null && partitions !== undefined && partitions > existing
  if (retention === undefined && !isGrown) return
  if (topics !== 'create') {
    const detail = `the stream ${stream} exists, and HEADRACE_KAFKA_TOPICS=${topics} forbids to change it here`
    throw new ProblemError('stream_exists', detail)
  }
  const topic = eventsTopic(prefix, stream).name
  if (retention !== undefined) await broker.topics.alterConfigs(topic, { 'retention.ms': String(retention) })
  if (isGrown) await broker.topics.growTopic(topic, partitions)
  log.info(
    { event: 'stream.changed', stream, retention_ms: retention, partitions },
    `stream ${stream} was changed`,
  )
}
