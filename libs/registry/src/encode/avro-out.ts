import type { Json } from '@headrace/schemas'

/** What the data of an event has that its schema does not take. */
export interface DataFault {
  /** A JSON pointer within the data; empty: the data itself. */
  readonly pointer: string
  readonly detail: string
}

/** Told of one value; whoever sends more that is wrong mends these first. */
export const FAULTS_MAX = 100
/**
 * Values that are looked at for one of data. An event has at most half a million; a value that fits a later type of a union was
 * looked at by the types before, and within a union within a union again.
 */
const VISITS_MAX = 1_000_000
const FIRST_BYTES = 256

/** A token of a JSON pointer. */
export const escaped = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** The bytes of one value as they are written, and what does not fit. */
export class AvroOut {
  /** `default`: a default of a schema, where bytes, logical types and unions are otherwise (Avro 1.12, "Record"). */
  readonly style: 'data' | 'default'
  readonly faults: DataFault[] = []
  #bytes = Buffer.allocUnsafe(FIRST_BYTES)
  #at = 0
  #visits = 0
  /** It is only asked whether the value fits. */
  #isTried = false
  #hasFailed = false
  readonly #path: (string | number)[] = []

  constructor(style: AvroOut['style'] = 'data') {
    this.style = style
  }

  get written(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  /** Nothing more needs to be looked at. */
  get isLost(): boolean {
    return this.#isTried && this.#hasFailed
  }

  fault(detail: string): void {
    this.#hasFailed = true
    if (this.#isTried || this.faults.length >= FAULTS_MAX) return
    const pointer = this.#path
      .map((token) => `/${typeof token === 'number' ? token : escaped(token)}`)
      .join('')
    this.faults.push({ pointer, detail })
  }

  /** Writes what stands under a name or at an index. */
  within(token: string | number, write: () => void): void {
    if (this.isLost) return
    this.#visits += 1
    if (this.#visits > VISITS_MAX) {
      this.fault('takes too long to tell by the unions of its schema')
      return
    }
    this.#path.push(token)
    write()
    this.#path.pop()
  }

  /** Writes where the value fits; else nothing is written, and it is no fault. */
  attempt(write: () => void): boolean {
    const [at, isTried, hasFailed] = [this.#at, this.#isTried, this.#hasFailed]
    this.#isTried = true
    this.#hasFailed = false
    write()
    const fits = !this.#hasFailed
    this.#isTried = isTried
    this.#hasFailed = hasFailed
    if (!fits) this.#at = at
    return fits
  }

  zigzag(value: number | bigint): void {
    if (typeof value === 'number' && Math.abs(value) < 0x4000_0000) {
      this.#varint((value << 1) ^ (value >> 31))
      return
    }
    let left = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n))
    this.#room(10)
    for (; left >= 0x80n; left >>= 7n) this.#bytes[this.#at++] = Number(left & 0x7fn) | 0x80
    this.#bytes[this.#at++] = Number(left)
  }

  byte(value: number): void {
    this.#room(1)
    this.#bytes[this.#at++] = value
  }

  float(value: number): void {
    this.#room(4)
    this.#at = this.#bytes.writeFloatLE(value, this.#at)
  }

  double(value: number): void {
    this.#room(8)
    this.#at = this.#bytes.writeDoubleLE(value, this.#at)
  }

  bytes(value: Uint8Array): void {
    this.#room(value.byteLength)
    this.#bytes.set(value, this.#at)
    this.#at += value.byteLength
  }

  text(value: string): void {
    const length = Buffer.byteLength(value)
    this.zigzag(length)
    this.#room(length)
    this.#at += this.#bytes.write(value, this.#at)
  }

  /** Of a number of at most 31 bits. */
  #varint(value: number): void {
    this.#room(5)
    let left = value >>> 0
    for (; left >= 0x80; left >>>= 7) this.#bytes[this.#at++] = (left & 0x7f) | 0x80
    this.#bytes[this.#at++] = left
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#at + bytes))
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }
}

/** An object, and neither null nor a list. */
export const isFields = (value: Json | undefined): value is { [name: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
