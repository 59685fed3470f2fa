import { type Json, limits } from '@headrace/schemas'
import { Undecodable } from './undecodable.ts'

/**
 * What the JSON of one value may hold, in characters, about: 16 MiB, as much as a request. A payload of some bytes can stand
 * for any number of items that take no bytes, or of fields with long names.
 */
const DECODED_CHARACTERS_MAX = 16 * 1024 * 1024
/** Of a value in JSON beside its text: comma, quotes, colon. */
const NODE_CHARACTERS = 4
/** Seven bits each: what is longer does not fit into a double's 53. */
const NUMBER_VARINT_BYTES = 7
const VARINT_BYTES_MAX = 10

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** How a value of a union is shown: as itself, or as `{"<its type>": value}`, as Avro's own JSON encoding has it. */
export type UnionStyle = 'unwrap' | 'keep'

/**
 * The bytes of one value, read from the front, and what may still be made of them.
 *
 * B1  nothing is read beyond the end: what is too short is `Undecodable`
 * B2  nothing is allocated by a length before the bytes are known to be there
 * B3  what is made is bounded by {@link DECODED_CHARACTERS_MAX} and by the depth of JSON, whatever counts the bytes hold
 */
export class Payload {
  readonly unions: UnionStyle
  #bytes: Uint8Array
  #view: DataView
  #at = 0
  #left = DECODED_CHARACTERS_MAX
  #depth = 0

  constructor(bytes: Uint8Array, unions: UnionStyle) {
    this.unions = unions
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get bytesLeft(): number {
    return this.#bytes.byteLength - this.#at
  }

  get rest(): Uint8Array {
    return this.#bytes.subarray(this.#at)
  }

  /** Reads another stretch of bytes with what is left of the bounds, then goes on here. */
  within<Value>(bytes: Uint8Array, read: () => Value): Value {
    const [outer, view, at] = [this.#bytes, this.#view, this.#at]
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#at = 0
    const value = read()
    this.#bytes = outer
    this.#view = view
    this.#at = at
    return value
  }

  /** Counts a value that is made, with the characters of its name and text. */
  spend(characters: number): void {
    this.#left -= NODE_CHARACTERS + characters
    if (this.#left < 0)
      throw new Undecodable(`it stands for more than ${DECODED_CHARACTERS_MAX} characters of JSON`)
  }

  /** Goes one level of JSON deeper while `read` runs. */
  nest<Value>(read: () => Value): Value {
    if (this.#depth >= limits.jsonDepthMax)
      throw new Undecodable(`it is nested deeper than ${limits.jsonDepthMax} levels`)
    this.#depth += 1
    const value = read()
    this.#depth -= 1
    return value
  }

  take(length: number): Uint8Array {
    const from = this.#skip(length)
    return this.#bytes.subarray(from, from + length)
  }

  byte(): number {
    return this.#view.getUint8(this.#skip(1))
  }

  uint32(): number {
    return this.#view.getUint32(this.#skip(4), true)
  }

  int32(): number {
    return this.#view.getInt32(this.#skip(4), true)
  }

  uint64(): bigint {
    return this.#view.getBigUint64(this.#skip(8), true)
  }

  int64(): bigint {
    return this.#view.getBigInt64(this.#skip(8), true)
  }

  float(): number {
    return this.#view.getFloat32(this.#skip(4), true)
  }

  double(): number {
    return this.#view.getFloat64(this.#skip(8), true)
  }

  /** An unsigned number of 64 bits in groups of seven, the lowest first; a bigint where a double might not hold it. */
  varint(): number | bigint {
    let [value, scale] = [0, 1]
    for (let read = 0; read < NUMBER_VARINT_BYTES; read += 1) {
      const next = this.byte()
      value += (next & 0x7f) * scale
      if (next < 0x80) return value
      scale *= 0x80
    }
    let long = BigInt(value)
    for (let read = NUMBER_VARINT_BYTES; read < VARINT_BYTES_MAX; read += 1) {
      const next = this.byte()
      long |= BigInt(next & 0x7f) << BigInt(7 * read)
      if (next < 0x80) return BigInt.asUintN(64, long)
    }
    throw new Undecodable('a number of variable length does not end')
  }

  /** A signed number, its sign in the lowest bit. */
  zigzag(): number | bigint {
    const coded = this.varint()
    if (typeof coded === 'bigint') return BigInt.asIntN(64, (coded >> 1n) ^ -(coded & 1n))
    return coded % 2 === 0 ? coded / 2 : -(coded + 1) / 2
  }

  /** As many bytes or items as follow. */
  length(coded: number | bigint): number {
    if (typeof coded === 'bigint' || coded < 0) throw new Undecodable('a length is none')
    return coded
  }

  text(length: number): string {
    const bytes = this.take(length)
    this.spend(length)
    try {
      return utf8.decode(bytes)
    } catch {
      throw new Undecodable('a text is no UTF-8')
    }
  }

  #skip(length: number): number {
    if (length > this.bytesLeft) throw new Undecodable('it ends too early')
    const from = this.#at
    this.#at += length
    return from
  }
}

/** A whole number as JSON: its text where a double cannot hold it. */
export function wholeJson(value: number | bigint): Json {
  if (typeof value === 'number') return value
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value.toString()
}

/** JSON has no such numbers: `"NaN"`, `"Infinity"`, `"-Infinity"`. */
export const floatJson = (value: number): Json => (Number.isFinite(value) ? value : String(value))

export function base64Json(payload: Payload, bytes: Uint8Array): string {
  payload.spend(Math.ceil(bytes.byteLength / 3) * 4)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

/** Sets a field, also one that is called `__proto__`. */
export function setField(object: { [name: string]: Json }, name: string, value: Json): void {
  if (name === '__proto__')
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
  else object[name] = value
}
