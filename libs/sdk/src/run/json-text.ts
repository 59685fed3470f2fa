import { jsonPointer, limits } from '@headrace/schemas'

/** Where a value is no JSON, and why. */
export class NotJsonError extends Error {
  override readonly name = 'NotJsonError'
  /** A JSON pointer; empty for the value itself. */
  readonly path: string
  readonly detail: string

  constructor(path: string, detail: string) {
    super(`${path || 'the value'} ${detail}`)
    this.path = path
    this.detail = detail
  }
}

/**
 * A value as JSON text. What `JSON.stringify` would drop or change in silence (a function, a Map, NaN) is refused with
 * its path instead: the workflow would go on with another value than the one its body returned.
 *
 * Throws NotJsonError.
 */
export function jsonText(value: unknown): string {
  inspect(value, [], [])
  return JSON.stringify(value) ?? 'null'
}

function inspect(value: unknown, path: PropertyKey[], ancestors: object[]): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return
    case 'number':
      if (!Number.isFinite(value)) refuse(path, `is ${value}`)
      return
    case 'bigint':
      return refuse(path, 'is a bigint; return String(value)')
    case 'function':
    case 'symbol':
      return refuse(path, `is a ${typeof value}`)
    case 'object':
      if (value !== null) inspectObject(value, path, ancestors)
  }
}

function inspectObject(value: object, path: PropertyKey[], ancestors: object[]): void {
  if (ancestors.includes(value)) refuse(path, 'contains itself')
  if (ancestors.length >= limits.jsonDepthMax)
    refuse(path, `is nested deeper than ${limits.jsonDepthMax} levels`)
  ancestors.push(value)
  if ('toJSON' in value && typeof value.toJSON === 'function') inspect(value.toJSON(), path, ancestors)
  else if (Array.isArray(value))
    for (const [index, item] of value.entries()) member(item, index, path, ancestors)
  else if (value instanceof Map) refuse(path, 'is a Map; return Object.fromEntries(map)')
  else if (value instanceof Set) refuse(path, 'is a Set; return [...set]')
  else for (const key of Object.keys(value)) member(value[key as keyof typeof value], key, path, ancestors)
  ancestors.pop()
}

function member(value: unknown, key: PropertyKey, path: PropertyKey[], ancestors: object[]): void {
  path.push(key)
  inspect(value, path, ancestors)
  path.pop()
}

function refuse(path: PropertyKey[], detail: string): never {
  throw new NotJsonError(jsonPointer(path), detail)
}
