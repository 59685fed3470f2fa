import { limits } from './limits.ts'
import { type FieldFault, ProblemError } from './problem.ts'
import { jsonPointer } from './validate.ts'

/**
 * JSON in, with nothing lost on the way: what a double cannot hold, what would pollute a prototype and what is
 * nested deeper than the limit is refused with its pointer, never changed.
 *
 * Throws {@link ProblemError}: `invalid_json`, `number_not_exact`, `forbidden_key`, `json_too_deep`.
 */
export function parseExactJson(text: string): unknown {
  const value = parseJson(text)
  const faults: FieldFault[] = []
  inspect(value, [], faults)
  // Fifteen digits always survive a double; only longer numbers and exponents are worth the slow look.
  if (faults.length === 0 && mayBeInexact.test(text)) findInexact(text, faults)
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  return value
}

const mayBeInexact = /[\d.]{16,}|\d[eE][+-]?\d/

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    // V8's message quotes the text around the fault; a body may be a secret, so only the place is told.
    const place = /at position (\d+)/.exec(error instanceof Error ? error.message : '')
    const where = place ? ` at position ${place[1]}` : ''
    throw new ProblemError('invalid_json', `The body is not JSON${where}; send one JSON value in UTF-8`, {
      cause: error,
    })
  }
}

function inspect(value: unknown, path: (string | number)[], faults: FieldFault[]): void {
  if (typeof value !== 'object' || value === null) return
  if (path.length >= limits.jsonDepthMax) {
    faults.push({
      pointer: jsonPointer(path),
      code: 'json_too_deep',
      detail: `nested deeper than ${limits.jsonDepthMax} levels`,
    })
    return
  }
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      path.push(index)
      inspect(value[index], path, faults)
      path.pop()
    }
    return
  }
  for (const [key, member] of Object.entries(value)) {
    path.push(key)
    if (key === '__proto__') {
      faults.push({
        pointer: jsonPointer(path),
        code: 'forbidden_key',
        detail: 'the key "__proto__" is refused: it would change objects that copy it',
      })
    } else inspect(member, path, faults)
    path.pop()
  }
}

/** A reviver does not know its path: it puts a marker in a number's place, and a walk over the copy finds the markers. */
function findInexact(text: string, faults: FieldFault[]): void {
  let found = false
  const mark = (_key: string, value: unknown, context?: { source?: string }): unknown => {
    if (typeof value !== 'number' || context?.source === undefined || isExact(context.source, value))
      return value
    found = true
    return new InexactNumber(context.source)
  }
  const copy: unknown = JSON.parse(text, mark)
  if (found) collect(copy, [], faults)
}

class InexactNumber {
  readonly source: string
  constructor(source: string) {
    this.source = source
  }
}

function collect(value: unknown, path: (string | number)[], faults: FieldFault[]): void {
  if (value instanceof InexactNumber) {
    const shown = value.source.slice(0, 40)
    faults.push({
      pointer: jsonPointer(path),
      code: 'number_not_exact',
      detail: `${shown} cannot be kept exactly by a 64-bit float; send it as a string`,
    })
    return
  }
  if (typeof value !== 'object' || value === null) return
  for (const [key, member] of Object.entries(value)) collect(member, [...path, key], faults)
}

/**
 * True when the shortest decimal of the double is the same number as the text: 1.10 and 1e2 are, 0.1 is (it reads
 * back as itself), 12345678901234567890 and 1e400 are not.
 */
export function isExact(source: string, value: number): boolean {
  if (!Number.isFinite(value)) return false
  return decimalOf(source) === decimalOf(String(value))
}

/** Sign, digits without leading and trailing zeros, and the exponent of the last digit: one text a number. */
function decimalOf(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text)
  if (!match) return text
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match
  const digits = (whole + fraction).replace(/^0+/, '')
  const kept = digits.replace(/0+$/, '')
  if (kept === '') return '0'
  return `${sign}${kept}e${Number(exponent) - fraction.length + (digits.length - kept.length)}`
}
