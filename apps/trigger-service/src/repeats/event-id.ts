import { type EventRecord, limits } from '@headrace/schemas'
import { type EventIdEntry, storableName } from '@headrace/store'

/** 24 h by the log's time: so far apart a second event with the id of another is known for a repeat, and as a rule longer. */
export const REPEATS_KNOWN_MS = 24 * 3_600_000

/** The source of what a run publishes; refused from outside. The id is `<run>/<step>`. */
const RUN_SOURCE = 'headrace:run'

/** An event's id as it is entered. `incarnation`: that of its partition. */
export function entryOf(event: EventRecord, incarnation: number): EventIdEntry {
  const { stream, source, id, partition, sequenceId, createdAt } = event
  return {
    stream,
    source: storableName(source),
    id: storableName(id),
    incarnation,
    partition,
    sequenceId,
    // A foreign topic has its senders' clocks: a time that Postgres cannot hold would stop the lane.
    logTimeMs: Math.min(Math.max(createdAt, 0), limits.timeMsMax),
    runId: runOf(source, id),
  }
}

/** The run that published an event; null for any other event, also one that only says so. */
function runOf(source: string, id: string): string | null {
  if (source !== RUN_SOURCE) return null
  const run = id.slice(0, id.indexOf('/'))
  return uuid.test(run) ? run : null
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
