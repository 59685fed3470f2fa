import type { CancelRule } from '@headrace/schemas'
import { numberArray, payloadArray, textArray, uuidArray } from '../array-parameter.ts'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { run, statement } from '../statement.ts'
import { cancelWaitsOf, startRuns } from './cancel-waits.ts'

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
  /** Whose cursor moves with it: the trigger's, or one of its replays', `<trigger>:<replay>`. */
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
  /** Its share of its workflow's concurrency; null: its trigger knows of no rule. A run with a key is held until `admitRuns`. */
  concurrencyKey: string | null
  /** What cancels it. */
  cancelOn: readonly CancelRule[]
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
 * - What all windows of a cursor have in common is sent once ($11 to $18, with the place of its move) and read by place:
 *   a list of texts costs more to send and to unnest than the rest of a run. So the time-outs of a workflow are looked
 *   up once, too, and a workflow without a concurrency rule costs one null a cursor.
 */
export const flushStatement = statement(
  'flush_windows',
  `with mine as materialized (
     select u.at, u.trigger_id, u.stream, u.partition, u.next_offset, u.done, u.last_offset, u.last_ts, u.last_id
     from (select * from unnest($1::text[], $2::text[], $3::int[], $4::int8[], $5::int[], $6::int8[], $7::text[], $8::int8[], $9::float8[], $10::text[])
             with ordinality u(trigger_id, stream, partition, revision, version, next_offset, done, last_offset, last_ts, last_id, at)
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
     returning m.at),
   timeouts as materialized (
     select array_agg(w.run_timeout_ms order by k.at) as run, array_agg(w.start_timeout_ms order by k.at) as start
     from unnest($12::text[]) with ordinality k(workflow, at)
     left join lateral (select w.run_timeout_ms, w.start_timeout_ms from workflows w where w.id = k.workflow offset 0) w on true),
   started as (
     insert into runs (id, trigger_id, stream, partition, workflow, app, build, queue, trigger_version, incarnation,
       first_offset, last_offset, events, since, input, tags, traceparent, status, epoch, created_at, queued_at, run_timeout_ms, expires_at,
       concurrency_key, blocked_reason)
     select u.id, split_part(($1::text[])[($11::int[])[u.kind]], ':', 1), ($2::text[])[($11::int[])[u.kind]], ($3::int[])[($11::int[])[u.kind]],
       ($12::text[])[u.kind], ($13::text[])[u.kind], ($14::text[])[u.kind], ($15::text[])[u.kind], ($16::int[])[u.kind], ($17::int[])[u.kind],
       u.first_offset, u.last_offset, u.events, to_timestamp(u.since / 1000), u.input, u.tags::jsonb, u.traceparent, 'queued', 1, now(), now(),
       timeouts.run[u.kind], now() + make_interval(secs => timeouts.start[u.kind] / 1000.0),
       ($18::text[])[u.kind], case when ($18::text[])[u.kind] is not null then 'concurrency' end
     from (select unnest($19::uuid[]) as id, unnest($20::int[]) as kind, unnest($21::int8[]) as first_offset, unnest($22::int8[]) as last_offset,
             unnest($23::int[]) as events, unnest($24::float8[]) as since, unnest($25::text[]) as input, unnest($26::text[]) as tags,
             unnest($27::text[]) as traceparent) u, timeouts
     where (($11::int[])[u.kind] in (select at from moved)) is true)
   select at::int from moved`,
)

/**
 * Moves cursors and starts the runs of their windows; a move without runs is progress. A cursor missing from `moved`
 * belongs to somebody else now (or was paused, stopped or redefined): none of its runs was started.
 * The waits that cancel a run stand or fall with it.
 * Throws what Postgres says of a bad row: the caller cuts the batch in prefix order, because windows share cursors.
 * After an `outage` the fate is unknown: read back with {@link readRuns}.
 */
