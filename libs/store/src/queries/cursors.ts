import type { Store } from '../connection.ts'
import { type Connection, run, statement } from '../statement.ts'

export type CursorStatus = 'live' | 'paused' | 'stopped'

export interface CursorRow {
  triggerId: string
  stream: string
  incarnation: number
  partition: number
  nextOffset: number
  /** int8multirange as text. */
  done: string
  revision: number
  version: number
  lastOffset: number | null
  lastTs: number | null
  lastId: string | null
  status: CursorStatus
  reason: string | null
  /** Offsets that retention took before the trigger saw them, since it was last reset. */
  lost: number
  /** Events in its open windows, and the log time of the first, ms since 1970; null: none, or not noted yet. */
  open: { events: number; since: number } | null
}

export interface StoredCursor {
  trigger_id: string
  stream: string
  incarnation: number
  partition: number
  next_offset: number
  done: string
  revision: number
  version: number
  last_offset: number | null
  last_ts: number | null
  last_id: string | null
  status: CursorStatus
  reason: string | null
  lost: number
  open_events: number | null
  open_since: number | null
}

export const cursorColumns = `c.trigger_id, c.stream, c.incarnation, c.partition, c.next_offset, c.done::text as done, c.revision, c.version,
     c.last_offset, c.last_ts, c.last_id, c.status, c.reason, c.lost,
     case when c.open_offset = c.next_offset then c.open_events end as open_events, c.open_since`

export function toCursor(row: StoredCursor): CursorRow {
  return {
    triggerId: row.trigger_id,
    stream: row.stream,
    incarnation: row.incarnation,
    partition: row.partition,
    nextOffset: row.next_offset,
    done: row.done,
    revision: row.revision,
    version: row.version,
    lastOffset: row.last_offset,
    lastTs: row.last_ts,
    lastId: row.last_id,
    status: row.status,
    reason: row.reason,
    lost: row.lost,
    open:
      row.open_events && row.open_since !== null ? { events: row.open_events, since: row.open_since } : null,
  }
}

const loadStatement = statement(
  'load_cursors',
  `select ${cursorColumns} from trigger_cursors c
   where c.stream = $1 and ($2::int[] is null or c.partition = any ($2::int[])) order by c.partition, c.trigger_id`,
)

/** Every trigger's cursors on some partitions of a stream, null: on all; also paused and stopped ones. */
export async function loadCursors(
  store: Store,
  stream: string,
  partitions: number[] | null,
): Promise<CursorRow[]> {
  const rows = await run<StoredCursor>(store.general, loadStatement, [stream, partitions])
  return rows.map(toCursor)
}

const triggerCursorsStatement = statement(
  'cursors_of_triggers',
  `select ${cursorColumns} from trigger_cursors c
   where c.trigger_id = any ($1::text[]) order by c.trigger_id, c.stream, c.partition`,
)

/** All cursors of some triggers, for the API. */
export async function cursorsOfTriggers(store: Store, triggerIds: string[]): Promise<CursorRow[]> {
  const rows = await run<StoredCursor>(store.general, triggerCursorsStatement, [triggerIds])
  return rows.map(toCursor)
}

/** A cursor that begins: on a partition that is newer than its trigger, at the partition's low mark. */
export interface NewCursor {
  triggerId: string
  stream: string
  partition: number
  nextOffset: number
  /** The trigger's definition it begins under. */
  version: number
  /** That of the stream's other cursors on the partition when left out, else 1. */
  incarnation?: number
}

/**
 * A cursor of a paused trigger begins paused; the share lock keeps `setTriggerStatus` from passing in between. A
 * partition's incarnation is what the stream's other cursors say it is; one that stopped because the topic was made anew
 * is of the incarnation before.
 */
const createStatement = statement(
  'create_cursors',
  `with owner as materialized (
     select id, status from triggers where id = any ($1::text[]) order by id for share)
   insert into trigger_cursors (trigger_id, stream, partition, next_offset, version, incarnation, status)
   select u.trigger_id, u.stream, u.partition, u.next_offset, u.version,
     coalesce(u.incarnation, (select max(c.incarnation + (c.reason is not distinct from 'recreated')::int) from trigger_cursors c where c.stream = u.stream and c.partition = u.partition), 1),
     case when o.status = 'paused' then 'paused' else 'live' end
   from unnest($1::text[], $2::text[], $3::int[], $4::int8[], $5::int[], $6::int[])
     u(trigger_id, stream, partition, next_offset, version, incarnation)
   left join owner o on o.id = u.trigger_id
   order by 1, 2, 3
   on conflict do nothing`,
)

export async function insertCursors(connection: Connection, cursors: NewCursor[]): Promise<void> {
  if (cursors.length === 0) return
  await run(connection, createStatement, [
    cursors.map((cursor) => cursor.triggerId),
    cursors.map((cursor) => cursor.stream),
    cursors.map((cursor) => cursor.partition),
    cursors.map((cursor) => cursor.nextOffset),
    cursors.map((cursor) => cursor.version),
    cursors.map((cursor) => cursor.incarnation ?? null),
  ])
}

/** Makes cursor rows; one that is there already is left as it is. */
export async function createCursors(store: Store, cursors: NewCursor[]): Promise<void> {
  await insertCursors(store.general, cursors)
}

const cursorStatusStatement = statement(
  'set_cursor_status',
  `update trigger_cursors c set status = $4, reason = $5, lost = c.lost + $7, revision = c.revision + 1, updated_at = now()
   where c.trigger_id = $1 and c.stream = $2 and c.partition = $3 and ($6::int8 is null or c.revision = $6) returning 1 as there`,
)

/**
 * Stops or restarts one cursor. Its revision rises, so a flush in flight does not move it. False: no such cursor, or it
 * is not at the `revision` that was asked for: somebody moved it, and what was found out about it no longer holds.
 */
export async function setCursorStatus(
  store: Store,
  change: {
    triggerId: string
    stream: string
    partition: number
    status: CursorStatus
    reason: string | null
    revision?: number
    /** What a gap took, added to what others took. */
    lost?: number
  },
): Promise<boolean> {
  const rows = await run(store.general, cursorStatusStatement, [
    change.triggerId,
    change.stream,
    change.partition,
    change.status,
    change.reason,
    change.revision ?? null,
    change.lost ?? 0,
  ])
  return rows.length > 0
}
