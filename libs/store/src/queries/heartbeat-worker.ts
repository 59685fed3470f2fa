import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import { withRetries } from '../fault.ts'
import { requeueForgotten } from './recover-runs.ts'
import type { TaskSeed } from './task-seed.ts'

export interface RunAt {
  runId: string
  epoch: number
}

export interface Heartbeat {
  workerId: string
  status: 'live' | 'draining'
  partitions: number[]
  /** Runs in hand and claims in flight. */
  runs: RunAt[]
  /** A steal is in flight: absence from `runs` proves nothing. */
  stealing: boolean
  stalledMs: number
}

export type HeartbeatOutcome =
  | { status: 'unknown_worker' }
  | {
      status: 'ok'
      /** Runs of the list that are not this worker's any more at that epoch. */
      lost: RunAt[]
      /** Runs this worker forgot, queued again by this heartbeat: their next tasks. */
      requeued: TaskSeed[]
    }

/** Runs in this worker's hands, as Postgres has it, that its list leaves out. */
const absentStatement = statement(
  'absent_runs',
  `select r.id, r.epoch from runs r
   where r.status = 'running' and r.worker_id = $1
     and not exists (select 1 from unnest($2::uuid[], $3::int[]) u(id, epoch) where u.id = r.id and u.epoch = r.epoch)
   limit 1000`,
)

/**
 * Writes the heartbeat, unless the worker was declared dead: it may not come back under this id. `absent_*` is kept
 * for the next heartbeat, and what the last one had is returned.
 */
const beatStatement = statement(
  'beat_worker',
  `with before as materialized (
     select id, absent_runs, absent_epochs from workers where id = $1 and status <> 'dead' for no key update)
   update workers w
   set last_heartbeat_at = now(), previous_heartbeat_at = w.last_heartbeat_at,
       status = case when w.status = 'draining' then 'draining' else $2 end,
       partitions = $3::int[], stalled_ms = $4, absent_runs = $5::uuid[], absent_epochs = $6::int[]
   from before where w.id = before.id
   returning before.absent_runs, before.absent_epochs`,
)

/**
 * Runs of the list that are somebody else's now. A claim in flight is still queued at its epoch; a run whose end is on
 * its way back to the worker is its own.
 */
const lostStatement = statement(
  'lost_runs',
  `select u.id, u.epoch from unnest($2::uuid[], $3::int[]) u(id, epoch)
   left join lateral (select r.epoch, r.status, r.worker_id from runs r where r.id = u.id offset 0) r on true
   where r.epoch is distinct from u.epoch
      or not (r.status = 'queued' or r.status = 'waiting'
        or (r.worker_id = $1 and r.status in ('running', 'completed', 'failed')))`,
)

/**
 * One heartbeat. A run is forgotten when two heartbeats in a row, both sent with no steal in flight, leave it out:
 * the first may have been sent before the claim and have come late, but heartbeats are sent one after the other, so
 * the second was sent after the claim that put the run into these hands, and would list it.
 * So a heartbeat that nobody waits for any more (`late`) is dropped unwritten: where Postgres hung, those of seconds ago
 * would come all at once, after claims that none of them can know of.
 */
export async function heartbeatWorker(
  store: Store,
  beat: Heartbeat,
  late?: AbortSignal,
): Promise<HeartbeatOutcome> {
  const ids = beat.runs.map((each) => each.runId)
  const epochs = beat.runs.map((each) => each.epoch)
  const absent = beat.stealing
    ? []
    : await run<{ id: string; epoch: number }>(store.general, absentStatement, [beat.workerId, ids, epochs])
  late?.throwIfAborted()
  const [before] = await run<{ absent_runs: string[]; absent_epochs: number[] }>(
    store.general,
    beatStatement,
    [
      beat.workerId,
      beat.status,
      beat.partitions,
      Math.round(beat.stalledMs),
      absent.map((row) => row.id),
      absent.map((row) => row.epoch),
    ],
  )
  if (!before) return { status: 'unknown_worker' }
  const absentBefore = new Set(before.absent_runs.map((id, index) => `${id}/${before.absent_epochs[index]}`))
  const forgotten = absent
    .filter((row) => absentBefore.has(`${row.id}/${row.epoch}`))
    .map((row) => ({ runId: row.id, epoch: row.epoch }))
  const requeued = await withRetries(
    async () => await requeueForgotten(store.hot, { workerId: beat.workerId, runs: forgotten }),
  )
  const lost =
    ids.length === 0
      ? []
      : await run<{ id: string; epoch: number }>(store.general, lostStatement, [beat.workerId, ids, epochs])
  return { status: 'ok', lost: lost.map((row) => ({ runId: row.id, epoch: row.epoch })), requeued }
}
