import type { Broker } from '@headrace/broker'
import type { BindingRule } from '@headrace/schemas'

type Asked = Pick<Broker, 'offsets' | 'stableEnds' | 'offsetsForTime'>

/** Where a trigger begins on an external stream: per partition, its first offset. */
export async function startOffsets(
  broker: Asked,
  { kafka_topic: topic, start }: BindingRule,
): Promise<Map<number, number>> {
  // Not the high mark: what a transaction that is open now commits later is news.
  if (start === 'latest') return await broker.stableEnds(topic)
  if (start !== 'earliest') return await offsetsFrom(broker, topic, Date.parse(start))
  const marks = await broker.offsets(topic)
  return new Map([...marks].map(([partition, { low }]) => [partition, low]))
}

/** The first offsets not older than a time; the end where there is none. */
export async function offsetsFrom(
  broker: Asked,
  topic: string,
  fromMs: number,
): Promise<Map<number, number>> {
  // The end first: what comes in between is younger than it, and found by its time.
  const ends = await broker.stableEnds(topic)
  const found = await broker.offsetsForTime(topic, fromMs)
  return new Map([...ends].map(([partition, end]) => [partition, found.get(partition) ?? end]))
}
