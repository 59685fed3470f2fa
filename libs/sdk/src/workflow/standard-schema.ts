import { jsonPointer } from '@headrace/schemas'
import { type SchemaFault, SchemaValidationError } from '../errors/step-error.ts'

/**
 * The part of Standard Schema v1 (https://standardschema.dev) that is used: any library that speaks it will do
 * (zod, valibot, arktype, …), and none is a dependency.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
      }[]
    }

/** What the schema takes, and what is stored. */
export type SchemaInput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['input']
/** What the schema makes of it, and what the handler gets. */
export type SchemaOutput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output']

/** The schema's output, or a SchemaValidationError that names every fault under `at`. */
export async function validate<Output>(params: {
  schema: StandardSchema<unknown, Output>
  value: unknown
  subject: string
  at?: readonly PropertyKey[]
}): Promise<Output> {
  const { schema, value, subject, at = [] } = params
  const result = await schema['~standard'].validate(value)
  if (result.issues === undefined) return result.value
  const issues = result.issues.map((issue): SchemaFault => {
    const path = (issue.path ?? []).map((part) => (typeof part === 'object' ? part.key : part))
    return { path: jsonPointer([...at, ...path]), message: issue.message }
  })
  throw new SchemaValidationError(subject, issues)
}
