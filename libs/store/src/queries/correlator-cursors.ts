import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'

/** How far one partition of the response topic was read: all below `nextOffset` is stored and was matched. */
export interface CorrelatorCursor {
  partition: number
  nextOffset: number
}

const loadStatement = statement(
  'load_correlator_cursors',
  `select c.partition, c.next_offset as "nextOffset" from correlator_cursors c order by c.partition`,
)

/** The cursors there are; a partition without one was never read. */
export async function loadCorrelatorCursors(store: Store): Promise<Map<number, number>> {
  const rows = await run<CorrelatorCursor & Record<string, unknown>>(store.general, loadStatement, [])
  return new Map(rows.map(({ partition, nextOffset }) => [partition, nextOffset]))
}

/**
 * A cursor only rises: of two owners, the old one in the middle of its last batch and the new one that read the same
 * again, each has done all below what it says. `log_time` follows what was read last; it is what retention stays behind.
 */
const raiseStatement = statement(
  'raise_correlator_cursor',
  `insert into correlator_cursors as c (partition, next_offset, log_time)
   values ($1, $2, coalesce(to_timestamp($3::float8 / 1000), now()))
   on conflict (partition) do update set next_offset = excluded.next_offset, log_time = excluded.log_time, updated_at = now()
   where c.next_offset <= excluded.next_offset`,
)

/** Raises a cursor. `logTimeMs`: the oldest response of the batch; null: the partition's end was reached. */
export async function raiseCorrelatorCursor(
  store: Store,
  { partition, nextOffset, logTimeMs }: CorrelatorCursor & { logTimeMs: number | null },
): Promise<void> {
  await withRetries(async () => await run(store.hot, raiseStatement, [partition, nextOffset, logTimeMs]))
}

const resetStatement = statement(
  'reset_correlator_cursor',
  `update correlator_cursors c set next_offset = $2, updated_at = now() where c.partition = $1`,
)

/** Lowers a cursor, for a response topic that was made anew: its offsets begin again. */
export async function resetCorrelatorCursor(store: Store, cursor: CorrelatorCursor): Promise<void> {
  await run(store.general, resetStatement, [cursor.partition, cursor.nextOffset])
}
