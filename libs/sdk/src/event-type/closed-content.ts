/** A JSON Schema as an object; `true` and `false` are schemas too, and have no content. */
export type JsonSchema = { readonly [keyword: string]: unknown }

/**
 * The schema with `additionalProperties: false` on every object that names its properties and says nothing of others. Of an
 * open schema registries take a new optional property for a breaking change, because older events may have had
 * anything under its name.
 *
 * What is put together of several schemas (`allOf`, or `properties` beside `oneOf`) stays as it is, with all below it: each part
 * sees only its own properties, so closing them would leave nothing that passes all. So do conditions (`if`, `not`), which would
 * ask for something else if they were closed.
 */
export function closeContent(root: JsonSchema): JsonSchema {
  const open = new Set<JsonSchema>()
  findOpen({ schema: root, root, open, seen: new Set() })
  return closedCopy(root, open)
}

const schemaLists = ['anyOf', 'oneOf', 'allOf', 'items', 'prefixItems'] as const
const schemaMaps = ['properties', 'patternProperties', 'definitions', '$defs'] as const
const schemas = ['items', 'additionalItems', 'additionalProperties'] as const
const conditions = [
  'if',
  'then',
  'else',
  'not',
  'contains',
  'propertyNames',
  'dependencies',
  'dependentSchemas',
] as const
/** What joins further conditions to the `properties` beside it; `$ref` does since draft 2019-09. */
const joins = ['anyOf', 'oneOf', 'if', 'not', 'dependencies', 'dependentSchemas', '$ref'] as const
/** What says itself which further properties there may be, or makes draft-07 pass over what stands beside it. */
const says = ['additionalProperties', 'patternProperties', 'unevaluatedProperties', '$ref'] as const

const isSchemaObject = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** With `map` applied to what stands below, conditions left out. */
function copyWith(schema: JsonSchema, map: (child: JsonSchema) => JsonSchema): JsonSchema {
  const copy: Record<string, unknown> = { ...schema }
  const mapped = (value: unknown): unknown => (isSchemaObject(value) ? map(value) : value)
  for (const keyword of schemas) if (isSchemaObject(copy[keyword])) copy[keyword] = mapped(copy[keyword])
  for (const keyword of schemaLists) {
    const parts = copy[keyword]
    if (Array.isArray(parts)) copy[keyword] = parts.map(mapped)
  }
  for (const keyword of schemaMaps) {
    const named = copy[keyword]
    if (isSchemaObject(named))
      copy[keyword] = Object.fromEntries(Object.entries(named).map(([name, value]) => [name, mapped(value)]))
  }
  return copy
}

function closedCopy(schema: JsonSchema, open: ReadonlySet<JsonSchema>): JsonSchema {
  if (open.has(schema)) return schema
  const copy = copyWith(schema, (child) => closedCopy(child, open))
  if (!isSchemaObject(copy['properties']) || says.some((keyword) => keyword in copy)) return copy
  return { ...copy, additionalProperties: false }
}

interface Search {
  schema: JsonSchema
  root: JsonSchema
  open: Set<JsonSchema>
  seen: Set<JsonSchema>
}

function findOpen({ schema, root, open, seen }: Search): void {
  if (seen.has(schema)) return
  seen.add(schema)
  if ('allOf' in schema || ('properties' in schema && joins.some((keyword) => keyword in schema)))
    keepOpen(schema, root, open)
  for (const keyword of conditions) {
    const condition = schema[keyword]
    if (isSchemaObject(condition)) keepOpen(condition, root, open)
  }
  copyWith(schema, (child) => {
    findOpen({ schema: child, root, open, seen })
    return child
  })
}

/** With whatever stands below and is referred to: all of it, so that no keyword is forgotten. */
function keepOpen(value: unknown, root: JsonSchema, open: Set<JsonSchema>): void {
  if (Array.isArray(value)) for (const item of value) keepOpen(item, root, open)
  if (!isSchemaObject(value) || open.has(value)) return
  open.add(value)
  // What cannot be followed may lead anywhere: then nothing is closed.
  for (const keyword of references)
    if (typeof value[keyword] === 'string') keepOpen(referredBy(value[keyword], root) ?? root, root, open)
  for (const child of Object.values(value)) keepOpen(child, root, open)
}

const references = ['$ref', '$dynamicRef', '$recursiveRef'] as const

/** Where a `#/…` leads by names; null for one that leads elsewhere, or by another way. */
function referredBy(ref: string, root: JsonSchema): JsonSchema | null {
  if (!/^#(\/|$)/.test(ref)) return null
  let place: unknown = root
  for (const part of ref.split('/').slice(1)) place = isSchemaObject(place) ? place[nameOf(part)] : null
  return isSchemaObject(place) ? place : null
}

/** A part of a JSON pointer in a URI (RFC 6901 §6); one that is malformed stands for itself. */
function nameOf(part: string): string {
  let name = part
  try {
    name = decodeURIComponent(part)
  } catch {
    // `%` that is no escape: no name of the schema is then found by it, or one that is spelt so.
  }
  return name.replaceAll('~1', '/').replaceAll('~0', '~')
}
