import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import { projectionTriggerId } from './projections.ts'

/** A waited stream of which not everything that was asked for may be answered from yet. */
export interface StreamToOpen {
  stream: string
  /** `projected_from` as Postgres writes it, to the microsecond: a value that is rounded would open too much. */
  projectedFrom: string
  /** Partitions that are projected from there on, up to their cursors. */
  projected: number[]
  /** Whether any of its partitions was ever projected. */
  known: boolean
}

const toOpenStatement = statement(
  'streams_to_open',
  `select w.stream, w.projected_from::text as "projectedFrom", p.projected, p.known
   from waited_streams w
   cross join lateral (
     select coalesce(array_agg(p.partition order by p.partition) filter (where p.projected_from <= w.projected_from), '{}') as projected,
       count(*) > 0 as known
     from projections p where p.stream = w.stream) p
   where w.open_from is null or w.open_from > w.projected_from
   order by w.stream`,
)

export async function streamsToOpen(store: Store): Promise<StreamToOpen[]> {
  return await run<StreamToOpen & Record<string, unknown>>(store.general, toOpenStatement, [])
}

const openStatement = statement(
  'open_stream',
  `update waited_streams w set open_from = $2::text::timestamptz
   where w.stream = $1 and w.projected_from <= $2::text::timestamptz and (w.open_from is null or w.open_from > $2::text::timestamptz)
   returning 1 as opened`,
)

/**
 * Says that `responses` is complete from `projectedFrom` on, up to what the correlator is reading. False: somebody else
 * said so, or more.
 */
export async function openStream(
  store: Store,
  { stream, projectedFrom }: Pick<StreamToOpen, 'stream' | 'projectedFrom'>,
): Promise<boolean> {
  return (await run(store.general, openStatement, [stream, projectedFrom])).length > 0
}

/** How far the projection of one partition is. */
export interface ProjectionCursor {
  stream: string
  partition: number
  nextOffset: number
  status: 'live' | 'paused' | 'stopped'
}

const cursorsStatement = statement(
  'projection_cursors',
  `select c.stream, c.partition, c.next_offset as "nextOffset", c.status from trigger_cursors c
   where c.trigger_id = '${projectionTriggerId}' and c.stream = any ($1::text[]) order by c.stream, c.partition`,
)

/** The projection's cursors on these streams: all below `nextOffset` is acknowledged on the response topic. */
export async function projectionCursors(
  store: Store,
  streams: readonly string[],
): Promise<ProjectionCursor[]> {
  return await run<ProjectionCursor & Record<string, unknown>>(store.general, cursorsStatement, [streams])
}
