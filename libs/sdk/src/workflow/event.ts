import {
  asEventId,
  type InputEvent,
  type Json,
  type PublishedEvent as WirePublished,
  streamOf,
} from '@headrace/schemas'
import type { SchemaFault } from '../errors/step-error.ts'

/**
 * An accepted event, as a handler gets it. `stream`, `partition` and `sequenceId` name it for ever; `sequenceId`
 * increases per key (with no key given, per topic). Without a schema `data` is `unknown`.
 */
export interface Event<Data = unknown> {
  readonly id: string
  readonly source: string
  readonly topic: string
  readonly eventType: string | null
  readonly data: Data
  readonly key: string | null
  readonly stream: string
  readonly partition: number
  readonly sequenceId: number
  /** When Kafka took it: RFC 3339, UTC, milliseconds. */
  readonly createdAt: string
  /** Of an external stream only: the headers of its record as text. */
  readonly headers?: Readonly<Record<string, string>>
  /** Of an external stream only: headers that are no UTF-8, in base64. */
  readonly headersBase64?: Readonly<Record<string, string>>
  /** Of an external stream only: its key in base64, where that is no UTF-8 or is read as bytes; `key` is null then. */
  readonly keyBase64?: string | null
  /** Of an external stream only: true where the record has no value, which says that what has its key was deleted. */
  readonly tombstone?: boolean
}

/** An event to publish. */
export interface NewEvent<Data = unknown> {
  /** 1 to 8 segments joined by `/`, at most 200 characters: `orders/created`. */
  topic: string
  /** Any JSON value; with key and headers at most 1,000,000 bytes. */
  data: Data
  eventType?: string
  /** Chooses the partition, and so what is kept in order; without one, the topic does. At most 1,024 bytes. */
  key?: string
  /** Stays the same when the client sends again, so that (source, id) tells a repeat. Made by the client when absent. */
  id?: string
  source?: string
}

/** Where an accepted event is: on disk of every in-sync replica of its partition. */
export interface PublishedEvent {
  id: string
  topic: string
  stream: string
  partition: number
  sequenceId: number
  /** RFC 3339, UTC. */
  createdAt: string
  /**
   * Of `client.events.publish`, where the schema of an event type in the mode `warn` does not take the data: each place
   * (`/data/total`) and what is wrong with it; of one call at most 100.
   */
  warnings?: readonly SchemaFault[]
}

/** An event to start a triggered workflow with directly: `topic` and `data`, and whatever else the handler reads. */
export type StartEvent<Data = unknown> = Pick<Event<Data>, 'topic' | 'data'> & Partial<Event>

export function eventOf(wire: InputEvent): Event {
  return {
    id: wire.id,
    source: wire.source,
    topic: wire.topic,
    eventType: wire.event_type,
    data: wire.data,
    key: wire.key,
    stream: wire.stream,
    partition: wire.partition,
    sequenceId: wire.sequence_id,
    createdAt: wire.created_at,
    ...(wire.headers === undefined ? {} : { headers: wire.headers }),
    ...(wire.headers_base64 === undefined ? {} : { headersBase64: wire.headers_base64 }),
    ...(wire.key_base64 === undefined ? {} : { keyBase64: wire.key_base64 }),
    ...(wire.tombstone === undefined ? {} : { tombstone: wire.tombstone }),
  }
}

export function publishedOf(wire: WirePublished): PublishedEvent {
  const { id, topic, stream, partition, sequence_id, created_at } = wire
  return { id, topic, stream, partition, sequenceId: sequence_id, createdAt: created_at }
}

/** A direct start's event is on no stream: its position is all zero, and its time is that of the call. */
export function inputEventOf(event: StartEvent, defaults: { id: string; now: number }): InputEvent {
  return {
    sequence_id: event.sequenceId ?? 0,
    topic: event.topic,
    event_type: event.eventType ?? null,
    data: event.data as Json,
    created_at: event.createdAt ?? new Date(defaults.now).toISOString(),
    id: asEventId(event.id ?? defaults.id),
    key: event.key ?? null,
    source: event.source ?? 'direct',
    stream: event.stream ?? streamOf(event.topic),
    partition: event.partition ?? 0,
    ...(event.headers === undefined ? {} : { headers: event.headers }),
    ...(event.headersBase64 === undefined ? {} : { headers_base64: event.headersBase64 }),
    ...(event.keyBase64 === undefined ? {} : { key_base64: event.keyBase64 }),
    ...(event.tombstone === undefined ? {} : { tombstone: event.tombstone }),
  }
}
