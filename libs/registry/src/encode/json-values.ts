import type { Json, TypeSchema } from '@headrace/schemas'
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { UnusableSchema } from '../decode/undecodable.ts'
import { type DataFault, escaped, FAULTS_MAX } from './avro-out.ts'

/** In larger data only the first fault is looked for: each costs more than the value that it is about. */
const ALL_FAULTS_CHARACTERS_MAX = 64 * 1024
const DRAFT_2020 = /^https?:\/\/json-schema\.org\/draft\/2020-12\/schema#?$/

/** What the data has that the schema does not take. `text`: the data as JSON. */
export type JsonCheck = (data: Json, text: string) => readonly DataFault[]

/**
 * Compiles a JSON Schema, draft-07 or 2020-12 by its `$schema`, else draft-07. It becomes code of this process, with what
 * regular expressions it has: who may write event types is trusted with that. Throws {@link UnusableSchema}.
 */
export function compileJsonCheck(schema: TypeSchema): JsonCheck {
  const isValid = compiled(schema, { allErrors: false })
  let all: ValidateFunction | null = null
  return (data, text) => {
    if (isValid(data)) return []
    if (text.length > ALL_FAULTS_CHARACTERS_MAX) return faultsOf(isValid.errors)
    all ??= compiled(schema, { allErrors: true })
    all(data)
    const faults = faultsOf(all.errors ?? isValid.errors)
    // Kept, they would keep what they are about.
    all.errors = isValid.errors = null
    return faults
  }
}

function compiled(schema: TypeSchema, options: Options): ValidateFunction {
  try {
    const dialect = schema['$schema']
    const Dialect = typeof dialect === 'string' && DRAFT_2020.test(dialect) ? Ajv2020 : Ajv
    const ajv = new Dialect({ strict: false, logger: false, ...options })
    formats.default(ajv)
    const validate = ajv.compile(schema)
    if ('$async' in validate) throw new UnusableSchema('$async is not possible')
    return validate
  } catch (error) {
    if (error instanceof UnusableSchema) throw error
    throw new UnusableSchema(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

const faultsOf = (errors: readonly ErrorObject[] | null | undefined): DataFault[] =>
  (errors ?? []).slice(0, FAULTS_MAX).map((error) => ({ pointer: pointerOf(error), detail: detailOf(error) }))

/** A field that is missing, or one too many, has the place of its own. */
function pointerOf({ instancePath, params }: ErrorObject): string {
  const { missingProperty, additionalProperty, unevaluatedProperty } = params
  const name: unknown = missingProperty ?? additionalProperty ?? unevaluatedProperty
  return typeof name === 'string' ? `${instancePath}/${escaped(name)}` : instancePath
}

function detailOf({ keyword, message, params }: ErrorObject): string {
  if (keyword === 'required') return 'is required'
  if (keyword === 'additionalProperties' || keyword === 'unevaluatedProperties')
    return 'is no property of the schema'
  const { allowedValues } = params
  if (Array.isArray(allowedValues) && allowedValues.length <= 10)
    return `must be one of ${allowedValues.map((value) => JSON.stringify(value)).join(', ')}`.slice(0, 500)
  return message ?? `does not fit ${keyword}`
}
