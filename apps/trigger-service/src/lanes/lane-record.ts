import type { IncomingRecord, StreamCatalog } from '@headrace/broker'
import { type ReadRecord, toInputEvent, toWireEvent, type WindowEvent } from '@headrace/core'
import { limits, type EventRecord, type WireEvent } from '@headrace/schemas'

/** An event as a window holds it: its share of the run's input is text already, made once for all triggers. */
export interface LaneEvent extends WindowEvent {
  /** The event as JSON, as it stands in the run's input. */
  readonly text: string
  readonly traceparent: string | null
  /** Of the trigger that took it, where its workflow's concurrency has a key; else null. */
  readonly concurrencyKey: string | null
}

/** The last record a cursor saw: by it a recreated topic is told from the one that was read. */
export interface SeenRecord {
  readonly offset: number
  readonly timestamp: number
  readonly id: string | null
}

/** A record of a stream, read once, however many triggers look at it. */
export type LaneRecord =
  | {
      readonly kind: 'event'
      readonly seen: SeenRecord
      readonly event: EventRecord
      readonly bytes: number
      /** Made for the first trigger that matches, shared by the others; null until then. */
      laneEvent: LaneEvent | null
      /** As expressions see it, made for the first that asks. */
      wireEvent: WireEvent | null
    }
  /** Its id came from outside and stands for another position: nobody is to have it. Made of an event by `Reading`. */
  | { readonly kind: 'repeat'; readonly seen: SeenRecord; readonly topic: string }
  /** No event by the rule of its external stream, and nothing to set aside. */
  | { readonly kind: 'skipped'; readonly seen: SeenRecord }
  | {
      readonly kind: 'unreadable'
      readonly seen: SeenRecord
      readonly reason: string
      readonly detail: string
      readonly raw: IncomingRecord
    }

export interface RecordPlace {
  readonly stream: string
  readonly partition: number
}

/**
 * Reads records of a partition: at once, unless they name schemas that are not known here yet. Rejects while the registry
 * cannot be asked: that is no record's fault, so whoever reads waits and tries again.
 */
export function readRecords(
  streams: Pick<StreamCatalog, 'reader'>,
  { stream, partition }: RecordPlace,
  records: readonly IncomingRecord[],
  signal?: AbortSignal,
): LaneRecord[] | Promise<LaneRecord[]> {
  const readAll = (read: ReadRecord) => records.map((record) => laneRecordOf(read, partition, record))
  const reader = streams.reader(stream, records, signal)
  return reader instanceof Promise ? reader.then(readAll) : readAll(reader)
}

function laneRecordOf(read: ReadRecord, partition: number, record: IncomingRecord): LaneRecord {
  const { offset, timestamp } = record
  const decoded = read({ ...record, partition })
  if (decoded.kind === 'skipped') return { kind: 'skipped', seen: { offset, timestamp, id: null } }
  if (decoded.kind === 'unreadable') {
    const { reason, detail } = decoded
    return { kind: 'unreadable', seen: { offset, timestamp, id: null }, reason, detail, raw: record }
  }
  const { event, bytes } = decoded
  return {
    kind: 'event',
    // Of an external stream the id is what its rule makes of the record, and the rule may change.
    seen: { offset, timestamp, id: event.external === undefined ? storableId(event.id) : null },
    event,
    bytes,
    laneEvent: null,
    wireEvent: null,
  }
}

export function toRecordWireEvent(record: Extract<LaneRecord, { kind: 'event' }>): WireEvent {
  record.wireEvent ??= toWireEvent(record.event)
  return record.wireEvent
}

/** What a window keeps of an event; the parsed data is let go. */
export function toLaneEvent(record: Extract<LaneRecord, { kind: 'event' }>): LaneEvent {
  record.laneEvent ??= makeLaneEvent(record)
  return record.laneEvent
}

function makeLaneEvent({ event, bytes }: Extract<LaneRecord, { kind: 'event' }>): LaneEvent {
  const text = JSON.stringify(toInputEvent(event))
  return {
    offset: event.sequenceId,
    timestamp: event.createdAt,
    bytes: Math.max(bytes, text.length - ENVELOPE_CHARACTERS_MAX),
    text,
    traceparent:
      event.traceparent !== null && w3cTraceparent.test(event.traceparent) ? event.traceparent : null,
    concurrencyKey: null,
  }
}

/**
 * What the gateway lets stand around `data`: key, id, source, type, topic, and the names of the fields. A foreign record may
 * have a key of a megabyte; what it has beyond this counts as data, else a thousand of them would fit into one window.
 */
const ENVELOPE_CHARACTERS_MAX = 4_096

/** Records come from anywhere: what is no trace context would fail the row that stores it, or every trace reader. */
const w3cTraceparent = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

/**
 * Postgres's text holds no NUL, and an id is compared, never shown whole: a foreign one may have any length. What the cut
 * leaves of a surrogate pair would come back as another character.
 */
function storableId(id: string): string {
  const kept = id.length > limits.idCharactersMax ? id.slice(0, limits.idCharactersMax).toWellFormed() : id
  return kept.includes('\u0000') ? kept.replaceAll('\u0000', '') : kept
}
