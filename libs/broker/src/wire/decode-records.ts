import type { IncomingRecord } from '../records.ts'

// Record batch, version 2: fixed places of what its records build on.
const BASE_OFFSET = 0
const ATTRIBUTES = 21
const FIRST_TIMESTAMP = 27
const MAX_TIMESTAMP = 35
const RECORD_COUNT = 57
const RECORDS = 61
const CODEC = 0x07
const LOG_APPEND_TIME = 0x08
/** An int32 in seven bits a byte, and an int64. */
const VARINT_BYTES_MAX = 5
const VARLONG_BYTES_MAX = 10

/**
 * The records of a whole, uncompressed batch; null: it is compressed, which is for kafkajs to undo.
 *
 * kafkajs copies the object of all headers once for each header, and makes a decoder for each record and long integers for
 * each offset: seven kilobytes for an event of 180 bytes, a third of what an event cost the trigger service. Like its
 * decoder this one checks no CRC (TCP and the broker did); what does not fit its own lengths throws.
 *
 * Keys, values and headers are views of the batch: who keeps one keeps the whole answer of the fetch.
 */
export function decodeRecords(batch: Buffer): IncomingRecord[] | null {
  const attributes = batch.readInt16BE(ATTRIBUTES)
  if ((attributes & CODEC) !== 0) return null
  const baseOffset = Number(batch.readBigInt64BE(BASE_OFFSET))
  const firstTimestamp = Number(batch.readBigInt64BE(FIRST_TIMESTAMP))
  const appendTime = (attributes & LOG_APPEND_TIME) === 0 ? null : Number(batch.readBigInt64BE(MAX_TIMESTAMP))
  const count = batch.readInt32BE(RECORD_COUNT)
  const reader = new Reader(batch, RECORDS)
  const records: IncomingRecord[] = []
  for (let i = 0; i < count; i += 1) {
    const length = reader.varInt()
    const end = reader.at + length
    if (length < 0 || end > batch.length) throw new RangeError(`record ${i} of the batch has ${length} bytes`)
    // Attributes of a record: none are in use.
    reader.at += 1
    const timestamp = firstTimestamp + reader.varLong()
    const offset = baseOffset + reader.varInt()
    const key = reader.part()
    const value = reader.part()
    const bytes = (key?.length ?? 0) + (value?.length ?? 0)
    const headers = reader.headers()
    if (reader.at > end) throw new RangeError(`record ${i} of the batch is longer than it says`)
    reader.at = end
    records.push({
      offset,
      timestamp: appendTime ?? timestamp,
      key,
      value,
      headers,
      bytes: bytes + bytesOf(headers),
    })
  }
  return records
}

function bytesOf(headers: Record<string, Buffer>): number {
  let bytes = 0
  for (const name in headers) bytes += name.length + (headers[name]?.length ?? 0)
  return bytes
}

class Reader {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  #byte(): number {
    const byte = this.#bytes[this.at]
    if (byte === undefined) throw new RangeError('the batch ends in the middle of a record')
    this.at += 1
    return byte
  }

  /** Zigzag: the sign is the lowest bit. */
  varInt(): number {
    let raw = 0
    for (let i = 0; i < VARINT_BYTES_MAX; i += 1) {
      const byte = this.#byte()
      raw |= (byte & 0x7f) << (i * 7)
      if (byte < 0x80) return (raw >>> 1) ^ -(raw & 1)
    }
    throw new RangeError('an integer of more than 32 bits')
  }

  /** Beyond 2^53 it is rounded, as every number here. */
  varLong(): number {
    let raw = 0
    let scale = 1
    for (let i = 0; i < VARLONG_BYTES_MAX; i += 1) {
      const byte = this.#byte()
      raw += (byte & 0x7f) * scale
      if (byte < 0x80) return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2
      scale *= 0x80
    }
    throw new RangeError('an integer of more than 64 bits')
  }

  /** With its length before it; -1 is null. */
  part(): Buffer | null {
    const length = this.varInt()
    if (length === -1) return null
    return this.#bytes.subarray(this.#advance(length), this.at)
  }

  /** Returns where it was. */
  #advance(length: number): number {
    const start = this.at
    if (length < 0 || start + length > this.#bytes.length)
      throw new RangeError(`${length} bytes that the batch does not have`)
    this.at += length
    return start
  }

  /** The last value of each; a null takes back what was given before. */
  headers(): Record<string, Buffer> {
    const headers: Record<string, Buffer> = {}
    for (let left = this.varInt(); left > 0; left -= 1) {
      const nameBytes = this.varInt()
      const name = this.#bytes.toString('utf8', this.#advance(nameBytes), this.at)
      const value = this.part()
      if (value === null) Reflect.deleteProperty(headers, name)
      // A header named `__proto__` is a header, not the prototype.
      else if (name === '__proto__')
        Object.defineProperty(headers, name, { value, enumerable: true, configurable: true, writable: true })
      else headers[name] = value
    }
    return headers
  }
}
