import type { Json } from '@headrace/schemas'
import protobuf from 'protobufjs'
import { base64Json, floatJson, type Payload, setField, wholeJson } from './payload.ts'
import { isKnownMessage, knownMessages } from './protobuf-known.ts'
import { parseProtobuf, type ProtobufReference } from './protobuf-schema.ts'
import { Undecodable, UnusableSchema } from './undecodable.ts'

/** Places of messages within messages: more is no schema that somebody wrote. */
const INDEXES_MAX = 64
const WIRE = { varint: 0, eight: 1, bytes: 2, group: 3, groupEnd: 4, four: 5 } as const
/** Groups that are passed over, within each other. */
const GROUPS_DEPTH_MAX = 64

const NO_BYTES = new Uint8Array()
const ANY = '.google.protobuf.Any'

/**
 * Compiles a Protobuf schema to the reading of its payloads: the places of the message as Confluent's wire format has them
 * (a count, then each, in zigzag; `[0]` shortened to a single 0), then the message. Mapped as proto3 is to JSON, with the
 * differences of docs/external-streams.md. Throws {@link UnusableSchema}; the reading throws `Undecodable`.
 */
export function compileProtobuf(
  schema: string,
  references: readonly ProtobufReference[],
): (payload: Payload) => Json {
  const file = parseProtobuf(schema, references)
  const messages = new Messages(file.root)
  return (payload) => {
    const indexes = readIndexes(payload)
    const type = file.messageAt(indexes)
    if (type === null) throw new Undecodable(`its schema has no message at ${indexes.join('.')}`)
    return messages.read(type, payload, payload.take(payload.bytesLeft))
  }
}

function readIndexes(payload: Payload): number[] {
  const count = payload.length(payload.zigzag())
  if (count > INDEXES_MAX) throw new Undecodable('it names its message by too many places')
  if (count === 0) return [0]
  return Array.from({ length: count }, () => payload.length(payload.zigzag()))
}

interface FieldReader {
  readonly name: string
  readonly isRepeated: boolean
  readonly isMap: boolean
  /** Fields of the same `oneof`: the last one on the wire counts. */
  readonly siblings: readonly string[]
  /** What it is where the wire has nothing of it; undefined: it is left out. */
  readonly absent: (() => Json) | undefined
  /** Null: a message, whose bytes are merged and read at the end. */
  readonly scalar: Scalar | null
  readonly message: protobuf.Type | null
}

interface Scalar {
  readonly wire: number
  readonly read: (payload: Payload) => Json
}

/** Reads messages by the reflection of their schema. */
class Messages {
  readonly #root: protobuf.Root
  readonly #readers = new Map<protobuf.Type, ReadonlyMap<number, FieldReader>>()

  constructor(root: protobuf.Root) {
    this.#root = root
  }

  read(type: protobuf.Type, payload: Payload, bytes: Uint8Array): Json {
    return payload.nest(() => {
      const fields = payload.within(bytes, () => this.#fields(type, payload))
      if (type.fullName === ANY) return this.#any(fields, payload)
      const known = knownMessages.get(type.fullName)
      return known === undefined ? fields : known(fields)
    })
  }

  #fields(type: protobuf.Type, payload: Payload): { [name: string]: Json } {
    const readers = this.#readersOf(type)
    const found = new Map<string, Json>()
    const parts = new Map<string, Uint8Array[]>()
    payload.spend(0)
    while (payload.bytesLeft > 0) {
      const tag = payload.length(payload.varint())
      const [id, wire] = [Math.floor(tag / 8), tag % 8]
      const field = readers.get(id)
      if (field === undefined || !fits(field, wire)) {
        skip(payload, { id, wire, depth: 0 })
        continue
      }
      for (const sibling of field.siblings) {
        found.delete(sibling)
        parts.delete(sibling)
      }
      if (field.scalar !== null) readScalars(field, field.scalar, { payload, wire, found })
      else {
        const part = wire === WIRE.group ? groupBytes(payload, id) : payload.take(lengthOf(payload))
        const before = parts.get(field.name)
        if (before === undefined) parts.set(field.name, [part])
        else before.push(part)
      }
    }
    return this.#assemble(readers, { payload, found, parts })
  }

