import { compileTypeSchema } from '@headrace/registry'
import {
  type FieldFault,
  type Json,
  limits,
  ProblemError,
  type PutEventType,
  type WireValidation,
} from '@headrace/schemas'
import type { EventTypeRecord } from '@headrace/store'

/** What is wrong with a schema that no data could be checked by. */
export function unusableSchema({ schema_type: type, schema }: PutEventType, pointer: string): FieldFault[] {
  try {
    compileTypeSchema(type, schema)
    return []
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    return [{ pointer, code: error.code, detail: error.message }]
  }
}

/** Whether the schema of an event type takes this data, as publishing would find it. */
export function validateData({ schemaType, schema }: EventTypeRecord, data: Json): WireValidation {
  const written = compileTypeSchema(schemaType, schema)(data, JSON.stringify(data))
  if (Buffer.isBuffer(written)) return { valid: true, errors: [] }
  const errors = written.slice(0, limits.problemErrorsMax)
  return { valid: false, errors: errors.map(({ pointer, detail }) => ({ pointer, detail })) }
}
