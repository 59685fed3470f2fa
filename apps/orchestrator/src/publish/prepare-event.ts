import { encodedBytes, encodeEvent, type KafkaEvent, takesFrames } from '@headrace/core'
import type { DataFault, EventTypeChecks } from '@headrace/registry'
import {
  type CommandReply,
  type FieldFault,
  faultsOf,
  limits,
  parseExactJson,
  ProblemError,
  type PublishCommand,
  publishEventSchema,
  type PublishEvent,
  type StreamBinding,
  streamOf,
} from '@headrace/schemas'

type Refusal = Extract<CommandReply, { kind: 'refused' }>

/** An event of a run, valid and encoded: all that is left is to write it. */
export interface PreparedEvent {
  id: string
  topic: string
  stream: string
  record: KafkaEvent<string | Buffer>
  /** The event type with the mode `warn` that its data does not fit; null: it fits, or is not checked. */
  unfit: string | null
}

/** What data is checked by, and how it is written. */
export interface DataRules {
  types: Pick<EventTypeChecks, 'of'>
  /** Whether what fits is framed where its stream takes that: a schema registry is configured. */
  isFramed: boolean
  bindingOf: (stream: string) => StreamBinding | null
}

/** Whose events runs publish; nobody else's can begin with `headrace:`. */
const RUN_SOURCE = 'headrace:run'

/**
 * The event of a `publish` command, held to the rules of `POST /v1/events`. Its id names the run and the step, so that the
 * same step publishes the same event however often its body runs, and it is marked to be looked for.
 */
export function prepareEvent(
  command: PublishCommand,
  { traceparent, now, rules }: { traceparent: string | null; now: number; rules: DataRules },
): PreparedEvent | Refusal {
  const event = validEvent(command)
  if ('kind' in event) return event
  const id = `${command.run_id}/${command.key}`
  const record: KafkaEvent<string | Buffer> = encodeEvent({
    id,
    source: RUN_SOURCE,
    topic: event.topic,
    eventType: event.event_type ?? null,
    data: event.data,
    key: event.key ?? null,
    time: now,
    traceparent,
    dedup: true,
  })
  const stream = streamOf(event.topic)
  const check = rules.types.of(event.topic)
  const isFramed =
    check !== null &&
    rules.isFramed &&
    takesFrames(rules.bindingOf(stream)?.rule ?? null, check.type.schema_type)
  const faults = check?.write(record, { data: event.data, isFramed }) ?? []
  if (faults.length > 0 && check?.type.mode === 'enforce') return invalid(faults)
  const bytes = encodedBytes(record)
  if (bytes > limits.eventBytesMax) {
    const detail = `the event is ${bytes} bytes as it is written, at most ${limits.eventBytesMax} are possible; send large content by reference`
    return { kind: 'refused', code: 'event_too_large', detail }
  }
  const unfit = faults.length > 0 ? (check?.type.name ?? null) : null
  return { id, topic: event.topic, stream, record, unfit }
}

function invalid(faults: readonly DataFault[]): Refusal {
  const errors = faults.map(({ pointer, detail }): FieldFault => {
    return { pointer: `/data${pointer}`, code: 'schema_invalid', detail }
  })
  return { kind: 'refused', code: 'schema_invalid', detail: ProblemError.fromFaults(errors).message }
}

function validEvent({ topic, event_type, data, event_key }: PublishCommand): PublishEvent | Refusal {
  try {
    const parsed = publishEventSchema.safeParse({
      topic,
      data: parseExactJson(data),
      ...(event_type === null ? {} : { event_type }),
      ...(event_key === null ? {} : { key: event_key }),
    })
    if (parsed.success) return parsed.data as PublishEvent
    const { code, message } = ProblemError.fromFaults(faultsOf(parsed.error, ''))
    return { kind: 'refused', code, detail: message }
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    return { kind: 'refused', code: error.code, detail: `data: ${error.message}` }
  }
}
