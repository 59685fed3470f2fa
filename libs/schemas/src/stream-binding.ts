import { z } from 'zod'
import { bounded } from './event.ts'
import { limits } from './limits.ts'
import type { FieldFault } from './problem.ts'
import { streamOf, topicFault } from './topic.ts'

/**
 * An external stream: a Kafka topic that somebody else writes, bound to the name of a stream. A binding says how its
 * records are read as events; what is left out has a default (docs/external-streams.md).
 */
const KAFKA_TOPIC_CHARACTERS_MAX = 249
const HEADER_NAME_CHARACTERS_MAX = 200
const POINTER_CHARACTERS_MAX = 500

const kafkaTopicSchema = z
  .string()
  .max(KAFKA_TOPIC_CHARACTERS_MAX)
  .regex(/^[A-Za-z0-9._-]+$/, 'names a Kafka topic: letters, digits and . _ - only')
  .refine((name) => name !== '.' && name !== '..', { error: 'is no name of a Kafka topic' })
  .refine((name) => !name.startsWith('__'), { error: 'is one of Kafka’s own topics' })

const pointerSchema = z
  .string()
  .max(POINTER_CHARACTERS_MAX)
  .regex(/^(\/([^~/]|~[01])*)*$/, 'must be a JSON pointer into the value, such as /type')

const headerSchema = bounded(HEADER_NAME_CHARACTERS_MAX)
const prefixSchema = bounded(limits.topicCharactersMax)

const inHeader = z.strictObject({ header: headerSchema })
const inValue = z.strictObject({ pointer: pointerSchema })
const topicRule = z.union(
  [
    z.strictObject({ const: z.string() }),
    z.strictObject({ header: headerSchema, prefix: prefixSchema.optional() }),
    z.strictObject({ pointer: pointerSchema, prefix: prefixSchema.optional() }),
  ],
  { error: 'must be {"const":"orders/created"}, {"header":…,"prefix"?} or {"pointer":…,"prefix"?}' },
)

const VALUE_FORMATS = ['auto', 'json', 'string', 'binary', 'json_schema', 'avro', 'protobuf'] as const
const KEY_FORMATS = ['string', 'binary', 'avro'] as const

const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) =>
  z.enum(names, { error: `must be one of ${names.join(', ')}` })

/** How the records of an external stream are read. Fields as on the wire: it is kept and sent as it is. */
export const bindingRuleSchema = z.strictObject({
  kafka_topic: kafkaTopicSchema,
  value_format: oneOf(VALUE_FORMATS).default('auto'),
  key_format: oneOf(KEY_FORMATS).default('string'),
  /** How a value of an Avro union is shown: as itself, or as `{"<its type>": value}`. */
  unions: oneOf(['unwrap', 'keep']).default('unwrap'),
  topic: topicRule,
  id: z
    .union([z.literal('offset'), inHeader, inValue], {
      error: 'must be "offset", {"header":…} or {"pointer":…}',
    })
    .default('offset'),
  event_type: z
    .union([z.strictObject({ const: bounded(limits.eventTypeCharactersMax) }), inHeader, inValue], {
      error: 'must be {"const":…}, {"header":…} or {"pointer":…}',
    })
    .nullable()
    .default(null),
  isolation: z
    .literal('read_committed', {
      error: 'must be read_committed: what a transaction aborted never happened',
    })
    .default('read_committed'),
  tombstones: z.enum(['event', 'skip']).default('event'),
  /** Where triggers begin that are registered on it. */
  start: z
    .union([z.enum(['latest', 'earliest']), z.iso.datetime({ offset: true })], {
      error: 'must be latest, earliest, or a time such as 2026-11-23T12:00:00Z',
    })
    .default('latest'),
  writable: z.boolean().default(false),
})
export type BindingRule = z.output<typeof bindingRuleSchema>

/** The body of `PUT /v1/streams/{stream}` that binds an external stream. */
export const bindStreamSchema = z.strictObject({ external: z.literal(true), ...bindingRuleSchema.shape })

/** What an external stream is bound to. */
export interface StreamBinding {
  readonly stream: string
  readonly rule: BindingRule
  /** Rises with every change of any setting, so that an older one that comes late is known. */
  readonly revision: number
}

/** What of a rule does not fit its stream: the topics it gives must belong to the stream. */
export function bindingFaults(stream: string, { topic }: BindingRule): FieldFault[] {
  if ('const' in topic) {
    const fault =
      topicFault(topic.const) ??
      (streamOf(topic.const) === stream ? null : `must begin with ${stream}, as the topics of this stream do`)
    return fault === null ? [] : [{ pointer: '/topic/const', code: 'invalid_topic', detail: fault }]
  }
  const { prefix } = topic
  if (prefix === undefined || streamOf(prefix) === stream) return []
  const detail = `must begin with ${stream}/, as the topics of this stream do`
  return [{ pointer: '/topic/prefix', code: 'invalid_topic', detail }]
}
