import type { IncomingRecord } from '@headrace/broker'
import { frameOf, type ReadEvent, type StreamRecord, toWireEvent } from '@headrace/core'
import type { EventRecord, WireEvent } from '@headrace/schemas'
import type { MergedRecords } from './merged-records.ts'

/** Which events of a stream are wanted; null asks for nothing. */
export interface HistoryFilter {
  matchesTopic: (topic: string) => boolean
  /** An event's key; an event without one never matches. */
  key: string | null
  eventType: string | null
  /** ms since 1970: first inside, and first outside. */
  from: number | null
  to: number | null
}

/** An event as history shows it: with all headers of its record, those of CloudEvents among them. */
export type HistoryEvent = WireEvent & { headers: Record<string, string> }

export interface HistoryPage {
  events: HistoryEvent[]
  scanned: number
  /** Records that are no events; triggers set them aside as dead letters. */
  unreadable: number
  /** False: the scan stopped at one of its limits. */
  atEnd: boolean
}

/** A rare event must not keep a caller waiting for a whole stream: the page ends, and the next goes on. */
export const SCAN_RECORDS_MAX = 50_000
export const SCAN_MS_MAX = 2_000
/** Of the events of a page: 200 of the largest would be 200 MB of answer, held whole. */
export const PAGE_BYTES_MAX = 8 * 1024 * 1024

/** Reads a record of the stream; waits only where its schema is not known yet. */
export type ReadHistory = (record: StreamRecord) => ReadEvent | Promise<ReadEvent>

export interface HistoryScan {
  read: ReadHistory
  records: MergedRecords
  filter: HistoryFilter
  /** Events of a page. */
  limit: number
  /** A clock that only goes forward, ms. */
  monotonic: () => number
}

export async function scanHistory({
  read,
  records,
  filter,
  limit,
  monotonic,
}: HistoryScan): Promise<HistoryPage> {
  const page: HistoryPage = { events: [], scanned: 0, unreadable: 0, atEnd: false }
  const until = monotonic() + SCAN_MS_MAX
  let bytes = 0
  while (page.events.length < limit && page.scanned < SCAN_RECORDS_MAX && bytes < PAGE_BYTES_MAX) {
    if (page.scanned > 0 && monotonic() > until) return page
    const found = await records.next()
    if (found === null) return { ...page, atEnd: true }
    page.scanned += 1
    const reading = read({ partition: found.partition, ...found.record })
    const decoded = reading instanceof Promise ? await reading : reading
    if (decoded.kind === 'unreadable') page.unreadable += 1
    else if (decoded.kind === 'event' && passes(decoded.event, filter)) {
      page.events.push(shown(decoded.event, found.record.headers))
      bytes += shownBytes(found.record, decoded.event)
    }
  }
  return page
}

/** What a frame holds may stand for far more JSON than its bytes. */
function shownBytes({ value, bytes }: IncomingRecord, { data }: EventRecord): number {
  return value !== null && frameOf(value) !== null ? Math.max(bytes, JSON.stringify(data).length) : bytes
}

export function passes(
  event: EventRecord,
  { matchesTopic, key, eventType, from, to }: HistoryFilter,
): boolean {
  return (
    matchesTopic(event.topic) &&
    (key === null || event.key === key) &&
    (eventType === null || event.eventType === eventType) &&
    // Kafka finds offsets by time exactly only while its clock goes forward; after a change of leader it may not.
    (from === null || event.createdAt >= from) &&
    (to === null || event.createdAt < to)
  )
}

export function shown(event: EventRecord, headers: Readonly<Record<string, Buffer>>): HistoryEvent {
  // Of an external stream they are fields of the event already, the same for whoever sees it.
  if (event.external !== undefined) return { ...toWireEvent(event), headers: { ...event.external.headers } }
  const text = Object.entries(headers).map(([name, value]) => [name, value.toString('utf8')])
  return { ...toWireEvent(event), headers: Object.fromEntries(text) as Record<string, string> }
}
