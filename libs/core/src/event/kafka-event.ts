import {
  asEventId,
  type EventRecord,
  type ExternalFacts,
  type InputEvent,
  type Json,
  limits,
  streamOf,
  topicFault,
  type WireEvent,
} from '@headrace/schemas'
import { frameOf, type ReadFrame } from './frame.ts'
import { isoTime } from './iso-time.ts'

/**
 * An event as a Kafka record: a CloudEvent in binary mode, so that any Kafka tool reads it (CloudEvents 1.0 Kafka
 * protocol binding, §3.2). The value is `data` as JSON, or framed by
 * the schema of its event type (frame.ts); what is said about it stands in headers:
 *
 *     ce_specversion=1.0  ce_id  ce_source  ce_type (event_type, else the topic)  ce_subject (the topic)  ce_time
 *     content-type=application/json  traceparent?  headrace-dedup=1?
 *
 * The record's key is the event's key, else its topic; that is also what chooses the partition.
 */
export interface KafkaEvent<Value extends string | Buffer = string> {
  key: string
  value: Value
  headers: Record<string, string>
}

export interface NewEvent {
  id: string
  source: string
  topic: string
  eventType: string | null
  data: Json
  key: string | null
  /** When the gateway took it, ms since 1970; the log's own time is what Headrace orders by. */
  time: number
  traceparent: string | null
  dedup: boolean
}

export function encodeEvent(event: NewEvent): KafkaEvent {
  const headers: Record<string, string> = {
    ce_specversion: '1.0',
    ce_id: event.id,
    ce_source: event.source,
    ce_type: event.eventType ?? event.topic,
    ce_subject: event.topic,
    ce_time: isoTime(event.time),
    'content-type': 'application/json',
  }
  if (event.traceparent !== null) headers['traceparent'] = event.traceparent
  if (event.dedup) headers['headrace-dedup'] = '1'
  return { key: event.key ?? event.topic, value: JSON.stringify(event.data), headers }
}

/** Bytes of the record as it counts against the event limit: key, value and headers. */
export function encodedBytes(event: KafkaEvent<string | Buffer>): number {
  let bytes = Buffer.byteLength(event.key) + Buffer.byteLength(event.value)
  for (const [name, value] of Object.entries(event.headers))
    bytes += name.length + Buffer.byteLength(value) + 2
  return bytes
}

/** A record of a stream as the log holds it. */
export interface StreamRecord {
  partition: number
  offset: number
  /** ms since 1970; LogAppendTime. */
  timestamp: number
  key: Uint8Array | null
  value: Uint8Array | null
  headers: Record<string, Uint8Array | string | undefined>
}

/** `unreadable`: set aside as a dead letter with this reason; never a reason to stop (P6). */
export type DecodedEvent =
  | { kind: 'event'; event: EventRecord; bytes: number }
  | { kind: 'unreadable'; reason: string; detail: string }

const utf8 = new TextDecoder('utf-8', { fatal: true })
/** Ids and keys are compared: a leading U+FEFF is a part of them. Before JSON it is only a byte order mark. */
const exactUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Without `readFrame` a framed value is no JSON, and so no event. */
export function decodeEvent(stream: string, record: StreamRecord, readFrame?: ReadFrame): DecodedEvent {
  try {
    return decode(stream, record, readFrame)
  } catch (error) {
    // TextDecoder and JSON.parse are what throws here; both say what they met.
    return {
      kind: 'unreadable',
      reason: 'undecodable',
      detail: error instanceof Error ? error.message : String(error),
    }
  }
}

function decode(stream: string, record: StreamRecord, readFrame: ReadFrame | undefined): DecodedEvent {
  const header = (name: string): string | null => {
    const value = record.headers[name]
    return value === undefined ? null : typeof value === 'string' ? value : exactUtf8.decode(value)
  }
  const id = header('ce_id')
  const topic = header('ce_subject')
  if (id === null || id === '' || topic === null)
    return unreadable('not_an_event', 'the headers ce_id and ce_subject are missing')
  const fault = topicFault(topic)
  if (fault) return unreadable('invalid_topic', fault)
  if (streamOf(topic) !== stream)
    return unreadable('invalid_topic', `the topic ${topic} does not belong to the stream ${stream}`)
  if (record.value === null) return unreadable('no_value', 'the record has no value')
  const type = header('ce_type')
  const key = record.key === null ? null : exactUtf8.decode(record.key)
  const read = readValue(record.value, readFrame)
  if (read.kind === 'unreadable') return read
  const { data } = read
  if (isDeeper(data, limits.jsonDepthMax))
    return unreadable('json_too_deep', `nested deeper than ${limits.jsonDepthMax} levels`)
  const event: EventRecord = {
    id: asEventId(id),
    source: header('ce_source') ?? 'unknown',
    topic,
    eventType: type === topic ? null : type,
    data,
    key: key === topic ? null : key,
    createdAt: record.timestamp,
    stream,
    partition: record.partition,
    sequenceId: record.offset,
    traceparent: header('traceparent'),
    dedup: header('headrace-dedup') === '1',
  }
  return { kind: 'event', event, bytes: record.value.byteLength }
}

function readValue(value: Uint8Array, readFrame: ReadFrame | undefined): ReturnType<ReadFrame> {
  if (value[0] === 0 && readFrame !== undefined && frameOf(value) !== null)
    return readFrame(value, { type: null, unions: 'unwrap', json: (text) => JSON.parse(text) as Json })
  if (value[0] === 0 && frameOf(value) !== null)
    return {
      kind: 'unreadable',
      reason: 'undecodable',
      detail: 'it is framed by a schema, and no schema registry is configured here',
    }
  return { kind: 'data', data: JSON.parse(utf8.decode(value)) as Json }
}

/**
 * `JSON.parse` takes any depth and `JSON.stringify` does not: a foreign record of 100,000 brackets would be read, and then
 * throw a RangeError wherever it is written again, for as long as it stands in the log.
 */
export function isDeeper(value: Json, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (levels === 0) return true
  if (Array.isArray(value)) return value.some((item) => isDeeper(item, levels - 1))
  for (const name in value) if (isDeeper(value[name] ?? null, levels - 1)) return true
  return false
}

const unreadable = (reason: string, detail: string): DecodedEvent => ({ kind: 'unreadable', reason, detail })

export function toWireEvent(event: EventRecord): WireEvent {
  const wire: WireEvent = {
    id: event.id,
    source: event.source,
    topic: event.topic,
    event_type: event.eventType,
    data: event.data,
    key: event.key,
    stream: event.stream,
    partition: event.partition,
    sequence_id: event.sequenceId,
    created_at: isoTime(event.createdAt),
  }
  return event.external === undefined ? wire : { ...wire, ...toWireFacts(event.external) }
}

/** What an event of an external stream has beside the fields of every event. */
export function toWireFacts({ headers, headersBase64, keyBase64, tombstone }: ExternalFacts) {
  return {
    headers,
    ...(headersBase64 === null ? {} : { headers_base64: headersBase64 }),
    key_base64: keyBase64,
    tombstone,
  }
}

/** The event inside a triggered run's input; the fields of the payload's contract come first. */
export function toInputEvent(event: EventRecord): InputEvent {
  const input: InputEvent = {
    sequence_id: event.sequenceId,
    topic: event.topic,
    event_type: event.eventType,
    data: event.data,
    created_at: isoTime(event.createdAt),
    id: event.id,
    key: event.key,
    source: event.source,
    stream: event.stream,
    partition: event.partition,
  }
  return event.external === undefined ? input : { ...input, ...toWireFacts(event.external) }
}
