import type { WireEvent } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { EventPlace } from '../wait-candidate.ts'

const eventColumns = 'r.id, r.source, r.event_type, r.key, r.stream, r.external'

/**
 * The partitions on which topics have responses, by leaps through the key. Here and below the last value is a time before
 * which nothing is asked for: with it known at the start, the hours before are not even opened.
 */
export const responsePlacesStatement = statement(
  'response_places',
  `select u.topic, g.incarnation, g.partition
   from unnest($1::text[], $2::float8[]) u(topic, since_ms)
   cross join lateral (
     with recursive leaps as (
       (select r.incarnation, r.partition from responses r
        where r.topic = u.topic and r.log_time >= to_timestamp(u.since_ms / 1000) and r.log_time >= to_timestamp($3::float8 / 1000)
        order by r.topic, r.incarnation, r.partition limit 1)
       union all
       select n.incarnation, n.partition from leaps l
       cross join lateral (
         select r.incarnation, r.partition from responses r
         where r.topic = u.topic and r.log_time >= to_timestamp(u.since_ms / 1000) and r.log_time >= to_timestamp($3::float8 / 1000)
           and (r.incarnation, r.partition) > (l.incarnation, l.partition)
         order by r.topic, r.incarnation, r.partition limit 1) n)
     select * from leaps) g`,
)

/**
 * Responses of a topic on one partition, in the order of their offsets, from above an offset on: by the key alone, so that
 * a loop of waits does not read again what it has received, and nobody reads the rest of a busy topic. Payloads only for
 * those that have a filter to be tried on them, and no more than $10 bytes of them beyond the first.
 *
 * `order by` names the whole key before the offset: that is the index's order, and nothing is left to sort.
 */
export const responsePagesStatement = statement(
  'response_pages',
  `select u.at::int, c.*
   from unnest($1::text[], $2::int[], $3::int[], $4::int8[], $5::float8[], $6::int8[], $7::int8[], $8::int[], $9::bool[]) with ordinality
     u(topic, incarnation, partition, above, since_ms, never_from, never_to, rows, with_data, at)
   cross join lateral (
     select p.sequence_id, p.log_time, p.found, p.id, p.source, p.event_type, p.key, p.stream, p.external,
       case when u.with_data then p.data end as data
     from (select f.*, count(*) over () as found, sum(octet_length(f.data)) over (order by f.sequence_id) - octet_length(f.data) as before
           from (select r.sequence_id, r.log_time, r.data, ${eventColumns} from responses r
                 where r.topic = u.topic and r.incarnation = u.incarnation and r.partition = u.partition and r.sequence_id > u.above
                   and r.log_time >= to_timestamp(u.since_ms / 1000) and r.log_time >= to_timestamp($11::float8 / 1000)
                   and (r.sequence_id between u.never_from and u.never_to) is not true
                 order by r.topic, r.incarnation, r.partition, r.sequence_id limit u.rows) f) p
     where not u.with_data or p.before < $10) c
   order by u.at, c.sequence_id`,
)

/** The latest response of each topic, of those that were dropped from `responses`: for waits older than the look-back. */
export const latestResponsesStatement = statement(
  'latest_responses_of',
  `select u.at::int, r.* from unnest($1::text[], $2::bool[]) with ordinality u(topic, with_data, at)
   cross join lateral (
     select r.incarnation, r.partition, r.sequence_id, r.log_time, ${eventColumns}, case when u.with_data then r.data end as data
     from latest_responses r where r.topic = u.topic offset 0) r`,
)

const earliestOf = (requests: readonly { sinceMs: number }[]): number =>
  requests.reduce((earliest, { sinceMs }) => Math.min(earliest, sinceMs), Number.MAX_SAFE_INTEGER)

/** A partition of a topic's stream. */
export interface ResponsePlace {
  topic: string
  incarnation: number
  partition: number
}

/** Where these topics have responses from a time on. */
export async function readResponsePlaces(
  store: Store,
  requests: readonly { topic: string; sinceMs: number }[],
): Promise<ResponsePlace[]> {
  if (requests.length === 0) return []
  return await withRetries(
    async () =>
      await run<ResponsePlace & Record<string, unknown>>(store.hot, responsePlacesStatement, [
        requests.map(({ topic }) => topic),
        requests.map(({ sinceMs }) => sinceMs),
        earliestOf(requests),
      ]),
  )
}

