import {
  type CloudEvent,
  cloudEventSchema,
  extensionsOf,
  type FieldFault,
  faultsOf,
  type Json,
  limits,
  parseExactJson,
  ProblemError,
} from '@headrace/schemas'
import { binaryAttributes } from './cloud-event-headers.ts'
import { dataOfBytes, type EventData, isJsonType } from './event-data.ts'
import type { EventsBody, IncomingEvent } from './incoming-event.ts'
import { repeatedIds } from './parse-events.ts'
import { parseTraceparent } from './traceparent.ts'

/**
 * CloudEvents 1.0 by their HTTP binding. `subject` is the topic, `type` the event type, `partitionkey` the key, `id` with
 * `source` what repeats are told by; `time`, `dataschema` and the extensions stand in the record's headers, as the Kafka
 * binding has them. Each function throws {@link ProblemError} that names every fault.
 */

/** Binary mode: attributes in `ce-` headers, the body is the data. */
export function parseBinaryEvent(
  bytes: Buffer,
  { rawHeaders, contentType }: { rawHeaders: readonly string[]; contentType: string | null },
): EventsBody {
  const attributes = {
    ...binaryAttributes(rawHeaders),
    ...(contentType === null ? {} : { datacontenttype: contentType }),
  }
  const result = cloudEventSchema.safeParse(attributes)
  if (!result.success) {
    // The attributes are headers, and the body has pointers of its own.
    const asHeader = (pointer: string) =>
      pointer === '/datacontenttype' ? 'content-type' : pointer.replace(/^\//, 'ce-')
    const faults = faultsOf(result.error).map((fault) => ({ ...fault, pointer: asHeader(fault.pointer) }))
    throw ProblemError.fromFaults(faults)
  }
  const event = incoming(result.data, dataOfBytes(bytes, contentType))
  return { events: [event], pointerOf: () => '', topicField: 'subject', dataField: '' }
}

/** Structured mode: one event in the JSON format. */
export function parseStructuredEvent(text: string): EventsBody {
  return checked([parseExactJson(text)], () => '')
}

/** Batched mode: a JSON array of events, which may be empty. */
export function parseEventBatch(text: string): EventsBody {
  const values = parseExactJson(text)
  if (!Array.isArray(values))
    throw ProblemError.fromFaults([
      { pointer: '', code: 'invalid_field', detail: 'must be an array of CloudEvents' },
    ])
  if (values.length > limits.requestEventsMax) {
    const detail = `holds ${values.length} events, at most ${limits.requestEventsMax} go into one request`
    throw ProblemError.fromFaults([{ pointer: '', code: 'too_many_events', detail }])
  }
  return checked(values, (index) => `/${index}`)
}

function checked(values: readonly unknown[], pointerOf: (index: number) => string): EventsBody {
  const events: IncomingEvent[] = []
  const faults: FieldFault[] = []
  for (const [index, value] of values.entries()) {
    const result = cloudEventSchema.safeParse(withoutUnset(value))
    if (!result.success) {
      faults.push(...faultsOf(result.error, pointerOf(index)))
      continue
    }
    const data = dataOf(result.data, pointerOf(index))
    if (Array.isArray(data)) faults.push(...data)
    else events.push(incoming(result.data, data))
  }
  // Events of two sources may have one id: the specification tells them apart by both.
  const idOf = ({ event }: IncomingEvent) => JSON.stringify([event.source, event.id])
  if (faults.length === 0) faults.push(...repeatedIds(events, pointerOf, idOf))
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  return { events, pointerOf, topicField: 'subject', dataField: '/data' }
}

/** An attribute that is null is not there; `data` may be null, which is a value. */
function withoutUnset(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).filter(([name, each]) => each !== null || name === 'data'))
}

/** The data of a structured event, or what is wrong with it. */
function dataOf(event: CloudEvent, pointer: string): EventData | FieldFault[] {
  const mediaType = event.datacontenttype ?? null
  if (event.data_base64 === undefined) {
    const data = (event.data ?? null) as Json
    return { data, type: isJsonType(mediaType) || data === null ? null : mediaType }
  }
  const at = `${pointer}/data_base64`
  try {
    return dataOfBytes(Buffer.from(event.data_base64, 'base64'), mediaType)
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    if (error.errors !== null) return error.errors.map((fault) => ({ ...fault, pointer: at + fault.pointer }))
    const detail = `does not hold ${mediaType ?? 'JSON'} in UTF-8, as datacontenttype says`
    return [{ pointer: at, code: 'invalid_field', detail }]
  }
}

function incoming(event: CloudEvent, { data, type }: EventData): IncomingEvent {
  const { id, source, type: eventType, subject: topic, partitionkey: key, time, dataschema } = event
  const extensions = extensionsOf(event)
  const headers: Record<string, string> = Object.fromEntries(
    extensions.map(([name, value]) => [`ce_${name}`, value]),
  )
  if (time !== undefined) headers['ce_time'] = time
  if (dataschema !== undefined) headers['ce_dataschema'] = dataschema
  if (type !== null) headers['headrace-data-type'] = type
  return {
    event: { topic, event_type: eventType, data, id, source, ...(key === undefined ? {} : { key }) },
    headers,
    traceparent: parseTraceparent(new Map(extensions).get('traceparent')),
  }
}
