import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'

/** Where an event lies for ever, within its stream. */
export interface EventPosition {
  incarnation: number
  partition: number
  sequenceId: number
}

/** An id that came from outside, and the position it was met at. */
export interface EventIdEntry extends EventPosition {
  stream: string
  /** At most some 800 bytes each: source and id are a key, and longer ones are hashed by whoever enters them. */
  source: string
  id: string
  /** Ms since 1970. */
  logTimeMs: number
  /** Of an event that a run published: the row lives as long as the run. */
  runId: string | null
}

/** Ids in key order, so that two that enter the same ones wait for one another and never in a circle. */
export const enterStatement = statement(
  'enter_event_ids',
  `insert into event_ids (stream, source, id, incarnation, partition, sequence_id, log_time, run_id)
   select u.stream, u.source, u.id, u.incarnation, u.partition, u.sequence_id, to_timestamp(u.log_time / 1000), u.run_id
   from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::int8[], $7::float8[], $8::uuid[])
     u(stream, source, id, incarnation, partition, sequence_id, log_time, run_id)
   order by u.stream, u.source, u.id
   on conflict (stream, source, id) do nothing
   returning stream, source, id`,
)

/**
 * Run after {@link enterStatement}, never with it: an insert that waited for another session's row and then did nothing
 * has a snapshot from before that row, so within one statement the row is not seen, and the event would pass for the first.
 */
export const readStatement = statement(
  'read_event_ids',
  `select u.stream, u.source, u.id, e.incarnation, e.partition, e.sequence_id as "sequenceId"
   from unnest($1::text[], $2::text[], $3::text[]) u(stream, source, id)
   cross join lateral (
     select e.incarnation, e.partition, e.sequence_id from event_ids e
     where e.stream = u.stream and e.source = u.source and e.id = u.id offset 0) e`,
)

type EventIdName = Pick<EventIdEntry, 'stream' | 'source' | 'id'>

/**
 * Enters ids, and answers for each the position that stands under it: its own, or that of whoever was first. Of one id
 * given twice the first counts. Every insert is committed before anything is read, so of two that enter one id at the
 * same time exactly one is answered its own position, and entering again answers the same.
 */
export async function enterEventIds(
  store: Store,
  entries: readonly EventIdEntry[],
): Promise<EventPosition[]> {
  const firsts = new Map<string, EventIdEntry>()
  for (const entry of entries) {
    const name = nameOf(entry)
    if (!firsts.has(name)) firsts.set(name, entry)
  }
  const stored = new Map<string, EventPosition>()
  let left = [...firsts.values()]
  // More than once around only when the sweep takes a row between the two statements.
  while (left.length > 0) {
    const trying = left
    const entered = await withRetries(
      async () => await run<EventIdName>(store.hot, enterStatement, columnsOf(trying)),
    )
    for (const row of entered) stored.set(nameOf(row), firsts.get(nameOf(row)) ?? unasked())
    const others = trying.filter((entry) => !stored.has(nameOf(entry)))
    if (others.length > 0) {
      const names = [others.map((each) => each.stream), others.map((each) => each.source)]
      const values = [...names, others.map((each) => each.id)]
      for (const row of await run<EventIdName & EventPosition>(store.hot, readStatement, values))
        stored.set(nameOf(row), row)
    }
    left = others.filter((entry) => !stored.has(nameOf(entry)))
  }
  return entries.map((entry) => {
    const { incarnation, partition, sequenceId } = stored.get(nameOf(entry)) ?? unasked()
    return { incarnation, partition, sequenceId }
  })
}

/** Whether an event lies where the position says. */
export function isAt(a: EventPosition, b: EventPosition): boolean {
  return a.incarnation === b.incarnation && a.partition === b.partition && a.sequenceId === b.sequenceId
}

/** Streams hold no slash. */
const nameOf = ({ stream, source, id }: EventIdName): string => `${stream}/${source.length}/${source}/${id}`

function columnsOf(entries: readonly EventIdEntry[]): unknown[][] {
  return [
    entries.map((entry) => entry.stream),
    entries.map((entry) => entry.source),
    entries.map((entry) => entry.id),
    entries.map((entry) => entry.incarnation),
    entries.map((entry) => entry.partition),
    entries.map((entry) => entry.sequenceId),
    entries.map((entry) => entry.logTimeMs),
    entries.map((entry) => entry.runId),
  ]
}

function unasked(): never {
  throw new Error('Postgres answered for an id that was not asked for')
}
