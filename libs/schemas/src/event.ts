import { z } from 'zod'
import type { EventId } from './ids.ts'
import { limits } from './limits.ts'
import { patternFault, topicFault } from './topic.ts'

/** Any JSON value. `data` of an event is one, and so is every stored step result. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** One fact on a stream, as every part of Headrace holds it once it was accepted. Times are ms since 1970 (UTC). */
export interface EventRecord {
  readonly id: EventId
  readonly source: string
  readonly topic: string
  readonly eventType: string | null
  readonly data: Json
  /** Null when the publisher gave none; the topic is then what chose the partition. */
  readonly key: string | null
  /** The log's own time of the record (LogAppendTime). */
  readonly createdAt: number
  readonly stream: string
  readonly partition: number
  /** The record's Kafka offset. */
  readonly sequenceId: number
  /** W3C trace context of the publisher, when it sent one. */
  readonly traceparent: string | null
  /** True when the id came from outside and repeats of it must be recognised. */
  readonly dedup: boolean
  /** Of an event of an external stream only: what its record says beside the event. */
  readonly external?: ExternalFacts
}

/** What a record that Headrace did not write says beside the event it is read as. */
export interface ExternalFacts {
  /** Its headers as text; of one that was given twice, the last. */
  readonly headers: Readonly<Record<string, string>>
  /** Its headers that are no UTF-8, in base64; null where all are. */
  readonly headersBase64: Readonly<Record<string, string>> | null
  /** Its key where that is no UTF-8, or is to be taken for bytes; the event's `key` is null then. */
  readonly keyBase64: string | null
  /** It has no value: what has its key is deleted. `data` is null. */
  readonly tombstone: boolean
}

/** An event as handlers, history and server-sent events show it (docs/api.md). */
export interface WireEvent {
  id: string
  source: string
  topic: string
  event_type: string | null
  data: Json
  key: string | null
  stream: string
  partition: number
  sequence_id: number
  created_at: string
  /** These four on events of external streams only. */
  headers?: Readonly<Record<string, string>>
  headers_base64?: Readonly<Record<string, string>>
  key_base64?: string | null
  tombstone?: boolean
}

/** An event inside a triggered run's input: `{"events":[…]}`. */
export type InputEvent = WireEvent

const withoutNul = (text: string): boolean => !text.includes('\u0000')
const nul = { error: 'must not contain NUL (\\u0000)', params: { code: 'contains_nul' } }
// Half of a surrogate pair has no UTF-8: it would come back from Kafka as another string.
const wellFormed = { error: 'must be well-formed Unicode, without half of a surrogate pair' }
const isWellFormed = (text: string): boolean => text.isWellFormed()
/** A text that every store and every reader gives back as it was. */
export const bounded = (charactersMax: number) =>
  z.string().min(1).max(charactersMax).refine(withoutNul, nul).refine(isWellFormed, wellFormed)

export const topicSchema = z.string().superRefine((topic, context) => {
  const fault = topicFault(topic)
  if (fault) context.addIssue({ code: 'custom', message: fault, params: { code: 'invalid_topic' } })
})

export const patternSchema = z.string().superRefine((pattern, context) => {
  const fault = patternFault(pattern)
  if (fault) context.addIssue({ code: 'custom', message: fault, params: { code: 'invalid_pattern' } })
})

const reservedSource = (source: string): boolean => !source.startsWith('headrace:')

/** One event as it is published. Unknown fields are typos and refused. */
export const publishEventSchema = z.strictObject({
  topic: topicSchema,
  event_type: bounded(limits.eventTypeCharactersMax).optional(),
  /** Any JSON value; absent is an error, null is a value. */
  data: z.unknown().refine((data) => data !== undefined, {
    error: 'is required; any JSON value, also null',
    params: { code: 'required' },
  }),
  id: bounded(limits.idCharactersMax).optional(),
  source: bounded(limits.sourceCharactersMax)
    .refine(reservedSource, {
      error: 'must not begin with "headrace:", which Headrace keeps for itself',
      params: { code: 'reserved_source' },
    })
    .optional(),
  key: z
    .string()
    .min(1)
    .refine(withoutNul, nul)
    .refine(isWellFormed, wellFormed)
    .refine((key) => new TextEncoder().encode(key).length <= limits.keyBytesMax, {
      error: `must be at most ${limits.keyBytesMax} bytes of UTF-8`,
    })
    .optional(),
})
export type PublishEvent = Omit<z.infer<typeof publishEventSchema>, 'data'> & { data: Json }

/** What `POST /v1/events` answers for an event that was written. */
export interface PublishedEvent {
  id: string
  topic: string
  stream: string
  partition: number
  sequence_id: number
  created_at: string
}
