import { patternFault, topicFault } from '@headrace/schemas'
import type { NewEvent } from './event.ts'
import { type EventTypeOptions, type EventTypeRule, eventTypeRuleOf } from './event-type-rule.ts'
import type { SchemaInput, SchemaOutput, StandardSchema } from './standard-schema.ts'

/** The `{name}` segments of a pattern: `ParamsOf<'approvals/{id}'>` is `{ id: string }`. */
export type ParamsOf<Pattern extends string> = Pattern extends `${infer Head}/${infer Rest}`
  ? ParamOf<Head> & ParamsOf<Rest>
  : ParamOf<Pattern>
type ParamOf<Segment extends string> = Segment extends `{${infer Name}}` ? { [Key in Name]: string } : unknown

/** What publishing a defined event needs: `params` where its topic has any. */
export type EventArguments<Pattern extends string, Input> = Omit<NewEvent<Input>, 'topic'> &
  (unknown extends ParamsOf<Pattern> ? { params?: undefined } : { params: ParamsOf<Pattern> })

/** Any kind of event, whatever its data. */
export interface AnyEventDefinition {
  readonly kind: 'event'
  readonly pattern: string
  readonly eventType: string | null
  readonly schema: StandardSchema<unknown, unknown> | null
  /** What a worker registers of it besides the schema. */
  readonly rule: EventTypeRule
}

/** A kind of event: its topic (or pattern), and the schema of its data. Made by {@link defineEvent}. */
export interface EventDefinition<
  Pattern extends string = string,
  Input = unknown,
  Output = Input,
> extends AnyEventDefinition {
  readonly pattern: Pattern
  readonly schema: StandardSchema<Input, Output> | null
  /**
   * An event of this kind to publish, for a batch: `client.events.publish([orderCreated.event({ data }), …])`.
   * Throws TypeError where the pattern has a `*` and so names no one topic.
   */
  event(params: EventArguments<Pattern, Input>): NewEvent<Input>
}

/** What the handler gets as `data`. */
export type DataOf<Definition> = Definition extends { schema: StandardSchema<infer _, infer Output> | null }
  ? Output
  : unknown

/**
 * Names a kind of event and gives its data a type. With a schema (any Standard Schema: zod, valibot, arktype) data is
 * checked before it is published, before a handler starts and when a wait is answered; the schema's input is what is
 * stored, its output what the handler gets. Without one `data` is `unknown`.
 *
 * Workers register it as an event type (docs/event-types.md), by which gateways check what anybody publishes: the JSON
 * Schema is that of the schema's input, unless `jsonSchema` or `avro` gives another.
 *
 * ```ts
 * const orderCreated = defineEvent('orders/created', { schema: z.object({ order_id: z.string(), total: z.number() }) })
 * const approval = defineEvent('approvals/{id}', { schema: z.object({ approved: z.boolean() }) })
 * await client.events.publish(approval, { params: { id: 'order-123' }, data: { approved: true } })
 * ```
 *
 * Throws TypeError when the topic or pattern, or an option, is malformed.
 */
export function defineEvent<const Pattern extends string>(
  pattern: Pattern,
  options?: EventTypeOptions & { eventType?: string; schema?: undefined },
): EventDefinition<Pattern, unknown, unknown>
export function defineEvent<const Pattern extends string, Schema extends StandardSchema>(
  pattern: Pattern,
  options: EventTypeOptions & { schema: Schema; eventType?: string },
): EventDefinition<Pattern, SchemaInput<Schema>, SchemaOutput<Schema>>
export function defineEvent(
  pattern: string,
  options: EventTypeOptions & { eventType?: string; schema?: StandardSchema | undefined } = {},
): EventDefinition {
  const fault = patternFault(pattern)
  if (fault) throw new TypeError(`defineEvent("${pattern}"): ${fault}`)
  const eventType = options.eventType ?? null
  return {
    kind: 'event',
    pattern,
    eventType,
    schema: options.schema ?? null,
    rule: eventTypeRuleOf(options, `defineEvent("${pattern}")`),
    event({ params, ...rest }) {
      const topic = topicFrom(pattern, params ?? {}, 'published to')
      return { ...(eventType === null ? {} : { eventType }), ...rest, topic }
    },
  }
}

/** The one topic that a pattern and its parameters name. Throws TypeError where they name none. */
export function topicFrom(
  pattern: string,
  params: Readonly<Record<string, string>>,
  use: 'published to' | 'waited for on',
): string {
  const topic = pattern.replaceAll(/\{([^/}]+)\}/g, (segment, name: string) => {
    const value = params[name]
    // A slash would move what follows into another segment, and the event to another topic than was meant.
    if (value?.includes('/')) throw new TypeError(`the parameter "${name}" of "${pattern}" must not hold a /`)
    return value ?? segment
  })
  const fault = topicFault(topic)
  if (fault) throw new TypeError(`an event of "${pattern}" cannot be ${use} "${topic}": ${fault}`)
  return topic
}

/** Tells a definition from a plain topic. */
export const isEventDefinition = (value: unknown): value is AnyEventDefinition =>
  typeof value === 'object' &&
  value !== null &&
  'kind' in value &&
  value.kind === 'event' &&
  'pattern' in value
