import {
  asEventId,
  type BindingRule,
  type EventRecord,
  type ExternalFacts,
  isExact,
  type Json,
  limits,
  type StreamBinding,
  streamOf,
  topicFault,
} from '@headrace/schemas'
import { frameOf, type FrameRule, type ReadFrame } from './frame.ts'
import { type DecodedEvent, decodeEvent, isDeeper, type StreamRecord } from './kafka-event.ts'

/**
 * A record of an external stream as an event: the one mapping that filters, history, waits and handlers share
 * (docs/external-streams.md). What Headrace wrote itself into a writable one is marked, and read as its own.
 *
 * M1  the same record under the same rule is the same event, on every machine and in every year
 * M2  what cannot be mapped is `unreadable` with its reason, never half an event
 * M3  nothing is rounded: a number that a double cannot hold is its text
 */
export type ReadEvent =
  | DecodedEvent
  /** A tombstone that the rule passes over: no event, and nothing is wrong with it. */
  | { kind: 'skipped'; detail: string }

/** Reads records of one stream, whoever wrote them. Never throws. */
export type ReadRecord = (record: StreamRecord) => ReadEvent

/** On records that Headrace wrote into an external stream: the stream's name. */
export const STREAM_HEADER = 'headrace-stream'

/** Without `readFrame` a frame is bytes like any other. */
export function decodeExternal(
  { stream, rule }: StreamBinding,
  record: StreamRecord,
  readFrame?: ReadFrame,
): ReadEvent {
  const headers = headersOf(record)
  if (headers.text[STREAM_HEADER] === stream) return decodeEvent(stream, record, readFrame)
  if (record.value === null && rule.tombstones === 'skip')
    return { kind: 'skipped', detail: 'it is a tombstone, which this stream passes over' }
  try {
    return decode(stream, { rule, record, headers, readFrame })
  } catch (error) {
    if (error instanceof Unmappable)
      return { kind: 'unreadable', reason: error.reason, detail: error.message }
    throw error
  }
}

/** Ends the mapping of one record. */
class Unmappable extends Error {
  readonly reason: string
  constructor(reason: string, detail: string) {
    super(detail)
    this.reason = reason
  }
}

interface Headers {
  readonly text: Readonly<Record<string, string>>
  readonly base64: Readonly<Record<string, string>> | null
}

interface Mapped {
  readonly rule: BindingRule
  readonly record: StreamRecord
  readonly headers: Headers
  readonly readFrame: ReadFrame | undefined
}

function decode(stream: string, { rule, record, headers, readFrame }: Mapped): ReadEvent {
  const { timestamp, partition, offset } = record
  if (!Number.isSafeInteger(timestamp) || timestamp < 0 || timestamp > limits.timeMsMax)
    throw new Unmappable('invalid_time', `its time ${timestamp} is none`)
  const data = record.value === null ? null : dataOf(record.value, rule, readFrame)
  if (isDeeper(data, limits.jsonDepthMax))
    throw new Unmappable('json_too_deep', `nested deeper than ${limits.jsonDepthMax} levels`)
  const from: Sources = { headers: headers.text, data }
  const { key, keyBase64 } = keyOf(record.key, rule, readFrame)
  const external: ExternalFacts = {
    headers: headers.text,
    headersBase64: headers.base64,
    keyBase64,
    tombstone: record.value === null,
  }
  const event: EventRecord = {
    id: asEventId(idOf(rule, from) ?? `${partition}-${offset}`),
    source: `kafka:${rule.kafka_topic}`,
    topic: topicOf(stream, rule, from),
    eventType: eventTypeOf(rule, from),
    data,
    key,
    createdAt: timestamp,
    stream,
    partition,
    sequenceId: offset,
    traceparent: headers.text['traceparent'] ?? null,
    dedup: rule.id !== 'offset',
    external,
  }
  return { kind: 'event', event, bytes: record.value?.byteLength ?? 0 }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Null where the bytes are no UTF-8. */
function textOf(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes)
  } catch {
    return null
  }
}

const base64Of = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

/** From entries: a header named `__proto__` is a header, not the prototype. */
function headersOf({ headers }: StreamRecord): Headers {
  const text: [string, string][] = []
  const base64: [string, string][] = []
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue
    const read = typeof value === 'string' ? value : textOf(value)
    if (read !== null) text.push([name, read])
    else if (typeof value !== 'string') base64.push([name, base64Of(value)])
  }
  return {
    text: Object.fromEntries(text),
    base64: base64.length === 0 ? null : Object.fromEntries(base64),
  }
}

function keyOf(
  key: Uint8Array | null,
  { key_format: format, unions }: BindingRule,
  readFrame: ReadFrame | undefined,
): { key: string | null; keyBase64: string | null } {
  if (key === null) return { key: null, keyBase64: null }
  if (format === 'avro') {
    const read = framed(key, { what: 'key', type: 'AVRO', unions }, readFrame)
    return { key: typeof read === 'string' ? read : JSON.stringify(read), keyBase64: null }
  }
  const text = format === 'string' ? textOf(key) : null
  return text === null ? { key: null, keyBase64: base64Of(key) } : { key: text, keyBase64: null }
}

