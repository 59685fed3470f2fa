import type { IncomingRecord, StreamCatalog } from '@headrace/broker'
import { type Clock, limited, type Logger } from '@headrace/service'
import { type LaneRecord, readRecords, type RecordPlace } from './lane-record.ts'

const PAUSE_FIRST_MS = 50
const PAUSE_MAX_MS = 3_000
const LOG_EVERY_MS = 10_000

export interface ReadUntilKnown {
  readonly streams: Pick<StreamCatalog, 'reader'>
  readonly log: Logger
  readonly clock: Clock
}

/**
 * Reads records of a lane, at once where nothing is missing, and asks until there is an answer where a schema is: an outage of
 * the registry is no reason to set a record aside. Rejects only when the lane's signal is aborted.
 */
export function readUntilKnown(
  parts: ReadUntilKnown,
  lane: RecordPlace & { readonly signal: AbortSignal },
  records: readonly IncomingRecord[],
): LaneRecord[] | Promise<LaneRecord[]> {
  const read = readRecords(parts.streams, lane, records, lane.signal)
  return read instanceof Promise ? untilKnown(parts, lane, records, read) : read
}

async function untilKnown(
  { streams, log, clock }: ReadUntilKnown,
  lane: RecordPlace & { readonly signal: AbortSignal },
  records: readonly IncomingRecord[],
  first: Promise<LaneRecord[]>,
): Promise<LaneRecord[]> {
  const { stream, partition, signal } = lane
  let reading: LaneRecord[] | Promise<LaneRecord[]> = first
  for (let failures = 0; ; failures += 1) {
    try {
      return await reading
    } catch (error) {
      signal.throwIfAborted()
      limited(log, `schemas/${stream}`, LOG_EVERY_MS, clock).error(
        { event: 'lane.schemas_missing', code: 'schema_registry_unavailable', stream, partition, err: error },
        'records name schemas that cannot be asked for; their lane waits',
      )
      await clock.sleep(Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** failures), signal)
      reading = readRecords(streams, lane, records, signal)
    }
  }
}
