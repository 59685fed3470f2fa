import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, type Statement, statement } from '../statement.ts'
import type { EndedRun } from './apply-commands.ts'
import { misfits } from './commands-statement.ts'
import { apart, type ConcurrencyKey, heldColumn, type HeldRow } from './concurrency-keys.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'
import { parentOf } from './wait-ref.ts'

/** Where an ended run is to have started: it may have ended unclaimed. */
export const endColumns =
  'r.id, r.workflow, r.queue, r.status, r.created_at, coalesce(r.started_at, r.created_at) as started_at, r.finished_at, r.parent_run_id, r.parent_step_key, r.concurrency_key'

export interface EndedRow {
  id: string
  workflow: string
  queue: string
  status: EndedRun['status']
  created_at: number
  started_at: number
  finished_at: number
  parent_run_id: string | null
  parent_step_key: string | null
  concurrency_key: string | null
}

export const toEndedRun = (row: EndedRow): EndedRun => ({
  runId: row.id,
  workflow: row.workflow,
  queue: row.queue,
  status: row.status,
  createdAt: row.created_at,
  startedAt: row.started_at,
  finishedAt: row.finished_at,
  parent: parentOf(row),
  concurrencyKey: row.concurrency_key,
})

/**
 * What a person does to runs: run-state's `cancel`, `pause` and `resume`, decided here and at once, whoever has the run in
 * hand; its worker learns of it by its next command or heartbeat.
 *
 * - Runs are locked in id order by a look-up of the primary key, and the guard is checked again on the row as it is after
 *   any wait: of a cancel and a `complete` one counts, and a claim that comes first is taken from its worker.
 * - No wait is touched (the order of locks is waits, then runs): an answer finds the run ended and leaves both alone, or
 *   finds it paused and is counted, for the replay that resuming begins. Open waits of ended runs are swept.
 * - The note says from whose hands the run was taken.
 */
function steerStatement(
  action: 'cancel' | 'pause' | 'resume',
  { from, set, note, returns }: { from: string; set: string; note: string; returns: string },
): Statement {
  return statement(
    `${action}_runs`,
    `with own as materialized (
       select r.id, r.epoch, r.status, r.worker_id, r.claimed_at
       from (select distinct id from unnest($1::uuid[]) u(id) order by id) u
       cross join lateral (
         select r.id, r.epoch, r.status, r.worker_id, r.claimed_at from runs r
         where r.id = u.id and ${from}
         for no key update) r),
     moved as (
       update runs r set ${set} from own where r.id = any (array[own.id]) returning ${returns}),
     noted as (
       insert into run_notes (run_id, epoch, kind, worker_id, claimed_at)
       select id, epoch, '${note}', case status when 'running' then worker_id end, case status when 'running' then claimed_at end
       from own order by id on conflict do nothing)
     select * from moved order by id`,
  )
}

/** See resume-unfit-runs. */
const goesOnByItself = `r.blocked_reason || '' in (${misfits})`
const statusIn = (...statuses: string[]): string =>
  `r.status || '' in (${statuses.map((status) => `'${status}'`).join(', ')})`

export const cancelStatement = steerStatement('cancel', {
  from: statusIn('queued', 'running', 'waiting', 'paused'),
  set: `status = 'cancelled', worker_id = null, finished_at = now()`,
  note: 'cancelled',
  returns: endColumns,
})

/**
 * A run that its code paused goes on by itself with other code: a person who pauses it takes that from it, and no more, so
 * its error still says what did not fit.
 */
export const pauseStatement = steerStatement('pause', {
  from: `(${statusIn('queued', 'running', 'waiting')} or (${statusIn('paused')} and ${goesOnByItself}))`,
  set: `status = 'paused', worker_id = null, blocked_reason = case when ${goesOnByItself} then null else r.blocked_reason end`,
  note: 'paused',
  returns: 'r.id',
})

/**
 * A run whose delay is over, or is over meanwhile, goes on; another is held again until its time. One that its code paused
 * is tried again, on whichever build: what a person asks for is done. Under a concurrency rule one that was let in has kept
 * its place while it was paused, and one that was not waits for it again.
 */
export const resumeStatement = steerStatement('resume', {
  from: statusIn('paused'),
  set: `status = 'queued', epoch = r.epoch + 1, queued_at = now(), error = null, unfit_builds = null,
         blocked_reason = case when r.started_at is not null then null
           when r.blocked_reason <> 'delayed' or r.run_at > now() then r.blocked_reason
           when r.blocked_reason = 'delayed' and r.concurrency_key is not null then 'concurrency' end`,
  note: 'resumed',
  returns: `${seedColumns}, ${heldColumn}, r.blocked_reason is not null as blocked`,
})

/** Cancels the live runs among these. The others have ended, are cancelled already, or are not there. */
export async function cancelRuns(store: Store, runIds: readonly string[]): Promise<EndedRun[]> {
  const rows = await steer<EndedRow>(store, cancelStatement, runIds)
  return rows.map(toEndedRun)
}

/** Pauses the live runs among these; returns the ids of those that were not paused. Their time-outs go on. */
export async function pauseRuns(store: Store, runIds: readonly string[]): Promise<string[]> {
  const rows = await steer<{ id: string }>(store, pauseStatement, runIds)
  return rows.map(({ id }) => id)
}

/**
 * Queues the paused runs among these again, at their next epoch: their ids, the next tasks of those that are not held, and
 * the keys of those that wait to be let in.
 */
export async function resumeRuns(
  store: Store,
  runIds: readonly string[],
): Promise<{ resumed: string[]; queued: TaskSeed[]; held: ConcurrencyKey[] }> {
  const rows = await steer<SeedRow & HeldRow & { blocked: boolean }>(store, resumeStatement, runIds)
  const queued = rows.filter(({ blocked }) => !blocked).map(toTaskSeed)
  return { resumed: rows.map(({ id }) => id), queued, held: apart(rows).held }
}

async function steer<Row extends { id: string }>(
  store: Store,
  action: Statement,
  runIds: readonly string[],
): Promise<Row[]> {
  if (runIds.length === 0) return []
  return await withRetries(async () => await run<Row>(store.hot, action, [runIds]))
}