  /** In the order of the schema. */
  #assemble(
    readers: ReadonlyMap<number, FieldReader>,
    {
      payload,
      found,
      parts,
    }: { payload: Payload; found: Map<string, Json>; parts: Map<string, Uint8Array[]> },
  ): { [name: string]: Json } {
    const value: { [name: string]: Json } = {}
    for (const field of readers.values()) {
      const of = parts.get(field.name)
      const made =
        of === undefined ? (found.get(field.name) ?? field.absent?.()) : this.#nested(field, of, payload)
      if (made === undefined) continue
      payload.spend(field.name.length)
      setField(value, field.name, made)
    }
    return value
  }

  #nested(field: FieldReader, parts: readonly Uint8Array[], payload: Payload): Json {
    const { message } = field
    if (message === null) throw new UnusableSchema(`the field ${field.name} has no type`)
    if (field.isMap) return this.#map(message, parts, payload)
    if (field.isRepeated) return payload.nest(() => parts.map((part) => this.read(message, payload, part)))
    const [only] = parts
    // One that is there several times is one message: its parts are merged, as if they were one.
    return this.read(message, payload, parts.length === 1 && only !== undefined ? only : Buffer.concat(parts))
  }

  /** Each part is an entry with `key` and `value`. */
  #map(entry: protobuf.Type, parts: readonly Uint8Array[], payload: Payload): Json {
    return payload.nest(() => {
      const value: { [name: string]: Json } = {}
      for (const part of parts) {
        const read = payload.within(part, () => this.#fields(entry, payload))
        const key = read['key'] ?? this.#zero(entry, 'key', payload)
        const name = typeof key === 'string' ? key : JSON.stringify(key)
        setField(value, name, read['value'] ?? this.#zero(entry, 'value', payload))
      }
      return value
    })
  }

  /** What a part of an entry is that the wire leaves out. */
  #zero(entry: protobuf.Type, part: 'key' | 'value', payload: Payload): Json {
    const field = entry.fields[part]
    if (field === undefined) return null
    const { resolvedType } = field
    return resolvedType instanceof protobuf.Type ? this.read(resolvedType, payload, NO_BYTES) : zeroOf(field)
  }

  #any({ type_url: url, value }: { [name: string]: Json }, payload: Payload): Json {
    const name = typeof url === 'string' ? url : ''
    const bytes = Buffer.from(typeof value === 'string' ? value : '', 'base64')
    const full = name.slice(name.lastIndexOf('/') + 1)
    const type = full === '' ? null : this.#root.lookup(full, [protobuf.Type])
    if (!(type instanceof protobuf.Type)) return { '@type': name, value: value ?? '' }
    const read = this.read(type, payload, bytes)
    if (isKnownMessage(type.fullName) || typeof read !== 'object' || read === null || Array.isArray(read))
      return { '@type': name, value: read }
    return { '@type': name, ...read }
  }

  #readersOf(type: protobuf.Type): ReadonlyMap<number, FieldReader> {
    let readers = this.#readers.get(type)
    if (readers === undefined) {
      readers = new Map(type.fieldsArray.map((field) => [field.id, readerOf(field.resolve())]))
      this.#readers.set(type, readers)
    }
    return readers
  }
}

function readerOf(field: protobuf.Field): FieldReader {
  const { name, repeated, resolvedType, partOf } = field
  const entry = field instanceof protobuf.MapField ? entryOf(field) : null
  const message = entry ?? (resolvedType instanceof protobuf.Type ? resolvedType : null)
  return {
    name,
    isRepeated: repeated,
    isMap: entry !== null,
    siblings: (partOf?.oneof ?? []).filter((other) => other !== name),
    absent: absentOf(field, message),
    scalar: message === null ? scalarOf(field) : null,
    message,
  }
}

/** A map is a repeated message of its entries. */
function entryOf({ keyType, type, parent, resolvedType }: protobuf.MapField): protobuf.Type {
  const entry = new protobuf.Type('Entry')
  const value = new protobuf.Field('value', 2, type)
  value.resolvedType = resolvedType
  value.resolved = true
  entry.add(new protobuf.Field('key', 1, keyType)).add(value)
  entry.parent = parent
  return entry
}

/** What the wire leaves out is told where it can mean but one thing: a list, a map, a number without presence. */
function absentOf(field: protobuf.Field, message: protobuf.Type | null): FieldReader['absent'] {
  if (field instanceof protobuf.MapField) return () => ({})
  if (field.repeated) return () => []
  if (message !== null || field.hasPresence) return undefined
  const zero = zeroOf(field)
  return () => zero
}

function zeroOf({ type, resolvedType }: protobuf.Field): Json {
  if (resolvedType instanceof protobuf.Enum) return enumJson(resolvedType, 0)
  if (type === 'string' || type === 'bytes') return ''
  return type === 'bool' ? false : 0
}

const enumJson = (type: protobuf.Enum, value: number): Json => type.valuesById[value] ?? value

const lengthOf = (payload: Payload): number => payload.length(payload.varint())

