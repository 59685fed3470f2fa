import type { Broker } from '@headrace/broker'
import type { NewProjection } from '@headrace/store'
import type { ProjectionTrigger } from '../triggers/lane-trigger.ts'

/** A partition that was never projected. */
export interface UnprojectedPartition {
  readonly trigger: ProjectionTrigger
  readonly partition: number
  /** The end of its log, taken before. */
  readonly high: number
}

/**
 * Where partitions of one stream begin to be projected: at the first event from the time on from which somebody wants
 * them, so on a partition that is newer than that at its first. Where there is no such event, at an end of the log that was
 * taken before that was asked: one that came in between is found, or lies behind that end.
 */
export async function newProjections(
  partitions: readonly UnprojectedPartition[],
  parts: { broker: Pick<Broker, 'offsetsForTime'>; topic: string; signal: AbortSignal },
): Promise<NewProjection[]> {
  const [first] = partitions
  if (first === undefined) return []
  const { stream, projectedFrom } = first.trigger
  const { broker, topic, signal } = parts
  const found = await broker.offsetsForTime(topic, projectedFrom, { signal })
  return partitions.flatMap(({ partition, high }) => {
    const offset = found.get(partition)
    // A partition that Kafka told of a moment ago, and not now: the next sweep asks again.
    return offset === undefined ? [] : [{ stream, partition, projectedFrom, fromOffset: offset ?? high }]
  })
}