function dataOf(value: Uint8Array, rule: BindingRule, readFrame: ReadFrame | undefined): Json {
  const { value_format: format, unions } = rule
  if (format === 'avro' || format === 'protobuf') {
    const type = format === 'avro' ? 'AVRO' : 'PROTOBUF'
    return framed(value, { what: 'value', type, unions }, readFrame)
  }
  if (format === 'binary') return base64Of(value)
  const frame = format === 'auto' || format === 'json_schema' ? frameOf(value) : null
  if (frame !== null && format === 'auto' && readFrame !== undefined)
    return framed(value, { what: 'value', type: null, unions }, readFrame)
  return plainOf(frame !== null && format === 'json_schema' ? frame.payload : value, format)
}

/** What stands behind a frame, by the schema that it names. */
function framed(
  bytes: Uint8Array,
  { what, type, unions }: Pick<FrameRule, 'type' | 'unions'> & { what: 'key' | 'value' },
  readFrame: ReadFrame | undefined,
): Json {
  if (readFrame === undefined || frameOf(bytes) === null)
    throw new Unmappable('undecodable', `the ${what} does not begin with the frame of a schema`)
  const read = readFrame(bytes, { type, unions, json: parseJson })
  if (read.kind === 'data') return read.data
  throw new Unmappable(read.reason, `the ${what}: ${read.detail}`)
}

/** Of what names no schema. */
function plainOf(value: Uint8Array, format: BindingRule['value_format']): Json {
  const text = textOf(value)
  if (text === null) {
    if (format === 'auto') return base64Of(value)
    throw new Unmappable('undecodable', 'the value is no UTF-8')
  }
  if (format === 'string') return text
  try {
    return parseJson(text.startsWith('\ufeff') ? text.slice(1) : text)
  } catch (error) {
    if (format === 'auto') return text
    // V8's message quotes the text around the fault; a value may be a secret, so only the place is told.
    const place = /at position (\d+)/.exec(error instanceof Error ? error.message : '')
    throw new Unmappable('undecodable', `the value is no JSON${place ? ` at position ${place[1]}` : ''}`)
  }
}

/** Fifteen digits always survive a double; only longer numbers and exponents are worth the slow look. */
const mayBeInexact = /[\d.]{16,}|\d[eE][+-]?\d/

/** M3 */
function parseJson(text: string): Json {
  if (!mayBeInexact.test(text)) return JSON.parse(text) as Json
  const exact = (_name: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' && context?.source !== undefined && !isExact(context.source, value)
      ? context.source
      : value
  return JSON.parse(text, exact) as Json
}

interface Sources {
  readonly headers: Readonly<Record<string, string>>
  readonly data: Json
}

/** What a rule names of a record: text, or null where it is not there or is no text and no number. */
function named(where: { header: string } | { pointer: string }, { headers, data }: Sources): string | null {
  const found =
    'header' in where
      ? Object.hasOwn(headers, where.header) && headers[where.header]
      : valueAt(data, where.pointer)
  if (typeof found === 'number') return String(found)
  return typeof found === 'string' && found !== '' ? found.toWellFormed() : null
}

/** RFC 6901. */
function valueAt(data: Json, pointer: string): Json | undefined {
  let at: Json | undefined = data
  for (const part of pointer.split('/').slice(1)) {
    if (typeof at !== 'object' || at === null) return undefined
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
    at = Object.hasOwn(at, name) ? (at as { [name: string]: Json })[name] : undefined
  }
  return at
}

function topicOf(stream: string, { topic: where }: BindingRule, from: Sources): string {
  if ('const' in where) return where.const
  const found = named(where, from)
  if (found === null) throw new Unmappable('no_topic', `${placeOf(where)} names no topic`)
  const topic = `${where.prefix ?? ''}${found}`
  const fault = topicFault(topic)
  if (fault !== null) throw new Unmappable('invalid_topic', fault)
  if (streamOf(topic) !== stream)
    throw new Unmappable('invalid_topic', `the topic ${topic} does not belong to the stream ${stream}`)
  return topic
}

/** Null: its place in the log is its id. */
function idOf({ id: where }: BindingRule, from: Sources): string | null {
  if (where === 'offset') return null
  const found = named(where, from)
  if (found === null) throw new Unmappable('no_id', `${placeOf(where)} holds no id`)
  return found
}

function eventTypeOf({ event_type: where }: BindingRule, from: Sources): string | null {
  if (where === null) return null
  return 'const' in where ? where.const : named(where, from)
}

const placeOf = (where: { header: string } | { pointer: string }): string =>
  'header' in where ? `its header ${where.header}` : `its value at ${JSON.stringify(where.pointer)}`
