import type { Json } from '@headrace/schemas'
import { type Payload, wholeJson } from './payload.ts'
import { Undecodable, UnusableSchema } from './undecodable.ts'

/** Turning more bytes into decimal digits takes longer than a record may: 256 bytes are 616 digits. */
const DECIMAL_BYTES_MAX = 256
const DECIMAL_DIGITS_MAX = 1_000

/** As much of a schema as its logical type needs. */
export interface LogicalSchema {
  readonly logicalType: string
  readonly precision: unknown
  readonly scale: unknown
  /** Of a `fixed`. */
  readonly size: number | null
}

export type WholeJson = (value: number | bigint) => Json
export type BytesJson = (bytes: Uint8Array, payload: Payload) => Json

/** What stands for an `int` or a `long`; null: it is just a number. */
export function logicalWhole(base: 'int' | 'long', logicalType: string): WholeJson | null {
  if (base === 'int') {
    if (logicalType === 'date') return (value) => dateOf(BigInt(value)) ?? wholeJson(value)
    if (logicalType === 'time-millis') return (value) => timeOf(BigInt(value), 3) ?? wholeJson(value)
    return null
  }
  if (logicalType === 'time-micros') return (value) => timeOf(BigInt(value), 6) ?? wholeJson(value)
  const digits = { millis: 3, micros: 6, nanos: 9 }[logicalType.split('-').at(-1) ?? '']
  if (digits === undefined) return null
  const isLocal = logicalType.startsWith('local-timestamp-')
  if (!isLocal && !logicalType.startsWith('timestamp-')) return null
  return (value) => dateTimeOf(BigInt(value), digits, isLocal ? '' : 'Z') ?? wholeJson(value)
}

/** What stands for `bytes` or a `fixed`; null: they are just bytes. Throws {@link UnusableSchema}. */
export function logicalBytes({ logicalType, precision, scale, size }: LogicalSchema): BytesJson | null {
  if (logicalType === 'uuid' && size === 16) return (bytes) => uuidOf(bytes)
  if (logicalType === 'duration' && size === 12) return (bytes) => durationOf(bytes)
  if (logicalType !== 'decimal') return null
  const decimal = decimalRule(precision, scale)
  if (decimal === null) return null
  const { precision: most, scale: digits } = decimal
  if (most > DECIMAL_DIGITS_MAX)
    throw new UnusableSchema(`a decimal of more than ${DECIMAL_DIGITS_MAX} digits`)
  return (bytes, payload) => {
    const text = decimalOf(bytes, digits)
    payload.spend(text.length)
    return text
  }
}

/** How many digits a decimal has, and how many of them behind the point; null: it is none by its attributes. */
export function decimalRule(precision: unknown, scale: unknown): { precision: number; scale: number } | null {
  const digits = scale ?? 0
  if (!isWhole(precision) || !isWhole(digits) || precision === 0 || digits > precision) return null
  return { precision, scale: digits }
}

const isWhole = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/** Two's complement, the highest byte first; with as many digits behind the point as the schema says. */
function decimalOf(bytes: Uint8Array, scale: number): string {
  if (bytes.byteLength > DECIMAL_BYTES_MAX)
    throw new Undecodable(`a decimal has more than ${DECIMAL_BYTES_MAX} bytes`)
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
  const value = BigInt.asIntN(8 * bytes.byteLength, hex === '' ? 0n : BigInt(`0x${hex}`))
  const sign = value < 0n ? '-' : ''
  const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0')
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

function uuidOf(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

/** ISO 8601; of months, days and milliseconds, which Avro keeps apart. */
function durationOf(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [months, days, ms] = [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)]
  return `P${months}M${days}DT${ms / 1000}S`
}

const DAY_SECONDS = 86_400n
/** From the first day of the year 0 to the last of 9999: what RFC 3339 can say. */
const SECONDS_MIN = -62_167_219_200n
const SECONDS_MAX = 253_402_300_799n

/** RFC 3339, with `digits` of its second behind the point; null where it can say no such time. */
export function dateTimeOf(units: bigint, digits: number, zone: string): string | null {
  const [seconds, rest] = splitSeconds(units, digits)
  if (seconds < SECONDS_MIN || seconds > SECONDS_MAX) return null
  const text = new Date(Number(seconds) * 1000).toISOString().slice(0, 19)
  return digits === 0 ? text + zone : `${text}.${rest.toString().padStart(digits, '0')}${zone}`
}

function dateOf(days: bigint): string | null {
  return dateTimeOf(days * DAY_SECONDS, 0, '')?.slice(0, 10) ?? null
}

function timeOf(units: bigint, digits: number): string | null {
  const [seconds] = splitSeconds(units, digits)
  if (seconds < 0n || seconds >= DAY_SECONDS) return null
  return dateTimeOf(units, digits, '')?.slice(11) ?? null
}

/** Whole seconds, rounded down, and what is left of the next one. */
function splitSeconds(units: bigint, digits: number): [seconds: bigint, rest: bigint] {
  const scale = 10n ** BigInt(digits)
  const rest = ((units % scale) + scale) % scale
  return [(units - rest) / scale, rest]
}
