import type { Json } from '@headrace/schemas'
import { decimalRule, logicalBytes, type LogicalSchema, logicalWhole } from '../decode/avro-logical.ts'

/**
 * What is shown for values of logical types, back to what stands in the bytes (decode/avro-logical.ts is the other way).
 * Each function gives null where the JSON stands for none.
 */
export interface LogicalWhole {
  readonly wanted: string
  of(value: Json): number | bigint | null
}
export interface LogicalBytes {
  readonly wanted: string
  of(value: Json): Uint8Array | null
}

const LONG_MAX = 2n ** 63n - 1n
const dayTime = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?$/i
const dayOnly = /^\d{4}-\d\d-\d\d$/
const timeOnly = /^(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?$/
const DAY_MS = 86_400_000n

/** Of an `int` or a `long`; null: it is just a number. */
export function wholeOfLogical(base: 'int' | 'long', logicalType: string): LogicalWhole | null {
  const shown = logicalWhole(base, logicalType)
  if (shown === null) return null
  const [wanted, parse] = parserOf(logicalType)
  return {
    wanted,
    of(value) {
      // What no date can say is shown as the number that it is.
      if (typeof value === 'number' && Number.isSafeInteger(value))
        return typeof shown(value) === 'string' ? null : value
      const units = typeof value === 'string' ? parse(value) : null
      return units === null || units > LONG_MAX || -units > LONG_MAX ? null : units
    },
  }
}

function parserOf(logicalType: string): [wanted: string, parse: (text: string) => bigint | null] {
  if (logicalType === 'date')
    return [
      'must be a date, as 2026-11-23',
      (text) => {
        const ms = dayOnly.test(text) ? msOf(`${text}T00:00:00`) : null
        return ms === null ? null : ms / DAY_MS
      },
    ]
  const digits = logicalType.endsWith('millis') ? 3 : logicalType.endsWith('micros') ? 6 : 9
  if (logicalType.startsWith('time-'))
    return [
      `must be a time of day, as 12:00:00, with at most ${digits} digits behind its second`,
      (text) => {
        const [, time = '', fraction = ''] = timeOnly.exec(text) ?? []
        return unitsOf(msOf(`1970-01-01T${time}`), fraction, digits)
      },
    ]
  const isLocal = logicalType.startsWith('local-')
  return [
    isLocal
      ? `must be a time without a zone, as 2026-11-23T12:00:00, with at most ${digits} digits behind its second`
      : `must be a time as RFC 3339 has it, as 2026-11-23T12:00:00Z, with at most ${digits} digits behind its second`,
    (text) => {
      const [, day = '', time = '', fraction = '', zone = ''] = dayTime.exec(text) ?? []
      if (isLocal !== (zone === '')) return null
      const [ms, away] = [msOf(`${day}T${time}`), awayMs(zone)]
      return ms === null || away === null ? null : unitsOf(ms - away, fraction, digits)
    },
  ]
}

/** Since 1970, of a time that there is. */
function msOf(text: string): bigint | null {
  const ms = Date.parse(`${text}Z`)
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 19) !== text) return null
  return BigInt(ms)
}

function awayMs(zone: string): bigint | null {
  if (zone === '' || zone.toUpperCase() === 'Z') return 0n
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(4, 6))]
  if (hours > 23 || minutes > 59) return null
  return BigInt((zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000)
}

function unitsOf(ms: bigint | null, fraction: string, digits: number): bigint | null {
  if (ms === null || fraction.length > digits) return null
  return (ms / 1000n) * 10n ** BigInt(digits) + BigInt(fraction.padEnd(digits, '0'))
}

/** Of `bytes` or a `fixed`; null: they are just bytes. Throws `UnusableSchema`. */
export function bytesOfLogical(schema: LogicalSchema): LogicalBytes | null {
  if (logicalBytes(schema) === null) return null
  const { logicalType, precision, scale, size } = schema
  if (logicalType === 'uuid') return { wanted: 'must be a UUID', of: uuidBytes }
  if (logicalType === 'duration')
    return { wanted: 'must be a duration of months, days and seconds, as P1M2DT3.5S', of: durationBytes }
  const rule = decimalRule(precision, scale)
  if (rule === null) return null
  return {
    wanted: `must be a string of a decimal number of at most ${rule.precision} digits, ${rule.scale} of them behind the point`,
    of: (value) => decimalBytes(value, { ...rule, size }),
  }
}

const uuid = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i

const uuidBytes = (value: Json): Uint8Array | null =>
  typeof value === 'string' && uuid.test(value) ? Buffer.from(value.replaceAll('-', ''), 'hex') : null

const duration = /^P(\d{1,10})M(\d{1,10})DT(\d{1,7})(?:\.(\d{1,3}))?S$/
const UINT32_MAX = 0xffff_ffff

function durationBytes(value: Json): Uint8Array | null {
  const parts = typeof value === 'string' ? duration.exec(value) : null
  if (parts === null) return null
  const [, months, days, seconds, fraction = ''] = parts
  const numbers = [Number(months), Number(days), Number(seconds) * 1000 + Number(fraction.padEnd(3, '0'))]
  if (numbers.some((number) => number > UINT32_MAX)) return null
  const bytes = Buffer.alloc(12)
  numbers.forEach((number, index) => bytes.writeUInt32LE(number, 4 * index))
  return bytes
}

const decimal = /^(-?)(\d+)(?:\.(\d+))?$/

function decimalBytes(
  value: Json,
  { precision, scale, size }: { precision: number; scale: number; size: number | null },
): Uint8Array | null {
  // Long before this is true, nothing but zeroes can have been added.
  const parts = typeof value === 'string' && value.length <= 2 * precision + 3 ? decimal.exec(value) : null
  if (parts === null) return null
  const [, sign = '', whole = '', fraction = ''] = parts
  const digits = (whole + fraction.padEnd(scale, '0')).replace(/^0+/, '')
  if (fraction.length > scale || digits.length > precision) return null
  const number = BigInt(digits === '' ? '0' : digits) * (sign === '' ? 1n : -1n)
  let length = size ?? 1
  if (size === null) while (BigInt.asIntN(8 * length, number) !== number) length += 1
  if (BigInt.asIntN(8 * length, number) !== number) return null
  const hex = BigInt.asUintN(8 * length, number).toString(16)
  return Buffer.from(hex.padStart(2 * length, '0'), 'hex')
}
