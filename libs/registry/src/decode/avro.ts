import type { Json } from '@headrace/schemas'
import { type AvroAttributes, type AvroKinds, compileAvro } from '../avro/compile-avro.ts'
import { type BytesJson, logicalBytes, logicalWhole } from './avro-logical.ts'
import { base64Json, floatJson, type Payload, setField, wholeJson } from './payload.ts'
import { Undecodable, UnusableSchema } from './undecodable.ts'

/** A schema as the reading of its values: what it names stands for itself, also within itself. */
interface AvroType {
  readonly name: string
  read: (payload: Payload) => Json
  /** Of `bytes` only: what its bytes, without their length, stand for. */
  readonly ofBytes?: BytesJson
}

const INT_MIN = -0x8000_0000
const INT_MAX = 0x7fff_ffff

/**
 * Compiles an Avro schema to the reading of its payloads (Avro 1.12, "Binary encoding"), by the schema they were written
 * with: `references` hold the named types that it uses and does not define. Mapped as docs/external-streams.md says.
 * Throws {@link UnusableSchema}; the reading throws `Undecodable`.
 */
export function compileAvroReader(schema: string, references: readonly string[]): (payload: Payload) => Json {
  const type = compileAvro(kinds, schema, references)
  const { ofBytes } = type
  // Confluent's serializers write a value of such a schema as it is, without its length.
  if (ofBytes !== undefined) return (payload) => ofBytes(payload.take(payload.bytesLeft), payload)
  return (payload) => {
    const value = type.read(payload)
    if (payload.bytesLeft > 0) throw new Undecodable(`${payload.bytesLeft} bytes are left behind the value`)
    return value
  }
}

const primitives: ReadonlyMap<string, AvroType['read']> = new Map([
  ['null', spent(() => null)],
  ['boolean', spent(readBoolean)],
  ['int', spent((payload) => wholeJson(readInt(payload)))],
  ['long', spent((payload) => wholeJson(payload.zigzag()))],
  ['float', spent((payload) => floatJson(payload.float()))],
  ['double', spent((payload) => floatJson(payload.double()))],
  ['string', readText],
])

function spent(read: AvroType['read']): AvroType['read'] {
  return (payload) => {
    payload.spend(0)
    return read(payload)
  }
}

function readBoolean(payload: Payload): boolean {
  const byte = payload.byte()
  if (byte > 1) throw new Undecodable('a boolean is neither 0 nor 1')
  return byte === 1
}

function readInt(payload: Payload): number {
  const value = payload.zigzag()
  if (typeof value === 'bigint' || value < INT_MIN || value > INT_MAX)
    throw new Undecodable('an int is larger than 32 bits')
  return value
}

function readText(payload: Payload): string {
  return payload.text(payload.length(payload.zigzag()))
}

const bytesType = (ofBytes: BytesJson): AvroType => ({
  name: 'bytes',
  read: (payload) => ofBytes(payload.take(payload.length(payload.zigzag())), payload),
  ofBytes,
})

const kinds: AvroKinds<AvroType> = {
  primitive(name) {
    const read = primitives.get(name)
    if (read !== undefined) return { name, read }
    return name === 'bytes' ? bytesType(plainBytes) : null
  },
  named: (name) => ({
    name,
    read: () => {
      throw new UnusableSchema(`${name} is read before it is defined`)
    },
  }),
  record(type, fields) {
    type.read = (payload) =>
      payload.nest(() => {
        payload.spend(0)
        const value: { [name: string]: Json } = {}
        for (const field of fields) {
          payload.spend(field.name.length)
          setField(value, field.name, field.type.read(payload))
        }
        return value
      })
  },
  enumeration(type, symbols: readonly unknown[]) {
    type.read = (payload) => {
      const index = readInt(payload)
      const symbol = symbols[index]
      if (typeof symbol !== 'string') throw new Undecodable(`${type.name} has no symbol ${index}`)
      payload.spend(symbol.length)
      return symbol
    }
  },
  fixed(type, size, attributes) {
    const logical = bytesJsonOf(attributes, size)
    type.read = (payload) => logical(payload.take(size), payload)
  },
  array: arrayOf,
  map: mapOf,
  union(branches) {
    const read = (payload: Payload): Json => {
      const index = readInt(payload)
      const branch = branches[index]
      if (branch === undefined) throw new Undecodable(`a union has no type ${index}`)
      if (payload.unions === 'unwrap' || branch.name === 'null') return branch.read(payload)
      payload.spend(branch.name.length)
      return payload.nest(() => ({ [branch.name]: branch.read(payload) }))
    }
    return { name: 'union', read }
  },
  logical: logicalOf,
}

/** Items come in blocks, each with its count; one that is negative is followed by the block's bytes. */
function eachItem(payload: Payload, item: () => void): void {
  for (;;) {
    const counted = payload.zigzag()
    const isSized = counted < 0
    let left = payload.length(isSized ? -counted : counted)
    if (left === 0) return
    if (isSized) payload.zigzag()
    for (; left > 0; left -= 1) item()
  }
}

function arrayOf(items: AvroType): AvroType {
  const read = (payload: Payload): Json =>
    payload.nest(() => {
      payload.spend(0)
      const value: Json[] = []
      eachItem(payload, () => value.push(items.read(payload)))
      return value
    })
  return { name: 'array', read }
}

function mapOf(values: AvroType): AvroType {
  const read = (payload: Payload): Json =>
    payload.nest(() => {
      payload.spend(0)
      const value: { [name: string]: Json } = {}
      eachItem(payload, () => setField(value, readText(payload), values.read(payload)))
      return value
    })
  return { name: 'map', read }
}

const plainBytes: BytesJson = (bytes, payload) => base64Json(payload, bytes)

function bytesJsonOf({ logicalType, precision, scale }: AvroAttributes, size: number | null): BytesJson {
  if (typeof logicalType !== 'string') return plainBytes
  return logicalBytes({ logicalType, precision, scale, size }) ?? plainBytes
}

function logicalOf(type: AvroType, schema: AvroAttributes): AvroType {
  const { logicalType } = schema
  if (typeof logicalType !== 'string') return type
  if (type.name === 'bytes') return bytesType(bytesJsonOf(schema, null))
  if (type.name !== 'int' && type.name !== 'long') return type
  const logical = logicalWhole(type.name, logicalType)
  if (logical === null) return type
  const number = type.name === 'int' ? readInt : (payload: Payload) => payload.zigzag()
  return {
    name: type.name,
    read: (payload) => {
      payload.spend(LOGICAL_TIME_CHARACTERS)
      return logical(number(payload))
    },
  }
}

/** `2026-11-23T12:00:00.123456789Z` */
const LOGICAL_TIME_CHARACTERS = 30
