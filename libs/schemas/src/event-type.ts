import { z } from 'zod'
import { bounded, type Json } from './event.ts'
import { limits } from './limits.ts'
import { patternFault } from './topic.ts'

/**
 * An event type: a pattern of topics whose events all have data of one schema. It is known by its name, which follows from
 * the pattern (docs/event-types.md).
 */
const schemaTypes = ['json', 'avro'] as const
export type SchemaType = (typeof schemaTypes)[number]

/** What is done with data that its schema does not take: nothing is looked at, it is said, or it is refused. */
const eventTypeModes = ['off', 'warn', 'enforce'] as const
export type EventTypeMode = (typeof eventTypeModes)[number]

const contentModels = ['closed', 'open'] as const
export type ContentModel = (typeof contentModels)[number]

/** A JSON Schema or an Avro schema, as JSON. */
export type TypeSchema = Readonly<Record<string, Json>>

const WILDCARD = /^(\*|\{.*\})$/

/** Which topics a pattern stands for, whatever its parameters are called: `approvals/{id}` as `approvals/*`. */
export const withoutParameters = (pattern: string): string =>
  pattern
    .split('/')
    .map((segment) => (WILDCARD.test(segment) ? '*' : segment))
    .join('/')

/** The name of the event type with this pattern: `approvals/{id}` is `approvals._`. */
export const eventTypeName = (pattern: string): string =>
  pattern
    .split('/')
    .map((segment) => (WILDCARD.test(segment) ? '_' : segment))
    .join('.')

const typePatternSchema = z.string().superRefine((pattern, context) => {
  const fault =
    patternFault(pattern) ??
    (pattern.endsWith('**') ? '** may not stand here: an event type is of topics of one shape' : null)
  if (fault) context.addIssue({ code: 'custom', message: fault, params: { code: 'invalid_pattern' } })
})

const bytesOf = (schema: object): number => new TextEncoder().encode(JSON.stringify(schema)).length

const typeSchemaSchema = z
  .record(z.string(), z.unknown(), { error: 'must be the schema itself, a JSON object' })
  .refine((schema) => bytesOf(schema) <= limits.eventTypeSchemaBytesMax, {
    error: `is longer than ${limits.eventTypeSchemaBytesMax} bytes of JSON`,
  })
  .transform((schema) => schema as TypeSchema)

const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) =>
  z.enum(names, { error: `must be one of ${names.join(', ')}` })

/** The body of `PUT /v1/event-types/{name}`, and one event type of a worker's registration. */
export const eventTypeBodySchema = z.strictObject({
  pattern: typePatternSchema,
  schema_type: oneOf(schemaTypes),
  schema: typeSchemaSchema,
  mode: oneOf(eventTypeModes).default('enforce'),
  /** In the schema registry; absent: `<Kafka topic>-<name>`. */
  subject: bounded(limits.subjectCharactersMax).optional(),
  /** `closed`: each version must read what the one before wrote. `open`: any schema may follow any other. */
  content_model: oneOf(contentModels).default('closed'),
})
/** As it is sent. */
export type EventTypeBody = z.input<typeof eventTypeBodySchema>
/** As it was read: what was left out has its default. */
export type PutEventType = z.output<typeof eventTypeBodySchema>

/** The body of `POST /v1/event-types/{name}/validate`. */
export const validateDataSchema = z.strictObject({
  data: z.unknown().refine((data) => data !== undefined, { error: 'is required' }),
})

/** What an event type is checked and written by: a setting on the config topic, and what the orchestrator reads of its table. */
export const eventTypeSettingSchema = z.strictObject({
  name: z.string(),
  pattern: z.string(),
  schema_type: z.enum(schemaTypes),
  schema: z.record(z.string(), z.unknown()).transform((schema) => schema as TypeSchema),
  mode: z.enum(eventTypeModes),
  /** Null: no registry has it. */
  schema_id: z.int().nullable(),
  subject: z.string(),
  /** The URL of this version in the registry; null: no registry has it. */
  dataschema: z.string().nullable(),
})
export type EventTypeSetting = z.output<typeof eventTypeSettingSchema>

/** An event type as the API shows it. */
export interface WireEventType extends EventTypeSetting {
  content_model: ContentModel
  version: number | null
  created_at: string
  updated_at: string
}

/** The answer of `PUT /v1/event-types/{name}?dry_run=true`. */
export interface WireEventTypeDryRun {
  dry_run: true
  name: string
  subject: string
  outcome: 'new' | 'changed' | 'same'
}

export interface WireValidation {
  valid: boolean
  /** What the schema does not take, by its place in `data`; at most 100. */
  errors: { pointer: string; detail: string }[]
}

/** Where a worker's event type and the registered one are not the same, and registration may not change it. */
export interface EventTypeWarning {
  name: string
  code: 'event_type_not_registered' | 'event_type_differs'
  detail: string
}
