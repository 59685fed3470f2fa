import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { type Connection, run, type Statement, statement, transaction } from '../statement.ts'
import { lockSweepStatement } from './event-id-sweeps.ts'

/** A cursor that may still bring an event of before now, and so holds the ids that it could be a repeat of. */
export interface HoldingCursor {
  partition: number
  nextOffset: number
}

const streamsStatement = statement(
  'streams_of_event_ids',
  `with recursive s as (
     (select e.stream from event_ids e order by e.stream limit 1)
     union all
     select (select e.stream from event_ids e where e.stream > s.stream order by e.stream limit 1) from s where s.stream is not null)
   select s.stream from s where s.stream is not null order by 1`,
)

/** Streams that have ids, by hops over the key: as many steps as streams, however many rows. */
export async function eventIdStreams(store: Store): Promise<string[]> {
  return (await run<{ stream: string }>(store.general, streamsStatement, [])).map(({ stream }) => stream)
}

/** Cursors that are followed: not those of a paused or stopped one, nor of a retired trigger, whose rows stay `live`. */
const holding = `c.stream = $1 and c.status = 'live'
     and not exists (select 1 from triggers t where t.id = c.trigger_id and t.status = 'retired')`

const holdingStatement = statement(
  'holding_cursors',
  `select c.partition, min(c.next_offset)::int8 as "nextOffset" from trigger_cursors c where ${holding}
   group by c.partition order by 1`,
)

/** The lowest followed cursor of each partition that has one. */
export async function holdingCursors(store: Store, stream: string): Promise<HoldingCursor[]> {
  return await run<HoldingCursor & Record<string, unknown>>(store.general, holdingStatement, [stream])
}

export interface EventIdSweep {
  stream: string
  /** Ids with a log time of before this go; ms since 1970. */
  olderThanMs: number
  /** What `olderThanMs` was worked out from: when one lies lower by now, or there is another, nothing is swept. */
  cursors: readonly HoldingCursor[]
  /** How long an id is kept behind what holds it: a gap of the stream's projection that is still to be read holds too. */
  keepMs: number
  /** Rows, and runs that are looked at, in one transaction. */
  limit: number
  /** Of the rows of runs, those of later runs are looked at; null: from the beginning. */
  afterRun: string | null
}

export type SweptEventIds =
  | { kind: 'held' }
  | {
      kind: 'swept'
      deleted: number
      /** There may be more plain rows to delete. */
      more: boolean
      /** Where the look at rows of runs goes on; null: all were looked at. */
      afterRun: string | null
    }

const heldStatement = statement(
  'event_ids_are_held',
  `select 1 as held from trigger_cursors c left join unnest($2::int[], $3::int8[]) u(partition, next_offset) on u.partition = c.partition
   where ${holding} and (u.partition is null or c.next_offset < u.next_offset)
   union all
   select 1 from waited_streams w join projections p on p.stream = w.stream
   where w.stream = $1 and p.projected_from > w.projected_from
     and w.projected_from - make_interval(secs => $5::float8 / 1000) < to_timestamp($4::float8 / 1000)
   limit 1`,
)

export const deleteStatement = statement(
  'sweep_event_ids',
  `delete from event_ids where ctid = any (array(
     select e.ctid from event_ids e
     where e.stream = $1 and e.run_id is null and e.log_time < to_timestamp($2::float8 / 1000) order by e.log_time limit $3))`,
)

export const runsPageStatement = statement(
  'runs_of_event_ids',
  `select u.run_id as "runId", (r.there is null) as gone
   from (select distinct e.run_id from event_ids e
         where e.stream = $1 and e.run_id is not null and e.run_id > $2 order by e.run_id limit $3) u
   left join lateral (select 1 as there from runs r where r.id = u.run_id offset 0) r on true
   order by u.run_id`,
)

const deleteOfRunsStatement = statement(
  'sweep_event_ids_of_runs',
  `delete from event_ids e
   where e.stream = $1 and e.run_id = any ($2::uuid[]) and e.log_time < to_timestamp($3::float8 / 1000)`,
)

const sweptStatement = statement(
  'raise_event_id_sweep',
  `update event_id_sweeps set swept_to = greatest(swept_to, to_timestamp($2::float8 / 1000)), revision = revision + 1
   where stream = $1`,
)

/** Below every uuid of a run. */
const NO_RUN = '00000000-0000-0000-0000-000000000000'

/**
 * Forgets old ids of one stream; those of events that a run published only once their run is gone. One transaction:
 *
 * - It locks the stream's row of `event_id_sweeps` first. Who begins to read behind it locks that row too
 *   ({@link sweptEventIds}), with a cursor that is live already: this sweep is over by then, and the next one sees the
 *   cursor in the second statement, and stops.
 * - It says how far it went only if something went, so that a stream without marked events is never read again.
 */
export async function sweepEventIds(store: Store, sweep: EventIdSweep): Promise<SweptEventIds> {
  return await withRetries(
    async () => await transaction(store.general, async (client) => await sweepOn(client, sweep)),
  )
}

async function sweepOn(client: Connection, sweep: EventIdSweep): Promise<SweptEventIds> {
  const { stream, olderThanMs, cursors, keepMs, limit } = sweep
  await run(client, lockSweepStatement, [stream])
  const held = await run(client, heldStatement, [
    stream,
    cursors.map(({ partition }) => partition),
    cursors.map(({ nextOffset }) => nextOffset),
    olderThanMs,
    keepMs,
  ])
  if (held.length > 0) return { kind: 'held' }
  const plain = await change(client, deleteStatement, [stream, olderThanMs, limit])
  const page = await run<{ runId: string; gone: boolean }>(client, runsPageStatement, [
    stream,
    sweep.afterRun ?? NO_RUN,
    limit,
  ])
  const gone = page.filter((each) => each.gone).map(({ runId }) => runId)
  const ofRuns =
    gone.length === 0 ? 0 : await change(client, deleteOfRunsStatement, [stream, gone, olderThanMs])
  if (plain + ofRuns > 0) await run(client, sweptStatement, [stream, olderThanMs])
  return {
    kind: 'swept',
    deleted: plain + ofRuns,
    more: plain === limit,
    afterRun: page.length < limit ? null : (page.at(-1)?.runId ?? null),
  }
}

async function change(client: Connection, { name, text }: Statement, values: unknown[]): Promise<number> {
  return (await client.query({ name, text, values })).rowCount ?? 0
}