/** What is read of one topic's partition. */
export interface PageRequest extends ResponsePlace {
  above: number
  sinceMs: number
  never: { from: number; to: number } | null
  rowsMax: number
  /** For a filter; else the place is enough. */
  withData: boolean
}

/** `event`: as filters and handlers see it, where it was asked for. */
export interface StoredResponse extends EventPlace {
  event: WireEvent | null
}

export interface ResponsePage {
  responses: StoredResponse[]
  /** There is nothing beyond. */
  last: boolean
}

interface EventRow {
  at: number
  sequence_id: number
  log_time: number
  id: string
  source: string
  event_type: string | null
  key: string | null
  stream: string
  external: string | null
  data: string | null
}

/** A page for each request, at its index. `dataBytesMax`: of one page, beyond its first event. */
export async function readResponsePages(
  store: Store,
  requests: readonly PageRequest[],
  { dataBytesMax }: { dataBytesMax: number },
): Promise<ResponsePage[]> {
  if (requests.length === 0) return []
  const rows = await withRetries(
    async () =>
      await run<EventRow & { found: number }>(store.hot, responsePagesStatement, [
        requests.map((request) => request.topic),
        requests.map((request) => request.incarnation),
        requests.map((request) => request.partition),
        requests.map((request) => request.above),
        requests.map((request) => request.sinceMs),
        requests.map((request) => request.never?.from ?? null),
        requests.map((request) => request.never?.to ?? null),
        requests.map((request) => request.rowsMax),
        requests.map((request) => request.withData),
        dataBytesMax,
        earliestOf(requests),
      ]),
  )
  const pages = requests.map((): ResponsePage => ({ responses: [], last: true }))
  const found = new Map<ResponsePage, number>()
  for (const row of rows) {
    const page = pages[row.at - 1]
    const request = requests[row.at - 1]
    if (!page || !request) continue
    page.responses.push(toStoredResponse(row, request, request.topic))
    found.set(page, row.found)
  }
  for (const [at, page] of pages.entries()) {
    const whole = found.get(page) ?? 0
    page.last = whole === page.responses.length && whole < (requests[at]?.rowsMax ?? 0)
  }
  return pages
}

/** The latest response of each topic that has one among those dropped, at the request's index. */
export async function readLatestResponses(
  store: Store,
  requests: readonly { topic: string; withData: boolean }[],
): Promise<(StoredResponse | null)[]> {
  if (requests.length === 0) return []
  const rows = await withRetries(
    async () =>
      await run<EventRow & { incarnation: number; partition: number }>(store.hot, latestResponsesStatement, [
        requests.map((request) => request.topic),
        requests.map((request) => request.withData),
      ]),
  )
  const byIndex = new Map(rows.map((row) => [row.at - 1, row]))
  return requests.map(({ topic }, at) => {
    const row = byIndex.get(at)
    return row ? toStoredResponse(row, row, topic) : null
  })
}

function toStoredResponse(
  row: EventRow,
  { incarnation, partition }: { incarnation: number; partition: number },
  topic: string,
): StoredResponse {
  const { sequence_id: sequenceId, log_time: logTimeMs, data } = row
  const place = { incarnation, partition, sequenceId, logTimeMs }
  if (data === null) return { ...place, event: null }
  return { ...place, event: toEvent({ ...row, topic, partition, data }) }
}

const toEvent = (row: EventRow & { topic: string; partition: number; data: string }): WireEvent => ({
  id: row.id,
  source: row.source,
  topic: row.topic,
  event_type: row.event_type,
  data: JSON.parse(row.data) as WireEvent['data'],
  key: row.key,
  stream: row.stream,
  partition: row.partition,
  sequence_id: row.sequence_id,
  created_at: new Date(row.log_time).toISOString(),
  ...(row.external === null ? {} : (JSON.parse(row.external) as Partial<WireEvent>)),
})
