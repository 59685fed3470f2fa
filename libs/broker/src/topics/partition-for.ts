const SEED = 0x9747b28c
const M = 0x5bd1e995
const R = 24

/** Murmur2 as Kafka's Java client computes it (32 bits, seed 0x9747b28c). The result is a signed 32-bit number. */
export function murmur2(data: Uint8Array): number {
  const { length } = data
  let h = SEED ^ length
  const whole = length - (length % 4)
  for (let i = 0; i < whole; i += 4) {
    let k = byte(data, i) | (byte(data, i + 1) << 8) | (byte(data, i + 2) << 16) | (byte(data, i + 3) << 24)
    k = Math.imul(k, M)
    k ^= k >>> R
    k = Math.imul(k, M)
    h = Math.imul(h, M) ^ k
  }
  const rest = length % 4
  if (rest === 3) h ^= byte(data, whole + 2) << 16
  if (rest >= 2) h ^= byte(data, whole + 1) << 8
  if (rest >= 1) h = Math.imul(h ^ byte(data, whole), M)
  h ^= h >>> 13
  h = Math.imul(h, M)
  return h ^ (h >>> 15)
}

/**
 * The partition of a key, as Java's default partitioner chooses it, so that producers of any language agree.
 * `partitions` is the topic's partition count, at least 1.
 */
export function partitionFor(key: Buffer | string, partitions: number): number {
  return (murmur2(typeof key === 'string' ? Buffer.from(key) : key) & 0x7fffffff) % partitions
}

function byte(data: Uint8Array, index: number): number {
  return data[index] ?? 0
}
