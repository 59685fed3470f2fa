import type { Json } from '@headrace/schemas'
import { type AvroAttributes, type AvroField, type AvroKinds, compileAvro } from '../avro/compile-avro.ts'
import { UnusableSchema } from '../decode/undecodable.ts'
import { bytesOfLogical, type LogicalBytes, wholeOfLogical } from './avro-logical-values.ts'
import { AvroOut, type DataFault, isFields } from './avro-out.ts'

/** A schema as the writing of its values: whatever does not fit is a fault of `out`, and the bytes are worth nothing then. */
interface AvroType {
  readonly name: string
  write: (value: Json, out: AvroOut) => void
}

const INT_MAX = 0x7fff_ffff
const LONG_MAX = 2n ** 63n - 1n
const NO_BYTES = Buffer.alloc(0)
/** Of what does not fit a union, said type by type. */
const NAMES_SAID_MAX = 10

/**
 * Compiles an Avro schema to the writing of its values: of what `decode/avro.ts` shows for bytes, those bytes
 * (docs/event-types.md has the mapping). Throws {@link UnusableSchema}, also for a default that does not fit its field.
 */
export function compileAvroWriter(schema: string): (value: Json) => Buffer | readonly DataFault[] {
  const defaults: (() => void)[] = []
  const type = compileAvro(kindsOf(defaults), schema)
  for (const check of defaults) check()
  return (value) => {
    const out = new AvroOut()
    type.write(value, out)
    return out.faults.length > 0 ? out.faults : out.written
  }
}

const primitives: ReadonlyMap<string, AvroType['write']> = new Map<string, AvroType['write']>([
  ['null', (value, out) => void (value === null || out.fault('must be null'))],
  [
    'boolean',
    (value, out) => {
      if (typeof value === 'boolean') out.byte(value ? 1 : 0)
      else out.fault('must be true or false')
    },
  ],
  ['int', writeInt],
  ['long', writeLong],
  ['float', (value, out) => writeFloating(value, out, true)],
  ['double', (value, out) => writeFloating(value, out, false)],
  [
    'string',
    (value, out) => {
      if (typeof value === 'string') out.text(value)
      else out.fault('must be a string')
    },
  ],
])

function writeInt(value: Json, out: AvroOut): void {
  if (Number.isInteger(value) && Math.abs(Number(value) + 0.5) < INT_MAX + 1) out.zigzag(Number(value))
  else out.fault('must be a whole number of 32 bits')
}

function writeLong(value: Json, out: AvroOut): void {
  if (Number.isSafeInteger(value)) {
    out.zigzag(Number(value))
    return
  }
  const long = typeof value === 'string' && /^-?[1-9]\d{15,18}$/.test(value) ? BigInt(value) : null
  // One that a double holds is a number.
  const isLong = long !== null && long <= LONG_MAX && long >= -LONG_MAX - 1n
  if (isLong && !Number.isSafeInteger(Number(long))) out.zigzag(long)
  else out.fault('must be a whole number of 64 bits; beyond 2^53 a string of one')
}

function writeFloating(value: Json, out: AvroOut, isSingle: boolean): void {
  const isNone = value === 'NaN' || value === 'Infinity' || value === '-Infinity'
  const number = isNone || typeof value === 'number' ? Number(value) : null
  if (number === null || (!isNone && isSingle && !Number.isFinite(Math.fround(number)))) {
    out.fault(`must be a number${isSingle ? ' of single precision' : ''}, "NaN", "Infinity" or "-Infinity"`)
    return
  }
  if (isSingle) out.float(number)
  else out.double(number)
}

const base64: LogicalBytes = {
  wanted: 'must be a string of Base64',
  of(value) {
    if (typeof value !== 'string') return null
    const bytes = Buffer.from(value, 'base64')
    return bytes.toString('base64') === value ? bytes : null
  },
}

/** In a default each character is a byte. */
const latin1: LogicalBytes = {
  wanted: 'must be a string of characters up to 255',
  of: (value) =>
    typeof value === 'string' && /^[\0-\xff]*$/.test(value) ? Buffer.from(value, 'latin1') : null,
}

const bytesType = (logical: LogicalBytes): AvroType => ({
  name: 'bytes',
  write: (value, out) => {
    const bytes = bytesIn(value, out, logical)
    if (bytes === null) return
    out.zigzag(bytes.byteLength)
    out.bytes(bytes)
  },
})

function bytesIn(value: Json, out: AvroOut, logical: LogicalBytes): Uint8Array | null {
  const shown = out.style === 'default' ? latin1 : logical
  const bytes = shown.of(value)
  if (bytes === null) out.fault(shown.wanted)
  return bytes
}

function logicalBytesOf(
  { logicalType, precision, scale }: AvroAttributes,
  size: number | null,
): LogicalBytes {
  if (typeof logicalType !== 'string') return base64
  return bytesOfLogical({ logicalType, precision, scale, size }) ?? base64
}

