import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { type Connection, run, statement, transaction } from '../statement.ts'
import { type CursorRow, cursorColumns, type StoredCursor, toCursor } from './cursors.ts'
import { projectionTriggerId } from './projections.ts'

/** What a replay does is told by its trigger; its cursors are never redefined. */
export const replayVersion = 1
/** Replays that ended are shown for so long. */
const SHOWN_FOR = `interval '30 days'`

/** One partition of a replay. */
export interface ReplayRange {
  stream: string
  partition: number
  fromOffset: number
  /** Behind its last offset. */
  toOffset: number
}

export interface ReplayCounts {
  windows: number
  events: number
  filtered: number
  repeats: number
  deadLetters: number
}

type ReplayStatus = 'running' | 'done' | 'failed' | 'cancelled'

/** No trigger has such an id: names hold no colon. */
export const replayCursorId = (triggerId: string, replayId: string): string => `${triggerId}:${replayId}`

/** The cursors of a trigger and of its replays; `$1` is its id. A trigger may be named like the projection's first part. */
export const cursorsOfTrigger = `(c.trigger_id = $1 or (starts_with(c.trigger_id, $1 || ':') and c.trigger_id <> '${projectionTriggerId}'))`

/** A registration, a pause, a reset and another replay wait for one another here; what follows sees what they did. */
const ownerStatement = statement(
  'replay_owner',
  `select t.status from triggers t where t.id = $1 and t.status <> 'retired' for no key update`,
)

const createStatement = statement(
  'create_replay',
  `with known as (
     select bool_or(r.id = $2) as known, count(distinct r.id) filter (where r.status = 'running') as running
     from replays r where r.trigger_id = $1 and (r.id = $2 or r.status = 'running')),
   forgotten as (
     delete from replays r where r.trigger_id = $1 and r.id <> $2 and r.finished_at < now() - ${SHOWN_FOR}),
   ranges as materialized (
     select u.* from unnest($4::text[], $5::int[], $6::int8[], $7::int8[]) u(stream, partition, from_offset, to_offset), known
     where known.known is not true and known.running < $8),
   begun as (
     insert into trigger_cursors (trigger_id, stream, partition, next_offset, version, incarnation, status)
     select $1 || ':' || $2, u.stream, u.partition, u.from_offset, ${replayVersion},
       coalesce((select max(c.incarnation + (c.reason is not distinct from 'recreated')::int) from trigger_cursors c
         where c.stream = u.stream and c.partition = u.partition), 1), $9
     from ranges u where u.to_offset > u.from_offset),
   created as (
     insert into replays (id, trigger_id, stream, partition, from_offset, to_offset, dry_run, status, finished_at, windows, events, filtered, repeats, dead_letters)
     select $2::uuid, $1, u.stream, u.partition, u.from_offset, u.to_offset, $3,
       case when u.to_offset > u.from_offset then 'running' else 'done' end, case when u.to_offset > u.from_offset then null else now() end,
       e.zero, e.zero, e.zero, e.zero, e.zero
     from ranges u, lateral (select case when $3 and u.to_offset <= u.from_offset then 0 end as zero) e
     returning 1)
   select known.known is true or exists (select 1 from created) as there from known`,
)

/**
 * Begins a replay, with a cursor for each range that is not empty; of a paused trigger it waits with the trigger. One that was
 * begun under the id stays as it is. Forgets the trigger's replays that ended long ago.
 */
export async function createReplay(
  store: Store,
  replay: {
    id: string
    triggerId: string
    dryRun: boolean
    ranges: readonly ReplayRange[]
    runningMax: number
  },
): Promise<'created' | 'unknown_trigger' | 'too_many'> {
  const { id, triggerId, dryRun, ranges, runningMax } = replay
  return await withRetries(
    async () =>
      await transaction(store.general, async (client) => {
        const [owner] = await run<{ status: string }>(client, ownerStatement, [triggerId])
        if (owner === undefined) return 'unknown_trigger'
        const [row] = await run<{ there: boolean }>(client, createStatement, [
          triggerId,
          id,
          dryRun,
          ranges.map(({ stream }) => stream),
          ranges.map(({ partition }) => partition),
          ranges.map(({ fromOffset }) => fromOffset),
          ranges.map(({ toOffset }) => toOffset),
          runningMax,
          owner.status,
        ])
        return row?.there === true ? 'created' : 'too_many'
      }),
  )
}

/** A range that is to be read, and how far it is. */
export interface RunningReplay extends ReplayRange {
  id: string
  triggerId: string
  dryRun: boolean
  cursor: CursorRow
}

interface StoredRange extends Record<string, unknown> {
  replayId: string
  triggerOfReplay: string
  toOffset: number
  fromOffset: number
  dryRun: boolean
}

const runningStatement = statement(
  'running_replays',
  `select r.id as "replayId", r.trigger_id as "triggerOfReplay", r.from_offset as "fromOffset", r.to_offset as "toOffset", r.dry_run as "dryRun",
     ${cursorColumns}
   from replays r
   join trigger_cursors c on c.stream = r.stream and c.partition = r.partition and c.trigger_id = r.trigger_id || ':' || r.id
   where r.status = 'running' and c.status = 'live' order by r.created_at, r.id, r.partition`,
)

