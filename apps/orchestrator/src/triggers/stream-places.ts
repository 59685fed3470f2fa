import type { Broker, OffsetRange } from '@headrace/broker'
import { type FieldFault, ProblemError, type StreamPlace } from '@headrace/schemas'

export interface PlacedStream {
  broker: Pick<Broker, 'offsetsForTime'>
  topic: string
  marks: ReadonlyMap<number, OffsetRange>
  /** Where the place stands in the request, as a JSON pointer. */
  pointer: string
}

/**
 * What a place means on each partition: an offset that the log has, or its end. Of offsets those partitions alone that
 * are named. Throws `invalid_field` where one names a partition that is not there, or an offset that the log has not.
 */
export async function offsetsAt(
  place: StreamPlace,
  { broker, topic, marks, pointer }: PlacedStream,
): Promise<Map<number, number>> {
  if (typeof place === 'object') return named(place.offsets, marks, `${pointer}/offsets`)
  if (place === 'earliest') return new Map([...marks].map(([partition, { low }]) => [partition, low]))
  if (place === 'latest') return new Map([...marks].map(([partition, { high }]) => [partition, high]))
  const found = await broker.offsetsForTime(topic, Date.parse(place))
  // Nothing is so young: what comes next is.
  return new Map([...marks].map(([partition, { high }]) => [partition, found.get(partition) ?? high]))
}

function named(
  offsets: Readonly<Record<string, number>>,
  marks: ReadonlyMap<number, OffsetRange>,
  pointer: string,
): Map<number, number> {
  const faults: FieldFault[] = []
  const placed = new Map<number, number>()
  for (const [name, offset] of Object.entries(offsets)) {
    const own = marks.get(Number(name))
    const fault = (detail: string) =>
      faults.push({ pointer: `${pointer}/${name}`, code: 'invalid_field', detail })
    if (own === undefined) fault('is no partition of the stream')
    else if (offset < own.low || offset > own.high)
      fault(`must be from ${own.low} to ${own.high}: the log has no other offsets`)
    else placed.set(Number(name), offset)
  }
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  return placed
}