const scalars: ReadonlyMap<string, Scalar> = new Map<string, Scalar>([
  ['double', { wire: WIRE.eight, read: (payload) => floatJson(payload.double()) }],
  ['float', { wire: WIRE.four, read: (payload) => floatJson(payload.float()) }],
  ['int32', { wire: WIRE.varint, read: (payload) => Number(BigInt.asIntN(32, BigInt(payload.varint()))) }],
  ['uint32', { wire: WIRE.varint, read: (payload) => Number(BigInt.asUintN(32, BigInt(payload.varint()))) }],
  ['sint32', { wire: WIRE.varint, read: (payload) => Number(BigInt.asIntN(32, BigInt(payload.zigzag()))) }],
  ['fixed32', { wire: WIRE.four, read: (payload) => payload.uint32() }],
  ['sfixed32', { wire: WIRE.four, read: (payload) => payload.int32() }],
  ['int64', { wire: WIRE.varint, read: (payload) => wholeJson(BigInt.asIntN(64, BigInt(payload.varint()))) }],
  ['uint64', { wire: WIRE.varint, read: (payload) => wholeJson(payload.varint()) }],
  ['sint64', { wire: WIRE.varint, read: (payload) => wholeJson(payload.zigzag()) }],
  ['fixed64', { wire: WIRE.eight, read: (payload) => wholeJson(payload.uint64()) }],
  ['sfixed64', { wire: WIRE.eight, read: (payload) => wholeJson(payload.int64()) }],
  ['bool', { wire: WIRE.varint, read: (payload) => Number(payload.varint()) !== 0 }],
  ['string', { wire: WIRE.bytes, read: (payload) => payload.text(lengthOf(payload)) }],
  ['bytes', { wire: WIRE.bytes, read: (payload) => base64Json(payload, payload.take(lengthOf(payload))) }],
])

function scalarOf({ type, resolvedType, name }: protobuf.Field): Scalar {
  if (resolvedType instanceof protobuf.Enum) {
    const read = (payload: Payload) => {
      const value = enumJson(resolvedType, Number(BigInt.asIntN(32, BigInt(payload.varint()))))
      if (typeof value === 'string') payload.spend(value.length)
      return value
    }
    return { wire: WIRE.varint, read }
  }
  const scalar = scalars.get(type)
  if (scalar === undefined) throw new UnusableSchema(`the field ${name} has the unknown type ${type}`)
  return scalar
}

/** Another wire type than the schema's is a field of somebody's later schema: passed over, as Protobuf wants it. */
function fits({ scalar, isRepeated }: FieldReader, wire: number): boolean {
  if (scalar === null) return wire === WIRE.bytes || wire === WIRE.group
  return wire === scalar.wire || (isRepeated && wire === WIRE.bytes)
}

function readScalars(
  { name, isRepeated }: FieldReader,
  scalar: Scalar,
  { payload, wire, found }: { payload: Payload; wire: number; found: Map<string, Json> },
): void {
  const one = (): Json => {
    payload.spend(0)
    return scalar.read(payload)
  }
  if (!isRepeated) {
    found.set(name, one())
    return
  }
  const before = found.get(name)
  const values = Array.isArray(before) ? before : []
  found.set(name, values)
  // Packed: one after the other in a single stretch of bytes.
  if (wire !== scalar.wire)
    payload.within(payload.take(lengthOf(payload)), () => {
      while (payload.bytesLeft > 0) values.push(one())
    })
  else values.push(one())
}

function skip(payload: Payload, { id, wire, depth }: { id: number; wire: number; depth: number }): void {
  if (wire === WIRE.varint) payload.varint()
  else if (wire === WIRE.eight) payload.take(8)
  else if (wire === WIRE.four) payload.take(4)
  else if (wire === WIRE.bytes) payload.take(lengthOf(payload))
  else if (wire === WIRE.group) skipGroup(payload, id, depth)
  else throw new Undecodable(`it has a field of the wire type ${wire}, which is none`)
}

function skipGroup(payload: Payload, id: number, depth: number): void {
  if (depth >= GROUPS_DEPTH_MAX) throw new Undecodable('its groups are nested too deep')
  for (;;) {
    const tag = lengthOf(payload)
    const [inner, wire] = [Math.floor(tag / 8), tag % 8]
    if (wire === WIRE.groupEnd) {
      if (inner !== id) throw new Undecodable('a group ends as another')
      return
    }
    skip(payload, { id: inner, wire, depth: depth + 1 })
  }
}

/** A group ends where its mark is, so it is passed over to know its bytes. */
function groupBytes(payload: Payload, id: number): Uint8Array {
  const from = payload.bytesLeft
  const rest = payload.rest
  skipGroup(payload, id, 0)
  const markBytes = varintBytes(id * 8 + WIRE.groupEnd)
  return rest.subarray(0, from - payload.bytesLeft - markBytes)
}

function varintBytes(value: number): number {
  let bytes = 1
  for (let left = value; left >= 0x80; left = Math.floor(left / 0x80)) bytes += 1
  return bytes
}
