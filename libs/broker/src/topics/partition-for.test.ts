import { describe, expect, it } from 'vitest'
import { murmur2, partitionFor } from './partition-for.ts'

describe("a key's partition", () => {
  // From Kafka's own UtilsTest.
  it.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])("murmur2(%s) is what Java's client computes", (text, hash) => {
    expect(murmur2(Buffer.from(text))).toBe(hash)
  })

  it('is the hash without its sign, modulo the partitions, for text and bytes alike', () => {
    expect(partitionFor('21', 12)).toBe((-973932308 & 0x7fffffff) % 12)
    expect(partitionFor(Buffer.from('21'), 12)).toBe(partitionFor('21', 12))
    expect(partitionFor('', 1)).toBe(0)
  })

  it('is of the UTF-8 bytes of a text', () => {
    expect(partitionFor('köln', 1_000)).toBe(partitionFor(Buffer.from('köln', 'utf8'), 1_000))
  })
})
