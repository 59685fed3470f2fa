import { isDeepStrictEqual } from 'node:util'
import { type EventTypeBody, eventTypeName, limits, withoutParameters } from '@headrace/schemas'
import type { AnyEventDefinition } from '../workflow/define-event.ts'
import { closeContent, type JsonSchema } from './closed-content.ts'
import { jsonSchemaOf } from './json-schema.ts'

export interface EventTypes {
  /** What a registration, or `PUT /v1/event-types/{name}`, says of them. */
  readonly bodies: readonly EventTypeBody[]
  /** Those with a schema that stays here, checked by nobody but this program, and why. */
  readonly unregistered: readonly { readonly pattern: string; readonly reason: string }[]
}

/**
 * The event types of definitions that have a schema; a definition may be there twice. Throws TypeError where a schema asks for
 * what JSON cannot hold, where two definitions of one type differ, and above 200 types.
 */
export function eventTypesOf(definitions: Iterable<AnyEventDefinition>): EventTypes {
  const bodies = new Map<string, EventTypeBody>()
  const unregistered = new Map<string, string>()
  for (const definition of new Set(definitions)) {
    const { pattern } = definition
    const schema = schemaOf(definition)
    if (schema === null) continue
    if ('reason' in schema) unregistered.set(pattern, schema.reason)
    else add(bodies, bodyOf(definition, schema))
  }
  if (bodies.size > limits.eventTypesPerWorkerMax)
    throw new TypeError(
      `a worker has at most ${limits.eventTypesPerWorkerMax} event types, not ${bodies.size}`,
    )
  return {
    bodies: [...bodies.values()],
    unregistered: [...unregistered].map(([pattern, reason]) => ({ pattern, reason })),
  }
}

type Schema = Pick<EventTypeBody, 'schema_type'> & { schema: JsonSchema }

function schemaOf({ pattern, schema, rule }: AnyEventDefinition): Schema | { reason: string } | null {
  if (schema === null && rule.explicit === null) return null
  if (pattern.endsWith('/**')) return { reason: 'a pattern with ** has events of several types' }
  if (rule.explicit !== null) return { schema_type: rule.explicit.type, schema: rule.explicit.schema }
  if (schema === null) return null
  const derived = jsonSchemaOf(schema)
  if (derived.kind === 'schema') return { schema_type: 'json', schema: derived.schema }
  if (derived.kind === 'none')
    return { reason: `its schema (${schema['~standard'].vendor}) tells no JSON Schema: give jsonSchema` }
  throw new TypeError(
    `event type "${pattern}": ${
      derived.kind === 'failed'
        ? `its schema tells no JSON Schema (${derived.reason}): give jsonSchema`
        : `JSON cannot hold what its schema takes: ${derived.faults.map(faultText).join('; ')}`
    }`,
  )
}

const faultText = ({ path, type }: { path: string; type: string }): string =>
  `${path === '' ? 'it' : path} is a ${type}: ${hints[type] ?? 'give jsonSchema'}`

const hints: Record<string, string> = {
  date: 'use z.iso.datetime(), or z.codec to have a Date in the handler',
  bigint: 'use z.string(), or z.int() below 2^53',
}

function bodyOf({ pattern, rule }: AnyEventDefinition, { schema_type, schema }: Schema): EventTypeBody {
  const closes = schema_type === 'json' && rule.contentModel === 'closed'
  return {
    pattern,
    schema_type,
    schema: closes ? closeContent(schema) : schema,
    mode: rule.mode,
    content_model: rule.contentModel,
    ...(rule.subject === null ? {} : { subject: rule.subject }),
  }
}

function add(bodies: Map<string, EventTypeBody>, body: EventTypeBody): void {
  const name = eventTypeName(body.pattern)
  const other = bodies.get(name)
  if (other === undefined) bodies.set(name, body)
  else if (!isDeepStrictEqual(comparable(other), comparable(body)))
    throw new TypeError(
      other.pattern === body.pattern
        ? `event type "${name}" is defined twice, with different schemas or options`
        : `"${other.pattern}" and "${body.pattern}" are both the event type "${name}", and differ`,
    )
}

/** What a parameter is called makes no other type. */
const comparable = (body: EventTypeBody): EventTypeBody => ({
  ...body,
  pattern: withoutParameters(body.pattern),
})
