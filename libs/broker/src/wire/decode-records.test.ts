import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeRecords } from './decode-records.ts'
import { Decoder, decodeRecordBatch, requestDefinitions } from './kafkajs-internals.ts'

interface Message {
  key: Buffer | string | null
  value: Buffer | string | null
  headers: Record<string, Buffer | string | (Buffer | string)[]>
  timestamp: number
}
const ATTRIBUTES = 21
const BASE_OFFSET = 0
const MAX_TIMESTAMP = 35

/** A batch as kafkajs writes it. */
async function batchOf(messages: Message[]): Promise<Buffer> {
  const { request } = requestDefinitions.requests['Produce']!.protocol({ version: 7 })({
    acks: -1,
    timeout: 0,
    producerId: '1',
    producerEpoch: 0,
    topicData: [{ topic: 't', partitions: [{ partition: 0, firstSequence: 0, messages }] }],
  })
  const { buffer } = await (request as { encode(): Promise<{ buffer: Buffer }> }).encode()
  const beforeBatch = 2 + 2 + 4 + 4 + (2 + 1) + 4 + 4 + 4
  return Buffer.from(buffer.subarray(beforeBatch))
}

interface ByKafkajs {
  offset: string
  timestamp: string
  key: Buffer | null
  value: Buffer | null
  headers: Record<string, Buffer | null | (Buffer | null)[]>
}

/** What kafkajs reads: the witness. */
async function byKafkajs(batch: Buffer): Promise<unknown[]> {
  const { records } = (await decodeRecordBatch(new Decoder(batch))) as { records: readonly ByKafkajs[] }
  return records.map((record) => {
    const headers = Object.entries(record.headers).flatMap(([name, given]) => {
      const value = Array.isArray(given) ? given.at(-1) : given
      return value ? [[name, value] as const] : []
    })
    const parts = [record.key, record.value, ...headers.map(([, value]) => value)]
    return {
      offset: Number(record.offset),
      timestamp: Number(record.timestamp),
      key: record.key,
      value: record.value,
      headers: Object.fromEntries(headers),
      bytes:
        parts.reduce((sum, part) => sum + (part?.length ?? 0), 0) +
        headers.reduce((sum, [name]) => sum + name.length, 0),
    }
  })
}

const part = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
)
const message = fc.record({
  key: fc.option(part),
  value: fc.option(part),
  headers: fc.dictionary(
    fc.string({ unit: 'grapheme', minLength: 1 }).filter((name) => name !== '__proto__'),
    fc.oneof(part, fc.array(part, { minLength: 1, maxLength: 3 })),
    { maxKeys: 12 },
  ),
  timestamp: fc.nat(4_102_444_800_000),
})

test('records are what kafkajs reads, by the time of the sender or of the log', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(message, { minLength: 1, maxLength: 40 }),
      fc.nat(Number.MAX_SAFE_INTEGER - 1_000),
      fc.boolean(),
      async (messages, baseOffset, appendTime) => {
        const batch = await batchOf(messages)
        batch.writeBigInt64BE(BigInt(baseOffset), BASE_OFFSET)
        if (appendTime) {
          batch.writeInt16BE(0x08, ATTRIBUTES)
          batch.writeBigInt64BE(1_795_000_000_123n, MAX_TIMESTAMP)
        }
        expect(decodeRecords(batch)).toEqual(await byKafkajs(batch))
      },
    ),
    { numRuns: 150 },
  )
})

test('a compressed batch is not read here', async () => {
  const batch = await batchOf([{ key: null, value: 'v', headers: {}, timestamp: 1 }])
  batch.writeInt16BE(1, ATTRIBUTES)
  expect(decodeRecords(batch)).toBeNull()
})

test('a header named __proto__ is one, and of a header given twice the last counts', async () => {
  const headers = { a: ['1', '2'], ['__proto__']: 'x' }
  const [record] = decodeRecords(await batchOf([{ key: null, value: null, headers, timestamp: 1 }])) ?? []
  expect(Object.keys(record?.headers ?? {})).toContain('a')
  expect(record?.headers['a']?.toString()).toBe('2')
  expect(Object.getPrototypeOf(record?.headers)).toBe(Object.prototype)
})

test('a batch cut short or damaged throws, or is read: it never hangs and never reads beyond its end', async () => {
  const batch = await batchOf(
    Array.from({ length: 5 }, (_, n) => ({
      key: 'key',
      value: 'v'.repeat(n * 40),
      headers: { a: 'b', c: 'd' },
      timestamp: n,
    })),
  )
  for (let end = 61; end < batch.length; end += 1)
    expect(() => decodeRecords(batch.subarray(0, end))).toThrow(RangeError)
  fc.assert(
    fc.property(fc.nat(batch.length - 62), fc.nat(255), (at, byte) => {
      const damaged = Buffer.from(batch)
      damaged[61 + at] = byte
      expect(largestPart(damaged)).toBeLessThan(batch.length)
    }),
    { numRuns: 2_000 },
  )
})

/** Bytes of the largest key and value together; 0 when the batch is refused for its lengths. */
function largestPart(batch: Buffer): number {
  try {
    return Math.max(
      0,
      ...(decodeRecords(batch) ?? []).map(({ key, value }) => (key?.length ?? 0) + (value?.length ?? 0)),
    )
  } catch (error) {
    if (error instanceof RangeError) return 0
    throw error
  }
}
