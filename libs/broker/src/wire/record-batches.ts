import type { IncomingRecord } from '../records.ts'
import { decodeRecords } from './decode-records.ts'
import { Decoder, decodeRecordBatch } from './kafkajs-internals.ts'

/** A transaction of some producer that was aborted, and where it began. */
export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: number
}

/** The visible records of a stretch of the log, and where it ends. */
export interface DecodedStretch {
  readonly records: IncomingRecord[]
  /** After the last whole batch; the offset asked for when there was none. */
  readonly nextOffset: number
  /** A batch that could not be decoded ends the stretch; what came before it is good. */
  readonly fault: { readonly offset: number; readonly nextOffset: number; readonly message: string } | null
}

// Record batch, version 2: fixed places of what is needed before (or instead of) decoding its records.
const BASE_OFFSET = 0
const LENGTH = 8
const MAGIC = 16
const ATTRIBUTES = 21
const LAST_OFFSET_DELTA = 23
const PRODUCER_ID = 43
const HEADER_BYTES = 61
const LENGTH_END = 12
const TRANSACTIONAL = 0x10
const CONTROL = 0x20
const MAGIC_2 = 2
const CONTROL_TYPE = 2
const ABORT = 0

/**
 * Decodes what a fetch gave of one partition.
 *
 * kafkajs hands over records only: where a batch of nothing but compacted, aborted or control records ends is lost, so a
 * reader cannot know whether an offset was never there or has not come yet. A batch says its own last offset; here each
 * whole batch moves `nextOffset`, whatever is in it. (It also spreads all records into one call's arguments, a RangeError
 * past some 120,000 records.)
 */
export async function decodeStretch(
  bytes: Buffer,
  fetchedOffset: number,
  aborted: readonly AbortedTransaction[],
): Promise<DecodedStretch> {
  const records: IncomingRecord[] = []
  const waiting = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset)
  const active = new Set<bigint>()
  let nextOffset = fetchedOffset
  let at = 0
  while (bytes.length - at >= HEADER_BYTES) {
    const end = at + LENGTH_END + bytes.readInt32BE(at + LENGTH)
    // The last batch may be cut where the fetch's limit fell.
    if (end > bytes.length) break
    const batch = bytes.subarray(at, end)
    const baseOffset = Number(batch.readBigInt64BE(BASE_OFFSET))
    const batchEnd = baseOffset + batch.readInt32BE(LAST_OFFSET_DELTA) + 1
    at = end
    if (batchEnd <= nextOffset) continue
    try {
      await takeVisible(batch, { nextOffset, batchEnd }, { waiting, active }, records)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      return { records, nextOffset, fault: { offset: nextOffset, nextOffset: batchEnd, message } }
    }
    nextOffset = batchEnd
  }
  return { records, nextOffset, fault: null }
}

interface Transactions {
  readonly waiting: AbortedTransaction[]
  readonly active: Set<bigint>
}

async function takeVisible(
  batch: Buffer,
  { nextOffset, batchEnd }: { nextOffset: number; batchEnd: number },
  { waiting, active }: Transactions,
  into: IncomingRecord[],
): Promise<void> {
  if (batch.readInt8(MAGIC) !== MAGIC_2) throw new Error('a message set from before Kafka 0.11')
  const attributes = batch.readInt16BE(ATTRIBUTES)
  const producerId = batch.readBigInt64BE(PRODUCER_ID)
  while (waiting[0] !== undefined && waiting[0].firstOffset < batchEnd) {
    const transaction = waiting.shift()
    if (transaction !== undefined) active.add(transaction.producerId)
  }
  if ((attributes & CONTROL) !== 0) {
    const { records } = await decodeRecordBatch(new Decoder(batch))
    const key = records[0]?.key
    if (key?.readInt16BE(CONTROL_TYPE) === ABORT) active.delete(producerId)
    return
  }
  if ((attributes & TRANSACTIONAL) !== 0 && active.has(producerId)) return
  const records = decodeRecords(batch) ?? (await decodeCompressed(batch))
  // A compressed batch comes whole, also when the fetch began in its middle.
  for (const record of records) if (record.offset >= nextOffset) into.push(record)
}

async function decodeCompressed(batch: Buffer): Promise<IncomingRecord[]> {
  const { records } = await decodeRecordBatch(new Decoder(batch))
  return records.map((record) => incoming(Number(record.offset), record))
}

function incoming(
  offset: number,
  record: Awaited<ReturnType<typeof decodeRecordBatch>>['records'][number],
): IncomingRecord {
  let bytes = (record.key?.length ?? 0) + (record.value?.length ?? 0)
  const headers: Record<string, Buffer> = {}
  for (const name of Object.keys(record.headers)) {
    const given = record.headers[name]
    const value = Array.isArray(given) ? given.at(-1) : given
    if (value === null || value === undefined) continue
    bytes += name.length + value.length
    // A header named `__proto__` is a header, not the prototype.
    if (name === '__proto__') Object.defineProperty(headers, name, { value, enumerable: true })
    else headers[name] = value
  }
  return { offset, timestamp: Number(record.timestamp), key: record.key, value: record.value, headers, bytes }
}
