/** What stands in `defineEvent` for the event type that workers register; with a schema of any kind only. */
export interface EventTypeOptions {
  /** What the server does with data that does not pass: `enforce` (default) refuses it, `warn` says so, `off` looks at nothing. */
  mode?: 'off' | 'warn' | 'enforce'
  /** The subject in a schema registry. Default: `<Kafka topic>-<name of the event type>`. */
  subject?: string
  /**
   * `closed` (default): no properties but those that the schema names, and changes must be backward compatible. `open`: the
   * schema as it is, and any change.
   */
  contentModel?: 'closed' | 'open'
  /** A JSON Schema (draft-07) of the data, instead of the one that the schema gives: of its input, which is what is stored. */
  jsonSchema?: Readonly<Record<string, unknown>>
  /** An Avro schema of the data. With a registry events are written in Avro. */
  avro?: Readonly<Record<string, unknown>>
}

export interface EventTypeRule {
  readonly mode: 'off' | 'warn' | 'enforce'
  /** Null: the default. */
  readonly subject: string | null
  readonly contentModel: 'closed' | 'open'
  readonly explicit: {
    readonly type: 'json' | 'avro'
    readonly schema: Readonly<Record<string, unknown>>
  } | null
}

const fields = ['mode', 'subject', 'contentModel'] as const

/** Throws TypeError that names the option. Whoever writes JavaScript may pass anything. */
export function eventTypeRuleOf(
  options: EventTypeOptions & { schema?: unknown },
  place: string,
): EventTypeRule {
  const { mode = 'enforce', subject = null, contentModel = 'closed', jsonSchema, avro } = options
  const fault = (text: string): TypeError => new TypeError(`${place}: ${text}`)
  if (!['off', 'warn', 'enforce'].includes(mode)) throw fault('mode must be "off", "warn" or "enforce"')
  if (!['closed', 'open'].includes(contentModel)) throw fault('contentModel must be "closed" or "open"')
  if (jsonSchema !== undefined && avro !== undefined) throw fault('give jsonSchema or avro, not both')
  const given = jsonSchema ?? avro
  if (given !== undefined && (typeof given !== 'object' || given === null || Array.isArray(given)))
    throw fault(`${avro === undefined ? 'jsonSchema' : 'avro'} must be an object`)
  const idle = given === undefined && options.schema === undefined
  const useless = fields.find((field) => options[field] !== undefined)
  if (idle && useless !== undefined) throw fault(`${useless} says nothing without a schema`)
  const explicit =
    given === undefined
      ? null
      : { type: avro === undefined ? ('json' as const) : ('avro' as const), schema: given }
  return { mode, subject, contentModel, explicit }
}
