import type { OutgoingRecord } from '../records.ts'
import { crc32c } from './crc32c.ts'

interface ProduceBatch {
  readonly partition: number
  readonly firstSequence: number
  readonly records: readonly Pick<OutgoingRecord, 'key' | 'value' | 'headers'>[]
}

export interface ProduceBody {
  /** How long the leader may wait for its replicas (ms). */
  readonly timeoutMs: number
  readonly producerId: string
  readonly producerEpoch: number
  /** Milliseconds since 1970, of all records; topics with LogAppendTime replace it. */
  readonly timestamp: number
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly ProduceBatch[] }[]
}

/** acks=all: every in-sync replica. */
const ACKS = -1
const MAGIC = 2
/** Record batch, before its records: base offset (8), length (4), leader epoch (4), magic (1), CRC (4), … count (4). */
const BATCH_HEAD_BYTES = 61
/** The batch's length counts what follows the length itself. */
const LENGTH_COUNTS_FROM = 12
/** The CRC covers what follows the CRC itself. */
const CRC_COVERS_FROM = 21

/**
 * The body of a produce request (versions 3 to 7) with acks=all, uncompressed: the same bytes as kafkajs's.
 *
 * kafkajs makes a buffer of 512 zeroed bytes for each record and for each of its headers, and copies each of them up four
 * levels. An event has nine headers: that was half of all CPU the gateway used in batches of 100. Here everything is
 * measured first and then written once, into one buffer.
 */
export function encodeProduce(body: ProduceBody): Buffer {
  const sized = body.topics.map(({ topic, partitions }) => ({
    topic,
    partitions: partitions.map((batch) => ({ batch, ...sizesOf(batch) })),
  }))
  let total = 2 + 2 + 4 + 4
  for (const { topic, partitions } of sized) {
    total += 2 + Buffer.byteLength(topic) + 4
    for (const { bytes } of partitions) total += 4 + 4 + bytes
  }
  const writer = new Writer(Buffer.allocUnsafe(total))
  // No transaction.
  writer.int16(-1)
  writer.int16(ACKS)
  writer.int32(body.timeoutMs)
  writer.int32(sized.length)
  for (const { topic, partitions } of sized) {
    writer.int16(Buffer.byteLength(topic))
    writer.part(topic)
    writer.int32(partitions.length)
    for (const { batch, bytes, recordBytes } of partitions) {
      writer.int32(batch.partition)
      writer.int32(bytes)
      writeBatch(writer, { body, batch, bytes, recordBytes })
    }
  }
  return writer.buffer
}

interface BatchSizes {
  /** Of the whole batch. */
  bytes: number
  /** Of each record, without its length. */
  recordBytes: number[]
}

function sizesOf({ records }: ProduceBatch): BatchSizes {
  let bytes = BATCH_HEAD_BYTES
  const recordBytes = records.map(({ key, value, headers }, offsetDelta) => {
    // Attributes and timestamp delta, both always 0.
    let size = 2 + varIntBytes(offsetDelta) + sizeOfPart(key) + sizeOfPart(value)
    let count = 0
    for (const name in headers) {
      count += 1
      size += sizeOfPart(name) + sizeOfPart(headers[name] ?? null)
    }
    size += varIntBytes(count)
    bytes += varIntBytes(size) + size
    return size
  })
  return { bytes, recordBytes }
}

interface WriteBatch extends BatchSizes {
  body: ProduceBody
  batch: ProduceBatch
}

function writeBatch(writer: Writer, { body, batch, bytes, recordBytes }: WriteBatch): void {
  const { records, firstSequence } = batch
  const start = writer.position
  // The base offset is the broker's to give.
  writer.int64(0n)
  writer.int32(bytes - LENGTH_COUNTS_FROM)
  writer.int32(0)
  writer.int8(MAGIC)
  const crcAt = writer.position
  writer.int32(0)
  writer.int16(0)
  writer.int32(records.length - 1)
  const timestamp = BigInt(body.timestamp)
  writer.int64(timestamp)
  writer.int64(timestamp)
  writer.int64(BigInt(body.producerId))
  writer.int16(body.producerEpoch)
  writer.int32(firstSequence)
  writer.int32(records.length)
  for (const [offsetDelta, record] of records.entries())
    writeRecord(writer, record, offsetDelta, recordBytes[offsetDelta] ?? 0)
  writer.buffer.writeUInt32BE(crc32c(writer.buffer, start + CRC_COVERS_FROM, writer.position), crcAt)
}

function writeRecord(
  writer: Writer,
  { key, value, headers }: ProduceBatch['records'][number],
  offsetDelta: number,
  bytes: number,
): void {
  writer.varInt(bytes)
  writer.int8(0)
  writer.varInt(0)
  writer.varInt(offsetDelta)
  writer.sizedPart(key)
  writer.sizedPart(value)
  writer.varInt(Object.keys(headers).length)
  for (const name in headers) {
    writer.sizedPart(name)
    writer.sizedPart(headers[name] ?? null)
  }
}

function sizeOfPart(part: Buffer | string | null): number {
  if (part === null) return 1
  const bytes = Buffer.byteLength(part)
  return varIntBytes(bytes) + bytes
}

/** Kafka's signed variable-length integer: zigzag, seven bits a byte. Only numbers from -1 up to 2^30 occur. */
function varIntBytes(value: number): number {
  let rest = (value << 1) ^ (value >> 31)
  let bytes = 1
  while ((rest & ~0x7f) !== 0) {
    rest >>>= 7
    bytes += 1
  }
  return bytes
}

class Writer {
  readonly buffer: Buffer
  position = 0

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  int8(value: number): void {
    this.position = this.buffer.writeInt8(value, this.position)
  }

  int16(value: number): void {
    this.position = this.buffer.writeInt16BE(value, this.position)
  }

  int32(value: number): void {
    this.position = this.buffer.writeInt32BE(value, this.position)
  }

  int64(value: bigint): void {
    this.position = this.buffer.writeBigInt64BE(value, this.position)
  }

  varInt(value: number): void {
    let rest = (value << 1) ^ (value >> 31)
    while ((rest & ~0x7f) !== 0) {
      this.buffer[this.position++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.buffer[this.position++] = rest
  }

  part(part: Buffer | string): void {
    this.position +=
      typeof part === 'string'
        ? this.buffer.write(part, this.position, 'utf8')
        : part.copy(this.buffer, this.position)
  }

  /** With its length before it; null is the length -1. */
  sizedPart(part: Buffer | string | null): void {
    if (part === null) {
      this.varInt(-1)
      return
    }
    this.varInt(Buffer.byteLength(part))
    this.part(part)
  }
}