export async function flushWindows(
  store: Store,
  flush: { moves: CursorMove[]; runs: WindowRun[] },
): Promise<{ moved: CursorName[]; started: { runId: string; epoch: number }[] }> {
  const { moves, runs } = flush
  if (moves.length === 0) return { moved: [], started: [] }
  const { kinds, kindOf } = kindsOf(moves, runs)
  const values = [...moveColumns(moves), ...kindColumns(kinds), ...runColumns(runs, kindOf)]
  const cancels = runs.flatMap(({ runId, cancelOn, input }) => cancelWaitsOf(runId, cancelOn, input))
  const rows = await withPartitions(
    store,
    runs.map((each) => each.runId),
    async () =>
      await withRetries(
        async () => await startRuns<{ at: number }>(store.hot, flushStatement, values, cancels),
      ),
  )
  const places = new Set(rows.map(({ at }) => at))
  return {
    moved: moves
      .filter((_, index) => places.has(index + 1))
      .map(({ triggerId, stream, partition }) => ({ triggerId, stream, partition })),
    started: runs
      .filter((_, index) => places.has(kinds[(kindOf[index] ?? 0) - 1]?.move ?? 0))
      .map(({ runId }) => ({ runId, epoch: 1 })),
  }
}

/** What the windows of a cursor have in common, and the place of its move, from 1; 0: there is none. */
interface WindowKind {
  move: number
  run: WindowRun
}

/** The kinds of some runs, and for each run the place of its kind, from 1. */
function kindsOf(moves: CursorMove[], runs: WindowRun[]): { kinds: WindowKind[]; kindOf: number[] } {
  const moveAt = new Map(moves.map((move, index) => [cursorKey(move), index + 1]))
  const kinds: WindowKind[] = []
  const byKey = new Map<string, number>()
  let last: { run: WindowRun; at: number } | null = null
  const kindOf = runs.map((one) => {
    // Windows come cursor by cursor, so nearly all are of the kind of the one before.
    if (last !== null && isSameKind(last.run, one)) return last.at
    const { app, build, queue, triggerVersion, incarnation, concurrencyKey } = one
    const key = JSON.stringify([
      cursorKey(one),
      one.workflow,
      app,
      build,
      queue,
      triggerVersion,
      incarnation,
      concurrencyKey,
    ])
    let at = byKey.get(key)
    if (at === undefined) {
      at = kinds.push({ move: moveAt.get(cursorKey(one)) ?? 0, run: one })
      byKey.set(key, at)
    }
    last = { run: one, at }
    return at
  })
  return { kinds, kindOf }
}

const cursorKey = ({ triggerId, stream, partition }: CursorName): string =>
  JSON.stringify([triggerId, stream, partition])

const isSameKind = (a: WindowRun, b: WindowRun): boolean =>
  a.partition === b.partition &&
  a.triggerId === b.triggerId &&
  a.stream === b.stream &&
  a.workflow === b.workflow &&
  a.app === b.app &&
  a.build === b.build &&
  a.queue === b.queue &&
  a.triggerVersion === b.triggerVersion &&
  a.incarnation === b.incarnation &&
  a.concurrencyKey === b.concurrencyKey

function moveColumns(moves: CursorMove[]): unknown[] {
  return [
    textArray(moves.map((move) => move.triggerId)),
    textArray(moves.map((move) => move.stream)),
    numberArray(moves.map((move) => move.partition)),
    numberArray(moves.map((move) => move.revision)),
    numberArray(moves.map((move) => move.version)),
    numberArray(moves.map((move) => move.nextOffset)),
    textArray(moves.map((move) => move.done)),
    numberArray(moves.map((move) => move.lastOffset)),
    numberArray(moves.map((move) => move.lastTs)),
    textArray(moves.map((move) => move.lastId)),
  ]
}

function kindColumns(kinds: WindowKind[]): unknown[] {
  return [
    numberArray(kinds.map(({ move }) => move)),
    textArray(kinds.map(({ run: each }) => each.workflow)),
    textArray(kinds.map(({ run: each }) => each.app)),
    textArray(kinds.map(({ run: each }) => each.build)),
    textArray(kinds.map(({ run: each }) => each.queue)),
    numberArray(kinds.map(({ run: each }) => each.triggerVersion)),
    numberArray(kinds.map(({ run: each }) => each.incarnation)),
    textArray(kinds.map(({ run: each }) => each.concurrencyKey)),
  ]
}

function runColumns(runs: WindowRun[], kindOf: number[]): unknown[] {
  return [
    uuidArray(runs.map((each) => each.runId)),
    numberArray(kindOf),
    numberArray(runs.map((each) => each.firstOffset)),
    numberArray(runs.map((each) => each.lastOffset)),
    numberArray(runs.map((each) => each.events)),
    numberArray(runs.map((each) => each.since)),
    payloadArray(runs.map((each) => each.input)),
    textArray(runs.map((each) => JSON.stringify(each.tags))),
    textArray(runs.map((each) => each.traceparent)),
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