const kindsOf = (defaults: (() => void)[]): AvroKinds<AvroType> => ({
  primitive(name) {
    const write = primitives.get(name)
    if (write !== undefined) return { name, write }
    return name === 'bytes' ? bytesType(base64) : null
  },
  named: (name) => ({
    name,
    write: () => {
      throw new UnusableSchema(`${name} is written before it is defined`)
    },
  }),
  record(type, fields) {
    type.write = recordWriter(type.name, fields, defaults)
  },
  enumeration(type, symbols) {
    const indexes = new Map<Json, number>(symbols.map((symbol, index) => [symbol, index]))
    type.write = (value, out) => {
      const index = indexes.get(value)
      if (index === undefined) out.fault(`must be one of the symbols of ${type.name}`)
      else out.zigzag(index)
    }
  },
  fixed(type, size, attributes) {
    const logical = logicalBytesOf(attributes, size)
    type.write = (value, out) => {
      const bytes = bytesIn(value, out, logical)
      if (bytes === null) return
      if (bytes.byteLength === size) out.bytes(bytes)
      else out.fault(`must be ${size} bytes`)
    }
  },
  array: (items) => ({
    name: 'array',
    write: (value, out) => {
      if (!Array.isArray(value)) {
        out.fault('must be an array')
        return
      }
      if (value.length > 0) out.zigzag(value.length)
      for (const [index, item] of value.entries()) out.within(index, () => items.write(item, out))
      out.zigzag(0)
    },
  }),
  map: (values) => ({
    name: 'map',
    write: (value, out) => {
      if (!isFields(value)) {
        out.fault('must be an object')
        return
      }
      const entries = Object.entries(value)
      if (entries.length > 0) out.zigzag(entries.length)
      for (const [name, each] of entries) {
        out.text(name)
        out.within(name, () => values.write(each, out))
      }
      out.zigzag(0)
    },
  }),
  union: unionOf,
  logical: logicalOf,
})

function recordWriter(
  record: string,
  fields: readonly AvroField<AvroType>[],
  defaults: (() => void)[],
): AvroType['write'] {
  const names = new Set(fields.map(({ name }) => name))
  const fallback = new Map<string, Buffer>()
  for (const { name, type, attributes } of fields) {
    const given = attributes['default']
    if (given === undefined) continue
    // When all types are known: a default may be of one that is still to be read.
    defaults.push(() => {
      const out = new AvroOut('default')
      type.write(given as Json, out)
      const [fault] = out.faults
      if (fault !== undefined)
        throw new UnusableSchema(`the default of ${record}.${name} does not fit: ${fault.detail}`)
      fallback.set(name, out.written)
    })
  }
  return (value, out) => {
    if (!isFields(value)) {
      out.fault('must be an object')
      return
    }
    // Before any value is looked at: of the records of a union most are told apart by their fields.
    for (const name of Object.keys(value))
      if (!names.has(name)) out.within(name, () => out.fault(`is no field of ${record}`))
    for (const { name } of fields)
      if (!Object.hasOwn(value, name) && !fallback.has(name)) out.within(name, () => out.fault('is required'))
    for (const { name, type } of fields) {
      if (out.isLost) return
      const given = Object.hasOwn(value, name) ? value[name] : undefined
      if (given !== undefined) out.within(name, () => type.write(given, out))
      else out.bytes(fallback.get(name) ?? NO_BYTES)
    }
  }
}

/** The first type that takes the value. A default is of the first type of all. */
function unionOf(branches: readonly AvroType[]): AvroType {
  const write = (value: Json, out: AvroOut, index: number): void => {
    out.zigzag(index)
    branches[index]?.write(value, out)
  }
  const others = branches.flatMap(({ name }, index) => (name === 'null' ? [] : [index]))
  const [only = 0] = others
  const names = others.slice(0, NAMES_SAID_MAX).map((index) => branches[index]?.name)
  const wanted = `fits none of its types: ${names.join(', ')}${others.length > names.length ? ', …' : ''}`
  const none = branches.findIndex(({ name }) => name === 'null')
  return {
    name: 'union',
    write: (value, out) => {
      if (out.style === 'default') write(value, out, 0)
      else if (value === null && none >= 0) write(value, out, none)
      // Where only one comes into question, what does not fit it is said.
      else if (others.length === 1) write(value, out, only)
      else if (!others.some((index) => out.attempt(() => write(value, out, index)))) out.fault(wanted)
    },
  }
}

function logicalOf(type: AvroType, attributes: AvroAttributes): AvroType {
  const { logicalType } = attributes
  if (typeof logicalType !== 'string') return type
  if (type.name === 'bytes') return bytesType(logicalBytesOf(attributes, null))
  if (type.name !== 'int' && type.name !== 'long') return type
  const logical = wholeOfLogical(type.name, logicalType)
  if (logical === null) return type
  return {
    name: type.name,
    write: (value, out) => {
      if (out.style === 'default') {
        type.write(value, out)
        return
      }
      const units = logical.of(value)
      if (units === null) out.fault(logical.wanted)
      else out.zigzag(units)
    },
  }
}
