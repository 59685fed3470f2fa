import type { BrokerLogger } from '../broker-config.ts'
import { codeOf, messageOf } from '../broker-error.ts'
import { offsetsOf } from '../offsets.ts'
import type { TopicPartitions } from '../records.ts'
import type { Cluster } from '../wire/cluster.ts'
import type { AssignedLane } from './assigned-lane.ts'
import type { GroupMember } from './group-member.ts'
import type { LanedConsumerOptions } from './lane.ts'
import { WakeUp } from './wake-up.ts'

/** Pause before an owner that could not say where to start is asked again (ms). */
const ASK_AGAIN_MS = 500

export interface StartParts {
  readonly options: LanedConsumerOptions
  readonly member: GroupMember
  readonly cluster: Cluster
  readonly logger: BrokerLogger
  readonly context: { generation: number; all: readonly TopicPartitions[]; signal: AbortSignal }
  readonly onStarted: () => void
}

/**
 * Finds where new lanes start: the owner's word, else the group's offset, else an end of the log. Tries for as long as the
 * lanes are ours; no record is fetched for them before. (kafkajs fetches from the group's offset at once, before an owner
 * could load its cursors.) A lane that was sought meanwhile keeps that position.
 */
export async function startPositions(added: readonly AssignedLane[], parts: StartParts): Promise<void> {
  const pause = new WakeUp()
  for (;;) {
    const open = added.filter((lane) => !lane.lost && lane.position === null)
    if (open.length === 0 || parts.context.signal.aborted) return
    try {
      const starts = await startsOf(open, parts)
      for (const lane of open) {
        const start = starts.get(lane.key)
        if (!lane.lost && lane.position === null && start !== undefined) lane.seek(start)
      }
      parts.onStarted()
      return
    } catch (error) {
      const { logger, options } = parts
      logger.warn(
        { event: 'kafka.lanes_not_started', group: options.groupId, lanes: open.length, code: codeOf(error) },
        `where lanes start is not known yet: ${messageOf(error)}`,
      )
      await pause.wait(ASK_AGAIN_MS)
    }
  }
}

async function startsOf(lanes: readonly AssignedLane[], parts: StartParts): Promise<Map<string, number>> {
  const { options, member, cluster, context } = parts
  const starts = new Map<string, number>()
  const said = await options.onAssigned?.(byTopic(lanes), context)
  for (const { key } of lanes) {
    const start = said?.get(key) ?? null
    if (start !== null) starts.set(key, start)
  }
  const unsaid = lanes.filter(({ key }) => !starts.has(key))
  if (unsaid.length === 0) return starts
  for (const { topic, partition, offset } of await member.committed(unsaid))
    starts.set(`${topic}/${partition}`, offset)
  for (const { topic } of byTopic(unsaid.filter(({ key }) => !starts.has(key)))) {
    const marks = await offsetsOf(cluster, topic, context.signal)
    for (const { key, partition } of unsaid.filter((lane) => lane.topic === topic && !starts.has(lane.key))) {
      const mark = marks.get(partition)
      if (mark !== undefined) starts.set(key, options.fromBeginning ? mark.low : mark.high)
    }
  }
  return starts
}

function byTopic(lanes: readonly AssignedLane[]): TopicPartitions[] {
  const topics = new Map<string, number[]>()
  for (const { topic, partition } of lanes) topics.set(topic, [...(topics.get(topic) ?? []), partition])
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }))
}
