import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { run, statement } from '../statement.ts'

/** Where a lane says a cursor is to go, and the revision and definition it worked by. */
export interface CursorMove {
  triggerId: string
  stream: string
  partition: number
  /** Compare-and-set: the revision last read or left by this lane. */
  revision: number
  version: number
  nextOffset: number
  /** int8multirange as text, `{}` when nothing beyond `nextOffset` is settled. */
  done: string
  lastOffset: number | null
  /** Ms since 1970. */
  lastTs: number | null
  lastId: string | null
}

/** A closed window, as the run it becomes. */
export interface WindowRun {
  runId: string
  triggerId: string
  stream: string
  partition: number
  workflow: string
  app: string
  build: string | null
  queue: string
  triggerVersion: number
  incarnation: number
  firstOffset: number
  lastOffset: number
  events: number
  /** Log time of the window's last event, ms since 1970. */
  since: number
  /** JSON text. */
  input: string
  tags: Record<string, string>
  traceparent: string | null
}

export interface CursorName {
  triggerId: string
  stream: string
  partition: number
}

/**
 * ARCHITECTURE, row 3: cursors moved by compare-and-set, and the runs of the windows before them, in one statement.
 * - `mine` locks the cursors first, in key order, and checks revision, definition and status on the row as it is
 *   after any wait: of two flushes with one revision, one moves.
 * - A window becomes a run only where its cursor moved; the hashed subplan `in (…) is true` stays linear where a join
 *   of two lists, whose lengths the planner does not know, may be a nested loop.
 */
export const flushStatement = statement(
  'flush_windows',
  `with mine as materialized (
     select u.trigger_id, u.stream, u.partition, u.next_offset, u.done, u.last_offset, u.last_ts, u.last_id
     from (select * from unnest($1::text[], $2::text[], $3::int[], $4::int8[], $5::int[], $6::int8[], $7::text[], $8::int8[], $9::float8[], $10::text[])
             u(trigger_id, stream, partition, revision, version, next_offset, done, last_offset, last_ts, last_id)
           order by trigger_id, stream, partition) u
     cross join lateral (
       select 1 from trigger_cursors c
       where c.trigger_id = u.trigger_id and c.stream = u.stream and c.partition = u.partition
         and c.revision = u.revision and c.version = u.version and c.status || '' = 'live'
       for no key update) c),
   moved as (
     update trigger_cursors c
     set next_offset = m.next_offset, done = m.done::int8multirange, revision = c.revision + 1,
         last_offset = m.last_offset, last_ts = to_timestamp(m.last_ts / 1000), last_id = m.last_id, updated_at = now()
     from mine m
     where c.trigger_id = any (array[m.trigger_id]) and c.stream = any (array[m.stream]) and c.partition = any (array[m.partition])
     returning c.trigger_id, c.stream, c.partition),
   started as (
     insert into runs (id, trigger_id, stream, partition, workflow, app, build, queue, trigger_version, incarnation,
       first_offset, last_offset, events, since, input, tags, traceparent, status, epoch, created_at, queued_at, run_timeout_ms, expires_at)
     select u.id, u.trigger_id, u.stream, u.partition, u.workflow, u.app, u.build, u.queue, u.trigger_version, u.incarnation,
       u.first_offset, u.last_offset, u.events, to_timestamp(u.since / 1000), u.input, u.tags::jsonb, u.traceparent, 'queued', 1, now(), now(),
       w.run_timeout_ms, now() + make_interval(secs => w.start_timeout_ms / 1000.0)
     from unnest($11::uuid[], $12::text[], $13::text[], $14::int[], $15::text[], $16::text[], $17::text[], $18::text[], $19::int[], $20::int[],
         $21::int8[], $22::int8[], $23::int[], $24::float8[], $25::text[], $26::text[], $27::text[])
       u(id, trigger_id, stream, partition, workflow, app, build, queue, trigger_version, incarnation,
         first_offset, last_offset, events, since, input, tags, traceparent)
     left join lateral (select w.run_timeout_ms, w.start_timeout_ms from workflows w where w.id = u.workflow offset 0) w on true
     where ((u.trigger_id, u.stream, u.partition) in (select trigger_id, stream, partition from moved)) is true
     returning id, epoch)
   select trigger_id, stream, partition, null::uuid as id, null::int as epoch from moved
   union all select null, null, null, id, epoch from started`,
)

interface FlushRow {
  trigger_id: string | null
  stream: string | null
  partition: number | null
  id: string | null
  epoch: number | null
}

/**
 * Moves cursors and starts the runs of their windows; a move without runs is progress. A cursor missing from `moved`
 * belongs to somebody else now (or was paused, stopped or redefined): none of its runs was started.
 * Throws what Postgres says of a bad row: the caller cuts the batch in prefix order, because windows share cursors.
 * After an `outage` the fate is unknown: read back with {@link readRuns}.
 */
export async function flushWindows(
  store: Store,
  flush: { moves: CursorMove[]; runs: WindowRun[] },
): Promise<{ moved: CursorName[]; started: { runId: string; epoch: number }[] }> {
  if (flush.moves.length === 0) return { moved: [], started: [] }
  const values = [...moveColumns(flush.moves), ...runColumns(flush.runs)]
  const rows = await withPartitions(
    store,
    flush.runs.map((each) => each.runId),
    async () => await withRetries(async () => await run<FlushRow>(store.hot, flushStatement, values)),
  )
  const moved: CursorName[] = []
  const started: { runId: string; epoch: number }[] = []
  for (const row of rows)
    if (row.id !== null) started.push({ runId: row.id, epoch: row.epoch ?? 1 })
    else
      moved.push({
        triggerId: row.trigger_id ?? '',
        stream: row.stream ?? '',
        partition: row.partition ?? 0,
      })
  return { moved, started }
}

function moveColumns(moves: CursorMove[]): unknown[][] {
  return [
    moves.map((move) => move.triggerId),
    moves.map((move) => move.stream),
    moves.map((move) => move.partition),
    moves.map((move) => move.revision),
    moves.map((move) => move.version),
    moves.map((move) => move.nextOffset),
    moves.map((move) => move.done),
    moves.map((move) => move.lastOffset),
    moves.map((move) => move.lastTs),
    moves.map((move) => move.lastId),
  ]
}

function runColumns(runs: WindowRun[]): unknown[][] {
  return [
    runs.map((each) => each.runId),
    runs.map((each) => each.triggerId),
    runs.map((each) => each.stream),
    runs.map((each) => each.partition),
    runs.map((each) => each.workflow),
    runs.map((each) => each.app),
    runs.map((each) => each.build),
    runs.map((each) => each.queue),
    runs.map((each) => each.triggerVersion),
    runs.map((each) => each.incarnation),
    runs.map((each) => each.firstOffset),
    runs.map((each) => each.lastOffset),
    runs.map((each) => each.events),
    runs.map((each) => each.since),
    runs.map((each) => each.input),
    runs.map((each) => JSON.stringify(each.tags)),
    runs.map((each) => each.traceparent),
  ]
}

export const existingRunsStatement = statement(
  'existing_runs',
  `select r.id from unnest($1::uuid[]) u(id) cross join lateral (select r.id from runs r where r.id = u.id offset 0) r`,
)

/** Which of these runs exist: after a flush whose commit may or may not have happened. */
export async function readRuns(store: Store, runIds: string[]): Promise<Set<string>> {
  if (runIds.length === 0) return new Set()
  const rows = await run<{ id: string }>(store.hot, existingRunsStatement, [runIds])
  return new Set(rows.map((row) => row.id))
}
