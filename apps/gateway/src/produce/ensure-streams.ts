import { type StreamDirectory, StreamsRefusedError } from '@headrace/broker'
import { type FieldFault, ProblemError } from '@headrace/schemas'
import type { PreparedEvent } from '../ingest/prepare-events.ts'
import { withinDeadline } from '../kafka-deadline.ts'

/**
 * Every stream of the events exists when this resolves: nothing of them is written before all of it can be. Throws a
 * problem that points at every event whose stream is refused, or what Kafka says.
 */
export async function ensureStreams(
  events: readonly PreparedEvent[],
  streams: StreamDirectory,
  ms: number,
): Promise<void> {
  const wanted = new Set(events.map(({ stream }) => stream))
  if (streams.knowsAll(wanted)) return
  try {
    await withinDeadline(streams.ensure(wanted), ms)
  } catch (error) {
    if (error instanceof StreamsRefusedError) throw refused(events, error)
    throw error
  }
}

function refused(events: readonly PreparedEvent[], error: StreamsRefusedError): ProblemError {
  const { code, message: detail } = error
  const streams = new Set(error.streams)
  const faults = events
    .filter(({ stream }) => streams.has(stream))
    .map(({ topicPointer: pointer }): FieldFault => ({ pointer, code, detail }))
  return ProblemError.fromFaults(faults)
}
