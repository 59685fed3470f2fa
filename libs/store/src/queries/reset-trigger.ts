import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement, transaction } from '../statement.ts'
import { insertCursors } from './cursors.ts'
import { projectionTriggerId } from './projections.ts'

/** Where a cursor is set. */
export interface ResetCursor {
  stream: string
  partition: number
  nextOffset: number
  /** As it is to be; never lower than it is. */
  incarnation: number
}

/** A registration, a pause and another reset wait for one another here. */
const ownerStatement = statement(
  'reset_owner',
  `select version, status from triggers where id = $1 and status <> 'retired' for no key update`,
)

/** In key order, as flushes lock them. A flush in flight finds another revision, and starts nothing of what it held. */
const resetStatement = statement(
  'reset_cursors',
  `with own as materialized (
     select c.trigger_id, c.stream, c.partition, u.next_offset, u.incarnation, u.status
     from unnest($1::text[], $2::text[], $3::int[], $4::int8[], $5::int[], $6::text[]) u(trigger_id, stream, partition, next_offset, incarnation, status)
     join trigger_cursors c on c.trigger_id = u.trigger_id and c.stream = u.stream and c.partition = u.partition
     order by c.trigger_id, c.stream, c.partition for no key update of c)
   update trigger_cursors c
   set next_offset = own.next_offset, incarnation = greatest(c.incarnation, own.incarnation), done = '{}', lost = 0,
       last_offset = null, last_ts = null, last_id = null, status = own.status, reason = null, revision = c.revision + 1, updated_at = now()
   from own where c.trigger_id = own.trigger_id and c.stream = own.stream and c.partition = own.partition`,
)

/** What was projected in another incarnation is over; all that there is of the log now comes behind its new beginning. */
const projectionStatement = statement(
  'reset_projections',
  `update projections p set incarnation = u.incarnation, from_offset = u.next_offset
   from unnest($1::text[], $2::int[], $3::int8[], $4::int[]) u(stream, partition, next_offset, incarnation)
   where p.stream = u.stream and p.partition = u.partition and p.incarnation < u.incarnation`,
)

/**
 * Sets cursors of a trigger, also one that begins, and sets stopped ones going; a paused trigger's stay paused. Forgets what
 * they held. `projections`: the cursors of the stream's projection that are set going with them. False: there is no such
 * trigger, or it is retired.
 */
export async function resetTrigger(
  store: Store,
  reset: { triggerId: string; cursors: readonly ResetCursor[]; projections: readonly ResetCursor[] },
): Promise<boolean> {
  const { triggerId, cursors, projections } = reset
  return await withRetries(
    async () =>
      await transaction(store.general, async (client) => {
        const [owner] = await run<{ version: number; status: 'live' | 'paused' }>(client, ownerStatement, [
          triggerId,
        ])
        if (owner === undefined) return false
        await insertCursors(
          client,
          cursors.map((cursor) => ({ ...cursor, triggerId, version: owner.version })),
        )
        const all = [...cursors, ...projections]
        await run(client, resetStatement, [
          all.map((_, index) => (index < cursors.length ? triggerId : projectionTriggerId)),
          ...columnsOf(all),
          all.map((_, index) => (index < cursors.length ? owner.status : 'live')),
        ])
        if (projections.length > 0) await run(client, projectionStatement, columnsOf(projections))
        return true
      }),
  )
}

function columnsOf(cursors: readonly ResetCursor[]): unknown[] {
  return [
    cursors.map(({ stream }) => stream),
    cursors.map(({ partition }) => partition),
    cursors.map(({ nextOffset }) => nextOffset),
    cursors.map(({ incarnation }) => incarnation),
  ]
}