/** What is to be replayed now, the oldest first. Each trigger service asks once a second. */
export async function runningReplays(store: Store): Promise<RunningReplay[]> {
  const rows = await run<StoredRange & StoredCursor>(store.general, runningStatement, [])
  return rows.map((row) => {
    const { replayId: id, triggerOfReplay: triggerId, fromOffset, toOffset, dryRun } = row
    const cursor = toCursor(row)
    const { stream, partition } = cursor
    return { id, triggerId, stream, partition, fromOffset, toOffset, dryRun, cursor }
  })
}

/** The replay's row before its cursor, as in `end_replays`: in another order the two would wait for each other. */
const finishStatement = statement(
  'finish_replay',
  `with own as materialized (
     select 1 from replays r where r.trigger_id = $13 and r.id = $5 and r.partition = $3 and r.status = 'running' for no key update),
   gone as (
     delete from trigger_cursors c
     where c.trigger_id = $1 and c.stream = $2 and c.partition = $3 and c.revision = $4 and exists (select 1 from own) returning 1)
   update replays r set status = $6, reason = $7, windows = $8, events = $9, filtered = $10, repeats = $11, dead_letters = $12, finished_at = now()
   where r.trigger_id = $13 and r.id = $5 and r.partition = $3 and r.status = 'running' and exists (select 1 from gone)
   returning 1 as there`,
)

/** Ends one range. False: its cursor is not at `revision` any more, so that somebody else goes on with it. */
export async function finishReplay(
  store: Store,
  { id, triggerId, stream, partition }: Pick<RunningReplay, 'id' | 'triggerId' | 'stream' | 'partition'>,
  end: {
    revision: number
    status: 'done' | 'failed'
    reason: string | null
    /** Of a dry run. */
    counts: ReplayCounts | null
  },
): Promise<boolean> {
  const { revision, status, reason, counts } = end
  const rows = await run(store.general, finishStatement, [
    replayCursorId(triggerId, id),
    stream,
    partition,
    revision,
    id,
    status,
    reason,
    counts?.windows ?? null,
    counts?.events ?? null,
    counts?.filtered ?? null,
    counts?.repeats ?? null,
    counts?.deadLetters ?? null,
    triggerId,
  ])
  return rows.length > 0
}

const endStatement = statement(
  'end_replays',
  `with ended as (
     update replays r set status = 'cancelled', reason = $3, finished_at = now()
     where r.trigger_id = any ($1::text[]) and ($2::uuid is null or r.id = $2) and r.status = 'running'
     returning r.trigger_id || ':' || r.id as cursor_id, r.stream, r.partition),
   own as materialized (
     select c.trigger_id, c.stream, c.partition from trigger_cursors c
     join ended e on e.cursor_id = c.trigger_id and e.stream = c.stream and e.partition = c.partition
     order by 1, 2, 3 for update of c)
   delete from trigger_cursors c using own
   where c.trigger_id = own.trigger_id and c.stream = own.stream and c.partition = own.partition`,
)

/** Ends replays of some triggers, all or one; a flush in flight finds no cursor, and starts nothing more. */
export async function endReplays(
  connection: Connection,
  triggerIds: readonly string[],
  { reason, id = null }: { reason: string; id?: string | null },
): Promise<void> {
  if (triggerIds.length === 0) return
  await run(connection, endStatement, [triggerIds, id, reason])
}

/** Cancels a replay; one that has ended stays as it is. */
export async function cancelReplay(store: Store, triggerId: string, id: string): Promise<void> {
  await withRetries(
    async () =>
      await transaction(store.general, async (client) => {
        await endReplays(client, [triggerId], { reason: 'cancelled', id })
      }),
  )
}

/** A range as it is shown. Times are ms since 1970. */
export interface ReplayRow extends ReplayRange, Record<string, unknown> {
  dryRun: boolean
  status: ReplayStatus
  reason: string | null
  /** How far it is; behind its last offset when it is done. */
  nextOffset: number | null
  windows: number | null
  events: number | null
  filtered: number | null
  repeats: number | null
  deadLetters: number | null
  createdAt: number
  finishedAt: number | null
}

const readStatement = statement(
  'read_replay',
  `select r.stream, r.partition, r.from_offset as "fromOffset", r.to_offset as "toOffset", r.dry_run as "dryRun", r.status, r.reason,
     case r.status when 'done' then r.to_offset else c.next_offset end as "nextOffset",
     r.windows, r.events, r.filtered, r.repeats, r.dead_letters as "deadLetters", r.created_at as "createdAt", r.finished_at as "finishedAt"
   from replays r
   left join trigger_cursors c on c.stream = r.stream and c.partition = r.partition and c.trigger_id = r.trigger_id || ':' || r.id
   where r.id = $2 and r.trigger_id = $1 order by r.partition`,
)

/** The ranges of a replay, by partition; none when there is no such replay of the trigger. */
export async function readReplay(store: Store, triggerId: string, id: string): Promise<ReplayRow[]> {
  return await run<ReplayRow>(store.general, readStatement, [triggerId, id])
}
