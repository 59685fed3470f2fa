import { type FieldFault, ProblemError } from '@headrace/schemas'

/** A request with any of these headers is a CloudEvent in binary mode, or was meant to be one. */
export const isBinaryMode = (headers: NodeJS.Dict<string | string[]>): boolean =>
  Object.keys(headers).some((name) => name.startsWith(PREFIX))

const PREFIX = 'ce-'
const quoted = /^"((?:[^"\\]|\\.)*)"$/
const visibleAscii = /^[\x20-\x7e\t]*$/

/**
 * The attributes that stand in `ce-` headers, decoded as the HTTP binding says: quoted strings first, then one round of
 * percent-decoding, whose bytes must be UTF-8. `rawHeaders`: as Node has them, names and values in turn, so that one that
 * was sent twice is seen. Throws `invalid_header`, which names each header.
 */
export function binaryAttributes(rawHeaders: readonly string[]): Record<string, string> {
  const attributes = new Map<string, string>()
  const faults: FieldFault[] = []
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase()
    if (!name.startsWith(PREFIX)) continue
    const attribute = name.slice(PREFIX.length)
    const value = decoded(rawHeaders[at + 1] ?? '')
    const detail = attributes.has(attribute)
      ? 'was sent twice'
      : attribute === 'datacontenttype' || attribute === 'data'
        ? 'must not be sent: the body is the data, and Content-Type says what it is'
        : value === null
          ? 'must be visible ASCII in which % begins a percent-encoded byte, and those bytes UTF-8'
          : null
    if (detail !== null) faults.push({ pointer: name, code: 'invalid_header', detail })
    attributes.set(attribute, value ?? '')
  }
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  return Object.fromEntries(attributes)
}

/** Null where it cannot be decoded. */
function decoded(value: string): string | null {
  if (!visibleAscii.test(value)) return null
  const inside = quoted.exec(value)?.[1]
  try {
    return decodeURIComponent(inside === undefined ? value : inside.replaceAll(/\\(.)/g, '$1'))
  } catch {
    return null
  }
}
