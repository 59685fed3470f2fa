import { encodedBytes, encodeEvent, type KafkaEvent } from '@headrace/core'
import {
  type CommandReply,
  faultsOf,
  limits,
  parseExactJson,
  ProblemError,
  type PublishCommand,
  publishEventSchema,
  type PublishEvent,
  streamOf,
} from '@headrace/schemas'

type Refusal = Extract<CommandReply, { kind: 'refused' }>

/** An event of a run, valid and encoded: all that is left is to write it. */
export interface PreparedEvent {
  id: string
  topic: string
  stream: string
  record: KafkaEvent
}

/** Whose events runs publish; nobody else's can begin with `headrace:`. */
const RUN_SOURCE = 'headrace:run'

/**
 * The event of a `publish` command, held to the rules of `POST /v1/events`. Its id names the run and the step, so that the
 * same step publishes the same event however often its body runs, and it is marked to be looked for.
 */
export function prepareEvent(
  command: PublishCommand,
  { traceparent, now }: { traceparent: string | null; now: number },
): PreparedEvent | Refusal {
  const event = validEvent(command)
  if ('kind' in event) return event
  const id = `${command.run_id}/${command.key}`
  const record = encodeEvent({
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
  const bytes = encodedBytes(record)
  if (bytes > limits.eventBytesMax) {
    const detail = `the event is ${bytes} bytes as it is written, at most ${limits.eventBytesMax} are possible; send large content by reference`
    return { kind: 'refused', code: 'event_too_large', detail }
  }
  return { id, topic: event.topic, stream: streamOf(event.topic), record }
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
