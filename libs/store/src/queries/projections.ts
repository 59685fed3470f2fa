import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/** Whose cursors say how far waited streams are projected. No trigger of a workflow can have this name: it holds a colon. */
export const projectionTriggerId = 'headrace:projection'
/** What the projection does never changes, so its cursors are never redefined. */
export const projectionVersion = 1

/** A stream that somebody waited on. Times are ms since 1970. */
export interface WaitedStream {
  stream: string
  /** The earliest time from which on somebody wants its events. */
  projectedFrom: number
}

const waitedStatement = statement(
  'list_waited_streams',
  `select w.stream, w.projected_from as "projectedFrom" from waited_streams w order by w.stream`,
)

/** The streams to project. The trigger service asks with its triggers, twice a second. */
export async function listWaitedStreams(store: Store): Promise<WaitedStream[]> {
  return await run<WaitedStream & Record<string, unknown>>(store.general, waitedStatement, [])
}

/** The projection of a partition as it begins. */
export interface NewProjection {
  stream: string
  partition: number
  /** From here on its events are projected: none below is as young as `projectedFrom`. */
  fromOffset: number
  /** Ms since 1970. */
  projectedFrom: number
}

/**
 * The cursor and what it means are one statement: whoever reads a projection's row may take everything between its
 * `from_offset` and the cursor for projected. A row of a cursor that is gone is written over, because its successor
 * begins anew; one whose cursor is there is left alone. Rows in key order, as flushes lock them.
 */
const createProjectionsStatement = statement(
  'create_projections',
  `with begun as (
     insert into trigger_cursors (trigger_id, stream, partition, next_offset, version, incarnation, status)
     select '${projectionTriggerId}', u.stream, u.partition, u.from_offset, ${projectionVersion},
       coalesce((select max(c.incarnation + (c.reason is not distinct from 'recreated')::int) from trigger_cursors c where c.stream = u.stream and c.partition = u.partition), 1), 'live'
     from unnest($1::text[], $2::int[], $3::int8[]) u(stream, partition, from_offset)
     order by 2, 3
     on conflict do nothing
     returning stream, partition, next_offset, incarnation)
   insert into projections as p (stream, partition, incarnation, projected_from, from_offset)
   select b.stream, b.partition, b.incarnation, to_timestamp(u.projected_from / 1000), b.next_offset
   from begun b
   join unnest($1::text[], $2::int[], $4::float8[]) u(stream, partition, projected_from)
     on u.stream = b.stream and u.partition = b.partition
   order by 1, 2
   on conflict (stream, partition) do update
     set incarnation = excluded.incarnation, projected_from = excluded.projected_from, from_offset = excluded.from_offset`,
)

/** Begins to project partitions; what is begun already is left as it is. */
export async function createProjections(store: Store, projections: NewProjection[]): Promise<void> {
  if (projections.length === 0) return
  await run(store.general, createProjectionsStatement, [
    projections.map(({ stream }) => stream),
    projections.map(({ partition }) => partition),
    projections.map(({ fromOffset }) => fromOffset),
    projections.map(({ projectedFrom }) => projectedFrom),
  ])
}

/** A partition whose events before `fromOffset` were asked for as well: those from `wantedFrom` on. */
export interface ProjectionGap {
  stream: string
  partition: number
  incarnation: number
  fromOffset: number
  /** Ms since 1970. */
  wantedFrom: number
}

const gapsStatement = statement(
  'list_projection_gaps',
  `select p.stream, p.partition, p.incarnation, p.from_offset as "fromOffset", w.projected_from as "wantedFrom"
   from waited_streams w join projections p on p.stream = w.stream and p.projected_from > w.projected_from
   order by p.stream, p.partition`,
)

/** Partitions of waited streams that are not projected from as early as somebody wants. */
export async function listProjectionGaps(store: Store): Promise<ProjectionGap[]> {
  return await run<ProjectionGap & Record<string, unknown>>(store.general, gapsStatement, [])
}

const extendStatement = statement(
  'extend_projection',
  `update projections p set from_offset = $5, projected_from = to_timestamp($6::float8 / 1000)
   where p.stream = $1 and p.partition = $2 and p.incarnation = $3 and p.from_offset = $4
     and p.projected_from > to_timestamp($6::float8 / 1000)
   returning 1 as extended`,
)

/**
 * Says that a gap was projected: what lies from `fromOffset` on up to the gap's old end is acknowledged by Kafka. False:
 * somebody else moved the row meanwhile, and what is said no longer joins on to it.
 */
export async function extendProjection(
  store: Store,
  gap: ProjectionGap,
  { fromOffset }: { fromOffset: number },
): Promise<boolean> {
  const { stream, partition, incarnation, wantedFrom } = gap
  const values = [stream, partition, incarnation, gap.fromOffset, fromOffset, wantedFrom]
  return (await run(store.general, extendStatement, values)).length > 0
}
