import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/** Locks the stream's row, and makes it first: without one there would be nothing to wait for. */
export const lockSweepStatement = statement(
  'lock_event_id_sweep',
  `insert into event_id_sweeps (stream) values ($1) on conflict (stream) do update set revision = event_id_sweeps.revision
   returning swept_to as "sweptTo", revision`,
)

export interface SweptTo {
  /** Ids of events with an earlier log time may be gone; ms since 1970, 0 when none was ever swept. */
  sweptToMs: number
  /** Changes with every sweep. */
  revision: number
}

/**
 * How far a stream's ids were swept, once no sweep is under way. Asked with a live cursor in place, the answer holds for
 * as long as the cursor lives: from then on nothing that matters to it is swept.
 */
export async function sweptEventIds(store: Store, stream: string): Promise<SweptTo> {
  const [row] = await run<{ sweptTo: number; revision: number }>(store.general, lockSweepStatement, [stream])
  if (row === undefined) throw new Error('Postgres answered without a row')
  return { sweptToMs: row.sweptTo, revision: row.revision }
}

const recalledStatement = statement(
  'lower_event_id_sweep',
  `update event_id_sweeps set swept_to = least(swept_to, to_timestamp($3::float8 / 1000)), revision = revision + 1
   where stream = $1 and revision = $2 returning 1 as there`,
)

/**
 * Says that all ids with a log time from `fromMs` on are entered (again). False when something was swept, or said,
 * since the `revision` was read.
 */
export async function recalledEventIds(
  store: Store,
  { stream, revision, fromMs }: { stream: string; revision: number; fromMs: number },
): Promise<boolean> {
  return (await run(store.general, recalledStatement, [stream, revision, fromMs])).length > 0
}

const incarnationsStatement = statement(
  'incarnations',
  `select c.partition, coalesce(max(c.incarnation) filter (where c.status = 'live'), max(c.incarnation)) as incarnation
   from trigger_cursors c where c.stream = $1 group by c.partition`,
)

/** The incarnation of each partition of a stream, as its cursors say; those in use before those that are not. */
export async function incarnationsOf(store: Store, stream: string): Promise<Map<number, number>> {
  const rows = await run<{ partition: number; incarnation: number }>(store.general, incarnationsStatement, [
    stream,
  ])
  return new Map(rows.map(({ partition, incarnation }) => [partition, incarnation]))
}
