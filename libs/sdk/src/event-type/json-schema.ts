import { jsonPointer } from '@headrace/schemas'
import { z } from 'zod'
import type { StandardSchema } from '../workflow/standard-schema.ts'
import type { JsonSchema } from './closed-content.ts'

export type DerivedSchema =
  | { kind: 'schema'; schema: JsonSchema }
  /** The library does not speak Standard JSON Schema. */
  | { kind: 'none' }
  /** It asks for what JSON cannot hold; `path` is that of the data, with `*` for any item or key. */
  | { kind: 'unrepresentable'; faults: { path: string; type: string }[] }
  | { kind: 'failed'; reason: string }

/** The newest that registries check for compatibility. */
const target = 'draft-07'

type Convert = (options: { target: string; libraryOptions?: Record<string, unknown> }) => unknown

/**
 * The JSON Schema of what a schema takes (its input, which is what is stored): by Standard JSON Schema
 * (https://standardschema.dev/json-schema) where the library speaks it, else by zod for a schema of zod 4.
 */
export function jsonSchemaOf(schema: StandardSchema): DerivedSchema {
  const standard: object = schema['~standard']
  const isZod = schema['~standard'].vendor === 'zod'
  const convert = converterOf(standard) ?? (isZod && '_zod' in schema ? zodConverterOf(schema) : null)
  if (convert === null) return { kind: 'none' }
  const faults: Fault[] = []
  try {
    const libraryOptions = { unrepresentable: 'any', override: overrideOf(faults) }
    const converted = convert({ target, ...(isZod ? { libraryOptions } : {}) })
    if (faults.length > 0)
      return {
        kind: 'unrepresentable',
        faults: faults.toReversed().map(({ path, type }) => ({ path: dataPointerOf(path), type })),
      }
    // A copy: what a library hands out may share its parts, or have fields that are no JSON.
    return { kind: 'schema', schema: JSON.parse(JSON.stringify(converted)) as JsonSchema }
  } catch (error) {
    return { kind: 'failed', reason: error instanceof Error ? error.message : String(error) }
  }
}

function converterOf(standard: object): Convert | null {
  const converters: unknown = 'jsonSchema' in standard ? standard.jsonSchema : null
  if (typeof converters !== 'object' || converters === null || !('input' in converters)) return null
  const { input } = converters
  return typeof input === 'function' ? (options) => input.call(converters, options) as unknown : null
}

const zodConverterOf =
  (schema: unknown): Convert =>
  ({ libraryOptions }) =>
    z.toJSONSchema(schema as z.ZodType, { target, io: 'input', ...libraryOptions })

type SchemaPath = readonly (string | number)[]

interface Fault {
  path: SchemaPath
  type: string
}

interface ZodPlace {
  zodSchema: {
    def: { type: string; coerce?: boolean; in?: { def: { type: string } }; values?: readonly unknown[] }
  }
  jsonSchema: Record<string, unknown>
  path: SchemaPath
}

const unrepresentable = new Set([
  'bigint',
  'custom',
  'date',
  'file',
  'function',
  'map',
  'nan',
  'set',
  'symbol',
  'transform',
  'undefined',
  'void',
])

/** Zod's answer, made true where it tells of the output, or of the moment at which it was asked. Inner places come first. */
const overrideOf =
  (faults: Fault[]) =>
  ({ zodSchema, jsonSchema, path }: ZodPlace): void => {
    const { type, coerce, in: source, values } = zodSchema.def
    // A default may be another one at each start (a time, an id): each would be a new version of the schema.
    delete jsonSchema['default']
    const takesAnything = coerce === true || type === 'catch' || source?.def.type === 'transform'
    if (takesAnything) {
      for (const keyword of Object.keys(jsonSchema)) delete jsonSchema[keyword]
      const outside = faults.filter((fault) => !path.every((part, at) => fault.path[at] === part))
      faults.splice(0, faults.length, ...outside)
    } else if (unrepresentable.has(type)) faults.push({ path, type })
    else if (type === 'literal' && values?.some((value) => typeof value === 'bigint') === true)
      faults.push({ path, type: 'bigint' })
  }

/** From a place in the schema to the place in the data. */
function dataPointerOf(path: SchemaPath): string {
  const parts: (string | number)[] = []
  for (let at = 0; at < path.length; at += 1) {
    const keyword = path[at]
    if (keyword === 'properties') parts.push(path[(at += 1)] ?? '')
    else if (keyword === 'items' || keyword === 'prefixItems' || keyword === 'additionalProperties')
      parts.push('*')
    // What follows is a number: of the item, or of the choice.
    if (typeof path[at + 1] === 'number') at += 1
  }
  return jsonPointer(parts)
}
