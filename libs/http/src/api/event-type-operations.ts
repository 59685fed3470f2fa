import {
  eventTypeBodySchema,
  limits,
  validateDataSchema,
  type WireValidation,
  type WireEventType,
  type WireEventTypeDryRun,
} from '@headrace/schemas'
import { z } from 'zod'
import { answer, json, type Operations } from './operation.ts'
import { page } from './parameters.ts'
import { anyJson, listOf, named, text, textOrNull, time } from './wire-schema.ts'

const eventType = named<WireEventType>(
  'EventType',
  z.object({
    name: text,
    pattern: text,
    schema_type: z.enum(['json', 'avro']),
    schema: z.record(text, anyJson),
    mode: z.enum(['off', 'warn', 'enforce']),
    content_model: z.enum(['closed', 'open']),
    subject: text,
    schema_id: z.int().nullable(),
    version: z.int().nullable(),
    dataschema: textOrNull,
    created_at: time,
    updated_at: time,
  }),
)
const dryRun = named<WireEventTypeDryRun>(
  'EventTypeDryRun',
  z.object({
    dry_run: z.literal(true),
    name: text,
    subject: text,
    outcome: z.enum(['new', 'changed', 'same']),
  }),
)
const validation = named<WireValidation>(
  'Validation',
  z.object({
    valid: z.boolean(),
    errors: z.array(z.object({ pointer: text, detail: text })).max(limits.problemErrorsMax),
  }),
)
const types = { tag: 'event types', apps: ['orchestrator'] } as const

export const eventTypeOperations: Operations = {
  'GET /v1/event-types': {
    ...types,
    id: 'listEventTypes',
    summary: 'Event types: which topics have data of which schema',
    scope: 'events:read',
    query: page,
    answers: { 200: answer('By name', listOf(eventType)) },
  },
  'GET /v1/event-types/{name}': {
    ...types,
    id: 'getEventType',
    summary: 'One event type',
    scope: 'events:read',
    answers: { 200: answer('The event type', eventType) },
    problems: ['event_type_not_found'],
  },
  'PUT /v1/event-types/{name}': {
    ...types,
    id: 'putEventType',
    summary: 'Make an event type, or change it',
    scope: 'admin',
    query: { dry_run: z.boolean().default(false).describe('Say what would be done, and do nothing') },
    body: json(eventTypeBodySchema.meta({ id: 'PutEventType' })),
    answers: {
      200: answer('It was changed, or was so already', z.union([eventType, dryRun])),
      201: answer('It was made', eventType),
    },
    problems: [
      'invalid_pattern',
      'event_type_exists',
      'schema_unusable',
      'schema_incompatible',
      'schema_registry_unavailable',
      'schema_register_off',
      'too_many_event_types',
      'overloaded',
    ],
  },
  'DELETE /v1/event-types/{name}': {
    ...types,
    id: 'deleteEventType',
    summary: 'Forget an event type; a schema registry keeps what it has',
    scope: 'admin',
    answers: { 204: { description: 'It is gone' } },
    problems: ['event_type_not_found', 'schema_register_off'],
  },
  'POST /v1/event-types/{name}/validate': {
    ...types,
    id: 'validateData',
    summary: 'Try data against the schema of an event type',
    scope: 'events:read',
    body: json(validateDataSchema),
    answers: { 200: answer('Whether it fits, and what does not', validation) },
    problems: ['event_type_not_found'],
  },
}
