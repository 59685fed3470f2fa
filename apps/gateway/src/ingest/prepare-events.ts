import { randomUUID } from 'node:crypto'
import { encodedBytes, encodeEvent, type KafkaEvent } from '@headrace/core'
import { type FieldFault, type Json, limits, ProblemError, streamOf } from '@headrace/schemas'
import { derivedEventId } from './idempotency.ts'
import type { EventsBody, IncomingEvent } from './incoming-event.ts'

/** An event that is valid and encoded: all that is left is to write it. */
export interface PreparedEvent {
  id: string
  /** The id as the caller gave it; null where the gateway made or derived it. */
  callerId: string | null
  topic: string
  stream: string
  pointer: string
  /** Pointer of its topic. */
  topicPointer: string
  data: Json
  /** Pointer of its data. */
  dataPointer: string
  record: KafkaEvent<string | Buffer>
}

export interface Publisher {
  /** Of the API key the request came with. */
  keyId: string
  idempotencyKey: string | null
  traceparent: string | null
  /** ms since 1970. */
  now: number
  /** Events of the request before these; absent where these are all. */
  indexFrom?: number
}

/**
 * Gives each event its id and source and encodes it. An id that came from outside, or was derived from an
 * `Idempotency-Key`, may come again and is marked to be looked for; one made here cannot.
 * Throws `event_too_large` with the pointers of all events over the limit.
 */
export function prepareEvents(body: EventsBody, publisher: Publisher): PreparedEvent[] {
  const faults: FieldFault[] = []
  const prepared = body.events.map((incoming, index) => {
    const { event } = incoming
    const pointer = body.pointerOf(index)
    const { record, id } = encode(incoming, index + (publisher.indexFrom ?? 0), publisher)
    const bytes = encodedBytes(record)
    if (bytes > limits.eventBytesMax) faults.push(eventTooLarge(pointer, bytes))
    return {
      id,
      callerId: event.id ?? null,
      topic: event.topic,
      stream: streamOf(event.topic),
      pointer,
      topicPointer: `${pointer}/${body.topicField}`,
      data: event.data,
      dataPointer: `${pointer}${body.dataField}`,
      record,
    }
  })
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  return prepared
}

export function eventTooLarge(pointer: string, bytes: number): FieldFault {
  const detail = `the event is ${bytes} bytes as it is written, at most ${limits.eventBytesMax} are possible; send large content by reference`
  return { pointer, code: 'event_too_large', detail }
}

function encode(
  { event, headers = {}, traceparent }: IncomingEvent,
  index: number,
  publisher: Publisher,
): { id: string; record: KafkaEvent } {
  const { keyId, idempotencyKey, now } = publisher
  const derived = event.id === undefined && idempotencyKey !== null
  const given = {
    source: event.source ?? `headrace:${keyId}`,
    topic: event.topic,
    eventType: event.event_type ?? null,
    data: event.data,
    key: event.key ?? null,
    time: now,
    traceparent: traceparent ?? publisher.traceparent,
    dedup: derived || event.id !== undefined,
  }
  const id = event.id ?? (derived ? '' : randomUUID())
  const record = encodeEvent({ ...given, id })
  Object.assign(record.headers, headers)
  if (!derived) return { id, record }
  const derivedId = derivedEventId({ keyId, idempotencyKey, index, event, value: record.value })
  record.headers['ce_id'] = derivedId
  return { id: derivedId, record }
}
