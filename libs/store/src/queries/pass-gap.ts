import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import type { CursorRow } from './cursors.ts'

/** Where a cursor goes on behind a gap. */
export interface PastGap {
  nextOffset: number
  /** Another than the cursor's: nothing that it knew of the log holds. */
  incarnation: number
  /** Offsets that retention took; 0 when the log was cut or made anew. */
  lost: number
}

/**
 * What retention left of a cursor stays: what is settled beyond the gap, and the last record it saw. Where the log was cut
 * or made anew another record stands there, or will. What retention took is kept among the decisions.
 */
const passStatement = statement(
  'pass_gap',
  `with passed as (
   update trigger_cursors c set next_offset = $5, incarnation = $6, lost = c.lost + $7, revision = c.revision + 1, updated_at = now(),
     done = case when $7 > 0 then c.done * int8multirange(int8range($5, null)) else '{}' end,
     last_offset = case when $7 > 0 then c.last_offset end,
     last_ts = case when $7 > 0 then c.last_ts end,
     last_id = case when $7 > 0 then c.last_id end
   where c.trigger_id = $1 and c.stream = $2 and c.partition = $3 and c.revision = $4 and c.status = 'live'
   returning 1 as there),
   noted as (
     insert into decisions (kind, stream, partition, incarnation, trigger_id, sequence_id, last_sequence_id)
     select 'gap', $2, $3, $8, $1, $9, $5::int8 - 1 from passed where $7 > 0
     on conflict do nothing)
   select there from passed`,
)

/** Sets a cursor behind a gap that its trigger's policy lets pass. False when it is not as it was read any more. */
export async function passGap(store: Store, cursor: CursorRow, past: PastGap): Promise<boolean> {
  const { triggerId, stream, partition, revision } = cursor
  const before = [cursor.incarnation, cursor.nextOffset]
  const values = [
    triggerId,
    stream,
    partition,
    revision,
    past.nextOffset,
    past.incarnation,
    past.lost,
    ...before,
  ]
  return (await run(store.general, passStatement, values)).length > 0
}
