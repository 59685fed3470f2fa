/** From `from` on, up to but without `to`. */
export interface OffsetRange {
  readonly from: number
  readonly to: number
}

const MULTIRANGE = /^\{(?:\[\d+,\d+\)(?:,\[\d+,\d+\))*)?\}$/
const RANGE = /\[(\d+),(\d+)\)/g

/** Offsets as ranges that neither touch nor overlap, in order: an int8multirange of Postgres, in memory. Changed in place. */
export class OffsetRanges {
  readonly #froms: number[]
  readonly #tos: number[]

  constructor(copied?: OffsetRanges) {
    this.#froms = copied === undefined ? [] : [...copied.#froms]
    this.#tos = copied === undefined ? [] : [...copied.#tos]
  }

  /** Reads what Postgres shows of an int8multirange. Throws RangeError when it is none. */
  static parse(text: string): OffsetRanges {
    if (!MULTIRANGE.test(text))
      throw new RangeError(`not an int8multirange of offsets: ${text.slice(0, 100)}`)
    const ranges = new OffsetRanges()
    for (const [, from, to] of text.matchAll(RANGE)) ranges.add({ from: Number(from), to: Number(to) })
    return ranges
  }

  /** How many ranges it takes. */
  get size(): number {
    return this.#froms.length
  }

  /** The first offset behind all of them; 0 when there are none. */
  get end(): number {
    return this.#tos.at(-1) ?? 0
  }

  /** The range that an offset is in. */
  at(offset: number): OffsetRange | null {
    const index = this.#firstEndingAfter(offset)
    const from = this.#froms[index]
    const to = this.#tos[index]
    return from !== undefined && to !== undefined && from <= offset ? { from, to } : null
  }

  add({ from, to }: OffsetRange): void {
    // Those that it touches or overlaps become one with it.
    const first = this.#firstEndingAfter(from - 1)
    let last = first
    let low = from
    let high = to
    for (; last < this.#froms.length && (this.#froms[last] ?? 0) <= to; last += 1) {
      low = Math.min(low, this.#froms[last] ?? low)
      high = Math.max(high, this.#tos[last] ?? high)
    }
    this.#froms.splice(first, last - first, low)
    this.#tos.splice(first, last - first, high)
  }

  dropBelow(offset: number): void {
    const kept = this.#firstEndingAfter(offset)
    if (kept > 0) {
      this.#froms.splice(0, kept)
      this.#tos.splice(0, kept)
    }
    const [first] = this.#froms
    if (first !== undefined && first < offset) this.#froms[0] = offset
  }

  toString(): string {
    return `{${this.#froms.map((from, index) => `[${from},${this.#tos[index] ?? from})`).join(',')}}`
  }

  /** The index of the first range of which something lies behind `offset`, or of where it would be. */
  #firstEndingAfter(offset: number): number {
    let low = 0
    let high = this.#tos.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#tos[middle] ?? 0) > offset) high = middle
      else low = middle + 1
    }
    return low
  }
}
