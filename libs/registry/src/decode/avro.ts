import type { Json } from '@headrace/schemas'
import { type BytesJson, logicalBytes, logicalWhole } from './avro-logical.ts'
import { base64Json, floatJson, type Payload, setField, wholeJson } from './payload.ts'
import { Undecodable, UnusableSchema } from './undecodable.ts'

/** A schema as the reading of its values: what it names stands for itself, also within itself. */
interface AvroType {
  /** As a union names it: the full name of a named type, else the name of the type. */
  readonly name: string
  read: (payload: Payload) => Json
  /** Of `bytes` only: what its bytes, without their length, stand for. */
  readonly ofBytes?: BytesJson
}

type ParsedSchema = Readonly<Record<string, unknown>>

const INT_MIN = -0x8000_0000
const INT_MAX = 0x7fff_ffff

/**
 * Compiles an Avro schema to the reading of its payloads (Avro 1.12, "Binary encoding"), by the schema they were written
 * with: `references` hold the named types that it uses and does not define. Mapped as docs/external-streams.md says.
 * Throws {@link UnusableSchema}; the reading throws `Undecodable`.
 */
export function compileAvro(schema: string, references: readonly string[]): (payload: Payload) => Json {
  const compiler = new AvroCompiler()
  for (const reference of references) compiler.compile(parsed(reference), '')
  const type = compiler.compile(parsed(schema), '')
  const { ofBytes } = type
  // Confluent's serializers write a value of such a schema as it is, without its length.
  if (ofBytes !== undefined) return (payload) => ofBytes(payload.take(payload.bytesLeft), payload)
  return (payload) => {
    const value = type.read(payload)
    if (payload.bytesLeft > 0) throw new Undecodable(`${payload.bytesLeft} bytes are left behind the value`)
    return value
  }
}

function parsed(text: string): unknown {
  // Registries give the schema of a primitive type also as its bare name.
  if (text.trim() === 'null') return 'null'
  try {
    return JSON.parse(text)
  } catch {
    return text
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

/** The types of one schema and of those it refers to. */
class AvroCompiler {
  readonly #named = new Map<string, AvroType>()

  compile(schema: unknown, namespace: string): AvroType {
    if (typeof schema === 'string') return this.#byName(schema, namespace)
    if (Array.isArray(schema)) return this.#union(schema, namespace)
    if (typeof schema !== 'object' || schema === null) throw new UnusableSchema('it is no Avro schema')
    const known = schema as ParsedSchema
    switch (known['type']) {
      case 'record':
      case 'error':
        return this.#record(known, namespace)
      case 'enum':
        return this.#enum(known, namespace)
      case 'fixed':
        return this.#fixed(known, namespace)
      case 'array':
        return arrayOf(this.compile(known['items'], namespace))
      case 'map':
        return mapOf(this.compile(known['values'], namespace))
      default:
        return logicalOf(this.compile(known['type'], namespace), known)
    }
  }

  #byName(name: string, namespace: string): AvroType {
    const read = primitives.get(name)
    if (read !== undefined) return { name, read }
    if (name === 'bytes') return bytesType(plainBytes)
    const found = this.#named.get(qualified(name, namespace)) ?? this.#named.get(name)
    if (found === undefined) throw new UnusableSchema(`it names ${name} and does not define it`)
    return found
  }

  /** Known before it is read: a record may hold itself. */
  #define({ name, namespace: own }: ParsedSchema, outer: string): { type: AvroType; namespace: string } {
    if (typeof name !== 'string' || name === '') throw new UnusableSchema('a type has no name')
    const full = qualified(name, typeof own === 'string' ? own : outer)
    const type: AvroType = {
      name: full,
      read: () => {
        throw new UnusableSchema(`${full} is read before it is defined`)
      },
    }
    this.#named.set(full, type)
    return { type, namespace: full.includes('.') ? full.slice(0, full.lastIndexOf('.')) : '' }
  }

  #record(schema: ParsedSchema, outer: string): AvroType {
    const { type, namespace } = this.#define(schema, outer)
    const { fields } = schema
    if (!Array.isArray(fields)) throw new UnusableSchema(`the record ${type.name} has no fields`)
    const compiled = (fields as ParsedSchema[]).map((field) => {
      const { name } = field
      if (typeof name !== 'string') throw new UnusableSchema(`a field of ${type.name} has no name`)
      return { name, type: this.compile(field['type'], namespace) }
    })
    type.read = (payload) =>
      payload.nest(() => {
        payload.spend(0)
        const value: { [name: string]: Json } = {}
        for (const field of compiled) {
          payload.spend(field.name.length)
          setField(value, field.name, field.type.read(payload))
        }
        return value
      })
    return type
  }

  #enum(schema: ParsedSchema, outer: string): AvroType {
    const { type } = this.#define(schema, outer)
    const { symbols } = schema
    if (!Array.isArray(symbols)) throw new UnusableSchema(`the enum ${type.name} has no symbols`)
    type.read = (payload) => {
      const index = readInt(payload)
      const symbol = (symbols as unknown[])[index]
      if (typeof symbol !== 'string') throw new Undecodable(`${type.name} has no symbol ${index}`)
      payload.spend(symbol.length)
      return symbol
    }
    return type
  }

  #fixed(schema: ParsedSchema, outer: string): AvroType {
    const { type } = this.#define(schema, outer)
    const { size } = schema
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
      throw new UnusableSchema(`the fixed ${type.name} has no size`)
    const logical = bytesJsonOf(schema, size)
    type.read = (payload) => logical(payload.take(size), payload)
    return type
  }

  #union(schemas: readonly unknown[], namespace: string): AvroType {
    const branches = schemas.map((schema) => this.compile(schema, namespace))
    const read = (payload: Payload): Json => {
      const index = readInt(payload)
      const branch = branches[index]
      if (branch === undefined) throw new Undecodable(`a union has no type ${index}`)
      if (payload.unions === 'unwrap' || branch.name === 'null') return branch.read(payload)
      payload.spend(branch.name.length)
      return payload.nest(() => ({ [branch.name]: branch.read(payload) }))
    }
    return { name: 'union', read }
  }
}

const qualified = (name: string, namespace: string): string =>
  name.includes('.') || namespace === '' ? name : `${namespace}.${name}`

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

function bytesJsonOf({ logicalType, precision, scale }: ParsedSchema, size: number | null): BytesJson {
  if (typeof logicalType !== 'string') return plainBytes
  return logicalBytes({ logicalType, precision, scale, size }) ?? plainBytes
}

/** A type with attributes. A logical type that is unknown, or does not fit, is passed over, as Avro wants it. */
function logicalOf(type: AvroType, schema: ParsedSchema): AvroType {
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
