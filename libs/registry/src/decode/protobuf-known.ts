import type { Json } from '@headrace/schemas'
import { dateTimeOf } from './avro-logical.ts'
import { Undecodable } from './undecodable.ts'

type Fields = Readonly<Record<string, Json>>

/**
 * What the well-known types of Protobuf stand for, by the mapping of proto3 to JSON; made of the fields of such a message.
 * `google.protobuf.Any` is not here: it takes the schema to read.
 */
export const knownMessages: ReadonlyMap<string, (fields: Fields) => Json> = new Map<
  string,
  (fields: Fields) => Json
>([
  ['.google.protobuf.Timestamp', timestampOf],
  ['.google.protobuf.Duration', durationOf],
  ['.google.protobuf.Struct', ({ fields }) => fields ?? {}],
  ['.google.protobuf.ListValue', ({ values }) => values ?? []],
  ['.google.protobuf.Value', valueOf],
  [
    '.google.protobuf.FieldMask',
    ({ paths }) =>
      Array.isArray(paths) ? paths.map((path) => (typeof path === 'string' ? path : '')).join(',') : '',
  ],
  ...['Double', 'Float', 'Int64', 'UInt64', 'Int32', 'UInt32'].map((name) => wrapper(name, 0)),
  wrapper('Bool', false),
  wrapper('String', ''),
  wrapper('Bytes', ''),
])

/** In an `Any` these stand under `value`, because they are no objects of their fields. */
export const isKnownMessage = (fullName: string): boolean => knownMessages.has(fullName)

const wholeOf = (value: Json | undefined): bigint =>
  typeof value === 'number' || typeof value === 'string' ? BigInt(value) : 0n

function timestampOf({ seconds, nanos }: Fields): Json {
  const units = wholeOf(seconds) * 1_000_000_000n + wholeOf(nanos)
  const text = dateTimeOf(units, 9, '')
  if (text === null || outside(nanos, 0n)) throw new Undecodable('a Timestamp is outside the years 0 to 9999')
  return `${shortened(text)}Z`
}

function durationOf({ seconds, nanos }: Fields): Json {
  const [whole, part] = [wholeOf(seconds), wholeOf(nanos)]
  if (outside(nanos, -999_999_999n) || (whole < 0n && part > 0n) || (whole > 0n && part < 0n))
    throw new Undecodable('a Duration has a fraction that does not fit its seconds')
  const sign = whole < 0n || part < 0n ? '-' : ''
  const fraction = (part < 0n ? -part : part).toString().padStart(9, '0')
  return `${sign}${shortened(`${whole < 0n ? -whole : whole}.${fraction}`)}s`
}

const outside = (nanos: Json | undefined, min: bigint): boolean =>
  wholeOf(nanos) < min || wholeOf(nanos) > 999_999_999n

/** With 0, 3, 6 or 9 digits behind the point. */
function shortened(text: string): string {
  const [whole = '', fraction = ''] = text.split('.')
  const kept = fraction.replace(/(000)+$/, '')
  return kept === '' ? whole : `${whole}.${kept}`
}

/** As the file of the schema's owner names it, and as protobufjs's own copy of it does. */
const NULL_FIELDS: ReadonlySet<string> = new Set(['null_value', 'nullValue'])

/** One of its fields is set, and says which kind of value it is. */
function valueOf(fields: Fields): Json {
  for (const [name, value] of Object.entries(fields)) return NULL_FIELDS.has(name) ? null : value
  return null
}

function wrapper(name: string, zero: Json): [string, (fields: Fields) => Json] {
  return [`.google.protobuf.${name}Value`, ({ value }) => value ?? zero]
}
