/** Castagnoli's polynomial, reflected, as Kafka's record batches use it. Node has only the other CRC-32. */
const POLYNOMIAL = 0x82f63b78

/** Table `k` gives the effect of a byte that has `k` more bytes behind it: eight bytes a step ("slicing by 8"). */
const tables: readonly Uint32Array[] = makeTables()

function makeTables(): Uint32Array[] {
  const first = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    return crc
  })
  const made = [first]
  for (let k = 1; k < 8; k += 1) {
    const before = made[k - 1] ?? first
    made.push(before.map((crc) => (crc >>> 8) ^ at(first, crc & 0xff)))
  }
  return made
}

/** Both indexes are bytes, so there is always a value. */
function at(table: Uint32Array | Uint8Array, index: number): number {
  return table[index] ?? 0
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
]

/** CRC-32C of a stretch of a buffer, as an unsigned number. */
export function crc32c(bytes: Uint8Array, start: number, end: number): number {
  let crc = 0xffffffff
  let i = start
  for (; i + 8 <= end; i += 8) {
    const low =
      crc ^ (at(bytes, i) | (at(bytes, i + 1) << 8) | (at(bytes, i + 2) << 16) | (at(bytes, i + 3) << 24))
    crc =
      at(t7, low & 0xff) ^
      at(t6, (low >>> 8) & 0xff) ^
      at(t5, (low >>> 16) & 0xff) ^
      at(t4, low >>> 24) ^
      at(t3, at(bytes, i + 4)) ^
      at(t2, at(bytes, i + 5)) ^
      at(t1, at(bytes, i + 6)) ^
      at(t0, at(bytes, i + 7))
  }
  for (; i < end; i += 1) crc = (crc >>> 8) ^ at(t0, (crc ^ at(bytes, i)) & 0xff)
  return (crc ^ 0xffffffff) >>> 0
}
