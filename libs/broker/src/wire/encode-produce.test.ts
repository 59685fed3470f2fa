import {
  array,
  assert,
  asyncProperty,
  constant,
  dictionary,
  nat,
  oneof,
  record,
  string,
  uint8Array,
} from 'fast-check'
import { describe, expect, test } from 'vitest'
import { crc32c } from './crc32c.ts'
import { encodeProduce, type ProduceBody } from './encode-produce.ts'
import { requestDefinitions } from './kafkajs-internals.ts'

/** The same request by kafkajs: the witness. */
async function byKafkajs({
  timeoutMs,
  timestamp,
  producerId,
  producerEpoch,
  topics,
}: ProduceBody): Promise<Buffer> {
  const definition = requestDefinitions.requests['Produce']
  const { request } = definition!.protocol({ version: 7 })({
    acks: -1,
    timeout: timeoutMs,
    producerId,
    producerEpoch,
    topicData: topics.map(({ topic, partitions }) => ({
      topic,
      partitions: partitions.map(({ records, ...rest }) => ({
        ...rest,
        messages: records.map((each) => ({ ...each, timestamp })),
      })),
    })),
  })
  return (await (request as { encode(): Promise<{ buffer: Buffer }> }).encode()).buffer
}

const text = string({ unit: 'binary', maxLength: 200 })
const part = oneof(
  text,
  uint8Array({ maxLength: 9_000 }).map((bytes) => Buffer.from(bytes)),
)
const outgoing = record({
  key: oneof(part, constant(null)),
  value: oneof(part, constant(null)),
  headers: dictionary(string({ unit: 'grapheme', minLength: 1 }), part, { maxKeys: 12 }),
})
const batch = record({
  partition: nat(1_000),
  firstSequence: nat(2 ** 31 - 1),
  records: array(outgoing, { minLength: 1, maxLength: 130 }),
})
const body = record({
  timeoutMs: nat(60_000),
  producerId: nat(Number.MAX_SAFE_INTEGER).map(String),
  producerEpoch: nat(32_767),
  timestamp: nat(4_102_444_800_000).map((ms) => ms + 1),
  topics: array(
    record({ topic: string({ maxLength: 249 }), partitions: array(batch, { minLength: 1, maxLength: 3 }) }),
    {
      minLength: 1,
      maxLength: 3,
    },
  ),
})

describe('a produce request', () => {
  test('is byte for byte what kafkajs makes of it', async () => {
    await assert(
      asyncProperty(body, async (request) => {
        expect(encodeProduce(request).equals(await byKafkajs(request))).toBe(true)
      }),
      { numRuns: 60 },
    )
  })
})

test.each([
  ['', 0],
  ['123456789', 0xe3069283],
  ['The quick brown fox jumps over the lazy dog', 0x22620404],
  ['\u0000'.repeat(32), 0x8a9136aa],
])('the CRC-32C of %j is the published one', (input, expected) => {
  const bytes = Buffer.from(`ab${input}c`)
  expect(crc32c(bytes, 2, bytes.length - 1)).toBe(expected)
})
