import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/** What a trigger's open windows on one partition hold, for people; their truth is the log. */
export interface OpenWindowNote {
  triggerId: string
  stream: string
  partition: number
  revision: number
  /** Events in open windows; 0: there is none. */
  events: number
  /** Log time of the first of them, ms since 1970; null where there is none. */
  since: number | null
}

/**
 * Moves no cursor and leaves the revision, so a flush in flight is not disturbed. Noted with the cursor's place: once it has
 * moved on, the note is of a window that is closed. In key order, as flushes lock them.
 */
export const noteStatement = statement(
  'note_open_windows',
  `with own as materialized (
     select u.* from (select * from unnest($1::text[], $2::text[], $3::int[], $4::int8[], $5::int[], $6::float8[])
         u(trigger_id, stream, partition, revision, events, since) order by trigger_id, stream, partition) u
     cross join lateral (
       select 1 from trigger_cursors c
       where c.trigger_id = u.trigger_id and c.stream = u.stream and c.partition = u.partition and c.revision = u.revision
       for no key update) c)
   update trigger_cursors c set open_events = own.events, open_since = to_timestamp(own.since / 1000), open_offset = c.next_offset
   from own
   where c.trigger_id = any (array[own.trigger_id]) and c.stream = any (array[own.stream]) and c.partition = any (array[own.partition])`,
)

/** Notes open windows of cursors that are at the `revision` given; others were moved by somebody else, who notes them. */
export async function noteOpenWindows(store: Store, notes: readonly OpenWindowNote[]): Promise<void> {
  if (notes.length === 0) return
  await run(store.hot, noteStatement, [
    notes.map(({ triggerId }) => triggerId),
    notes.map(({ stream }) => stream),
    notes.map(({ partition }) => partition),
    notes.map(({ revision }) => revision),
    notes.map(({ events }) => events),
    notes.map(({ since }) => since),
  ])
}
