import { BrokerError, topicAcl } from './broker-error.ts'
import type { Cluster } from './wire/cluster.ts'
import { failOn, topicView, withLeaders } from './wire/partition-leader.ts'

/** Special timestamps of Kafka's ListOffsets. */
const EARLIEST = -2
const LATEST = -1
const READ_UNCOMMITTED = 0
const READ_COMMITTED = 1

export interface OffsetRange {
  /** The oldest offset still kept. */
  readonly low: number
  /** The next offset to be written. */
  readonly high: number
}

interface ListOffsetsAnswer {
  responses: { topic: string; partitions: { partition: number; errorCode: number; offset: string }[] }[]
}

/** The low and high mark of every partition of a topic. Throws `unknown_topic`, or what kept it from asking for 5 s. */
export async function offsetsOf(
  cluster: Cluster,
  topic: string,
  signal?: AbortSignal,
): Promise<Map<number, OffsetRange>> {
  return await withLeaders(async () => {
    const [low, high] = [
      await listOffsets(cluster, topic, EARLIEST),
      await listOffsets(cluster, topic, LATEST),
    ]
    return new Map(
      [...low].map(([partition, offset]) => [
        partition,
        { low: offset, high: high.get(partition) ?? offset },
      ]),
    )
  }, signal)
}

/** Per partition the first offset whose record is not older than `timestampMs`; null where there is none. */
export async function offsetsForTime(
  cluster: Cluster,
  topic: string,
  timestampMs: number,
  signal?: AbortSignal,
): Promise<Map<number, number | null>> {
  return await withLeaders(async () => {
    const found = await listOffsets(cluster, topic, Math.max(0, timestampMs))
    return new Map([...found].map(([partition, offset]) => [partition, offset < 0 ? null : offset]))
  }, signal)
}

/**
 * Per partition where a reader of committed data may get to now: the high mark, or the first record of a transaction that is
 * still open. All that was acknowledged and committed lies before it. Throws as {@link offsetsOf}.
 */
export async function stableEndsOf(
  cluster: Cluster,
  topic: string,
  signal?: AbortSignal,
): Promise<Map<number, number>> {
  return await withLeaders(async () => await listOffsets(cluster, topic, LATEST, READ_COMMITTED), signal)
}

async function listOffsets(
  cluster: Cluster,
  topic: string,
  timestamp: number,
  isolationLevel = READ_UNCOMMITTED,
): Promise<Map<number, number>> {
  const { leaders } = await topicView(cluster, topic)
  const byLeader = new Map<number, number[]>()
  for (const [partition, leader] of leaders.entries()) {
    if (leader === null) {
      throw new BrokerError('leader_not_available', `partition ${partition} of ${topic} has no leader now`, {
        retryable: true,
      })
    }
    byLeader.set(leader, [...(byLeader.get(leader) ?? []), partition])
  }
  const answers = await Promise.all(
    [...byLeader].map(async ([leader, partitions]) => {
      const answer = await cluster.linkTo(leader).request<ListOffsetsAnswer>(
        'ListOffsets',
        {
          isolationLevel,
          topics: [{ topic, partitions: partitions.map((partition) => ({ partition, timestamp })) }],
        },
        { raw: true },
      )
      return answer.responses.flatMap((response) => response.partitions)
    }),
  )
  return new Map(
    answers.flat().map(({ partition, errorCode, offset }) => {
      failOn(errorCode, `offsets of ${topic}/${partition}`, topicAcl('Describe', topic))
      return [partition, Number(offset)]
    }),
  )
}
