import type { EventRecord, ExternalFacts } from '@headrace/schemas'
import { decodeEvent, encodeEvent, type KafkaEvent, type StreamRecord } from './kafka-event.ts'

/**
 * A response as a Kafka record: the copy of an event that waits look for their answer in. It is the same CloudEvent, and
 * its key is the event's topic, so that compaction keeps the latest of each topic and a topic's copies share a partition.
 * What its own place in the log no longer says stands in headers:
 *
 *     headrace-position=<stream>/<incarnation>/<partition>/<sequence_id>  headrace-log-time=<ms since 1970>
 *     headrace-key?=the event's key, when it had one of its own
 *     headrace-external?=what the record of an external stream said beside the event, as JSON
 */
export interface ResponseRecord {
  /** The event as it stands in its stream: partition, sequence id and time are those of its stream's log. */
  readonly event: EventRecord
  readonly incarnation: number
  /** `event.data` as the record holds it, JSON text. */
  readonly data: string
}

/** `unreadable`: not written by the projection, or damaged; set aside as a dead letter with this reason. */
export type DecodedResponse =
  | { readonly kind: 'response'; readonly response: ResponseRecord }
  | { readonly kind: 'unreadable'; readonly reason: string; readonly detail: string }

const POSITION = 'headrace-position'
const LOG_TIME = 'headrace-log-time'
const KEY = 'headrace-key'
const EXTERNAL = 'headrace-external'

export function encodeResponse(event: EventRecord, incarnation: number): KafkaEvent {
  const { stream, partition, sequenceId, createdAt, key } = event
  const copy = encodeEvent({ ...event, key: null, time: createdAt })
  copy.headers[POSITION] = `${stream}/${incarnation}/${partition}/${sequenceId}`
  copy.headers[LOG_TIME] = String(createdAt)
  if (key !== null) copy.headers[KEY] = key
  if (event.external !== undefined) copy.headers[EXTERNAL] = JSON.stringify(event.external)
  return copy
}

/** Reads a record of the response topic. Never throws. */
export function decodeResponse(record: StreamRecord): DecodedResponse {
  const position = positionIn(textOf(record.headers[POSITION]))
  if (position === null) return unreadable(`the header ${POSITION} is missing or cannot be read`)
  const timestamp = wholeNumber(textOf(record.headers[LOG_TIME]), LOG_TIME_MAX_MS)
  if (timestamp === null) return unreadable(`the header ${LOG_TIME} is missing or cannot be read`)
  const { stream, incarnation, partition, offset } = position
  const key = bytesOf(record.headers[KEY])
  const decoded = decodeEvent(stream, { ...record, partition, offset, timestamp, key })
  if (decoded.kind === 'unreadable') return decoded
  // Decoded once already: it is UTF-8.
  const data = new TextDecoder().decode(record.value ?? undefined)
  const facts = textOf(record.headers[EXTERNAL])
  if (facts === null) return { kind: 'response', response: { event: decoded.event, incarnation, data } }
  const external = externalIn(facts)
  if (external === null) return unreadable(`the header ${EXTERNAL} cannot be read`)
  return { kind: 'response', response: { event: { ...decoded.event, external }, incarnation, data } }
}

/** Only this module writes the header; who else can write the topic can answer any wait as it is. */
function externalIn(text: string): ExternalFacts | null {
  try {
    const { headers, headersBase64, keyBase64, tombstone } = JSON.parse(text) as Partial<ExternalFacts>
    if (typeof headers !== 'object' || typeof headersBase64 !== 'object' || keyBase64 === undefined)
      return null
    return { headers, headersBase64, keyBase64, tombstone: tombstone === true }
  } catch {
    return null
  }
}

/** What Postgres's `integer` holds. */
const INTEGER_MAX = 0x7fff_ffff
/** The last day a Date knows, in the year 275760. */
const LOG_TIME_MAX_MS = 8_640_000_000_000_000

function positionIn(text: string | null) {
  const [stream, ...numbers] = text?.split('/') ?? []
  if (stream === undefined || stream === '' || numbers.length !== 3) return null
  const incarnation = wholeNumber(numbers[0], INTEGER_MAX)
  const partition = wholeNumber(numbers[1], INTEGER_MAX)
  const offset = wholeNumber(numbers[2], Number.MAX_SAFE_INTEGER)
  if (incarnation === null || incarnation < 1 || partition === null || offset === null) return null
  return { stream, incarnation, partition, offset }
}

function wholeNumber(text: string | null | undefined, max: number): number | null {
  if (text === null || text === undefined || !/^\d{1,16}$/.test(text)) return null
  const value = Number(text)
  return value <= max ? value : null
}

function textOf(header: Uint8Array | string | undefined): string | null {
  if (header === undefined) return null
  return typeof header === 'string' ? header : new TextDecoder().decode(header)
}

function bytesOf(header: Uint8Array | string | undefined): Uint8Array | null {
  if (header === undefined) return null
  return typeof header === 'string' ? new TextEncoder().encode(header) : header
}

const unreadable = (detail: string): DecodedResponse => ({
  kind: 'unreadable',
  reason: 'not_a_response',
  detail,
})
