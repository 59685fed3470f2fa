import type { RangeChunk, ReadRange } from './read-range.ts'
import type { IncomingRecord } from './records.ts'

/** Where one record is to be read. */
export interface ReadRecord {
  topic: string
  partition: number
  offset: number
  signal?: AbortSignal
}

/**
 * The committed record at one offset; null where there is none: not written yet, removed, compacted, aborted or a control
 * record. Throws as `readRange` does.
 */
export async function readRecord(
  broker: { readRange(range: ReadRange): AsyncGenerator<RangeChunk, void, undefined> },
  { offset, ...where }: ReadRecord,
): Promise<IncomingRecord | null> {
  // A single batch comes whole, however large it is.
  for await (const { records } of broker.readRange({ ...where, from: offset, to: offset + 1, maxBytes: 1 })) {
    const record = records.find((candidate) => candidate.offset === offset)
    if (record !== undefined) return record
  }
  return null
}
