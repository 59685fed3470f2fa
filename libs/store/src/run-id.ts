import { randomFillSync } from 'node:crypto'

/** Days in ms: partitions are days of UTC. */
export const dayMs = 86_400_000

const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const randomBytesPerId = 8

/**
 * `count` new run ids (uuid version 7) that sort in the order returned: 48 bits of `nowMs`, 12 bits of the place in
 * this batch, 62 bits of randomness. `nowMs` is to be Postgres's time ({@link ServerClock}), because partitions and
 * lists go by it. Uniqueness does not rest on these bits: the compare-and-set of the cursor does that.
 */
export function newRunIds(count: number, nowMs: number): string[] {
  const random = randomFillSync(Buffer.allocUnsafe(count * randomBytesPerId))
  const ids: string[] = []
  for (let i = 0; i < count; i += 1) {
    // 4,096 places; a longer batch goes on with the next millisecond, so that the order holds.
    const time = Math.trunc(nowMs) + (i >> 12)
    const place = (i & 0xfff).toString(16).padStart(3, '0')
    const at = i * randomBytesPerId
    const byte = (index: number): string => hex[random[at + index] ?? 0] ?? '00'
    const variant = hex[((random[at] ?? 0) & 0x3f) | 0x80] ?? '80'
    const stamp = time.toString(16).padStart(12, '0')
    ids.push(
      `${stamp.slice(0, 8)}-${stamp.slice(8)}-7${place}-${variant}${byte(1)}-${byte(2)}${byte(3)}${byte(4)}${byte(5)}${byte(6)}${byte(7)}`,
    )
  }
  return ids
}

/** The lowest uuid of a time: the bound of partitions, and of "created after". */
export function runIdFloor(timeMs: number): string {
  const stamp = Math.max(0, Math.trunc(timeMs)).toString(16).padStart(12, '0')
  return `${stamp.slice(0, 8)}-${stamp.slice(8)}-0000-0000-000000000000`
}

/** The time inside a run id, ms since 1970. */
export function runIdTime(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}
