import { LOST_MAX } from '@headrace/core'
import { limits } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { type Connection, run, statement } from '../statement.ts'
import { type SeedRow, type TaskSeed, toTaskSeed } from './task-seed.ts'
import { parentOf, type WaitRef } from './wait-ref.ts'

/** Four heartbeats of 2 s. */
export const workerDeadAfterMs = 8_000
/**
 * A claim that was on its way when its worker was declared dead commits within a statement's time; this is more. Keeps
 * the sweep of every second from looking through the dead of a whole day.
 */
const sweptAfterDeathMs = 15 * 60_000
/** Runs a statement takes back: keeps the locks of one sweep short. */
const recoverBatch = 1_000

/**
 * Declares workers dead, if this judge may: who has not written an unbroken heartbeat of its own for 8 s may have been
 * cut off itself (or Postgres was away from everyone, and the workers' heartbeats with it).
 */
const declareDeadStatement = statement(
  'declare_dead',
  `with silent as materialized (
     select w.id, w.status from workers w
     where w.status <> 'dead' and w.last_heartbeat_at < now() - make_interval(secs => $2::float8 / 1000)
       and exists (select 1 from instances i where i.id = $1
         and i.unbroken_since < now() - make_interval(secs => $2::float8 / 1000)
         and i.last_beat_at > now() - make_interval(secs => $2::float8 / 2000))
     order by w.id for no key update of w)
   update workers w set status = 'dead', died_at = now()
   from silent where w.id = silent.id
   returning w.id, silent.status as was`,
)

/** What both ways of taking a run back do to it; `own` has its lost count. The {@link LOST_MAX}th loss is a failure. */
const takeBack = (kind: 'lost' | 'forgotten'): string => `
   back as (
     update runs r
     set lost = own.lost,
         status = case when own.gives_up then 'failed' else 'queued' end,
         epoch = r.epoch + (not own.gives_up)::int,
         queued_at = case when own.gives_up then r.queued_at else now() end,
         worker_id = null,
         error = case when own.gives_up then $2 else r.error end,
         finished_at = case when own.gives_up then now() end
     from own where r.id = any (array[own.id])
     returning r.id, r.epoch, r.workflow, r.queue, r.lost, r.build, r.status, own.worker_id, own.claimed_at, own.epoch as at_epoch,
       case when octet_length(r.input) <= $3 then r.input end as input,
       r.trigger_id, r.stream, r.partition, r.first_offset, r.last_offset, r.created_at, r.parent_run_id, r.parent_step_key,
       r.concurrency_key),
   noted as (
     insert into run_notes (run_id, epoch, kind, worker_id, claimed_at)
     select id, at_epoch, '${kind}', worker_id, claimed_at from back on conflict do nothing)
   select * from back order by id`

/**
 * Runs in the hands of workers that died of late, also those whose claim committed after the verdict. Locked in id
 * order, as commands and claims do; the guard is checked again after a wait, so a run that was completed meanwhile
 * stays completed. `skip locked` is not used: a command in flight is about to decide, and waiting for it is short.
 */
export const recoverStatement = statement(
  'recover_runs',
  `with dead as materialized (
     select w.id from workers w
     where w.status = 'dead' and ($1::float8 is null or w.died_at > now() - make_interval(secs => $1::float8 / 1000))),
   own as materialized (
     select r.id, r.epoch, r.worker_id, r.claimed_at, r.lost + 1 as lost, r.lost + 1 >= $4 as gives_up
     from (select h.id, dead.id as worker_id from dead
           cross join lateral (select r.id from runs r where r.status = 'running' and r.worker_id = dead.id offset 0) h
           order by h.id limit $5) u
     cross join lateral (
       select r.id, r.epoch, r.worker_id, r.claimed_at, r.lost from runs r
       where r.id = u.id and r.worker_id = u.worker_id and r.status || '' = 'running'
       for no key update) r),
   ${takeBack('lost')}`,
)

/** Runs that two heartbeats of a living worker left out: it does not know them. Its life was not lost to them. */
export const requeueStatement = statement(
  'requeue_forgotten',
  `with own as materialized (
     select r.id, r.epoch, r.worker_id, r.claimed_at, r.lost, false as gives_up
     from (select * from unnest($4::uuid[], $5::int[]) u(id, epoch) order by id) u
     cross join lateral (
       select r.id, r.epoch, r.worker_id, r.claimed_at, r.lost from runs r
       where r.id = u.id and r.epoch = u.epoch and r.worker_id = $1 and r.status || '' = 'running'
       for no key update) r),
   ${takeBack('forgotten')}`,
)

interface BackRow extends SeedRow {
  status: 'queued' | 'failed'
  worker_id: string
  trigger_id: string | null
  stream: string | null
  partition: number | null
  first_offset: number | null
  last_offset: number | null
  created_at: number
  parent_run_id: string | null
  parent_step_key: string | null
  concurrency_key: string | null
}

/** A run that ended because it lost too many workers: it becomes a dead letter. */
export interface LostRun {
  runId: string
  epoch: number
  workflow: string
  queue: string
  lost: number
  workerId: string
  createdAt: number
  trigger: { id: string; stream: string; partition: number; firstOffset: number; lastOffset: number } | null
  parent: WaitRef | null
  concurrencyKey: string | null
}

export interface Recovered {
  /** Workers declared dead by this call, in the midst of their work. */
  dead: string[]
  /** Workers declared dead by this call that had said that they were leaving: no news, unless they left runs behind. */
  left: string[]
  requeued: TaskSeed[]
  failed: LostRun[]
  /** There may be more runs than one statement takes: call again. */
  more: boolean
}

const lostError = JSON.stringify({
  name: 'WorkerLostError',
  message: `The run lost ${LOST_MAX} workers: each stopped answering while it ran.`,
  code: 'worker_lost',
  stack: null,
  step_key: null,
})

/**
 * One sweep: workers without a heartbeat for 8 s are dead, and up to 1,000 of their runs go back to the queue at the next
 * epoch, or fail when it was the fifth time. Any number of orchestrators may sweep at once.
 *
 * `everyDeath`: also the runs of workers that died long ago. An orchestrator that died between the verdict and the taking
 * back, with nobody to go on for a while, has left such.
 */
export async function recoverDeadWorkers(
  store: Store,
  judgeInstanceId: string,
  { everyDeath = false }: { everyDeath?: boolean } = {},
): Promise<Recovered> {
  const silent = await run<{ id: string; was: 'live' | 'draining' }>(store.general, declareDeadStatement, [
    judgeInstanceId,
    workerDeadAfterMs,
  ])
  const rows = await withRetries(
    async () =>
      await run<BackRow>(store.hot, recoverStatement, [
        everyDeath ? null : sweptAfterDeathMs,
        lostError,
        limits.taskInputBytesMax,
        LOST_MAX,
        recoverBatch,
      ]),
  )
  return {
    dead: silent.filter(({ was }) => was === 'live').map(({ id }) => id),
    left: silent.filter(({ was }) => was === 'draining').map(({ id }) => id),
    requeued: rows.filter(({ status }) => status === 'queued').map(toTaskSeed),
    failed: rows.filter(({ status }) => status === 'failed').map(toLostRun),
    more: rows.length === recoverBatch,
  }
}

/** Gives back runs their worker does not know. Fenced as everything else: a run that moved on is left alone. */
export async function requeueForgotten(
  connection: Connection,
  request: { workerId: string; runs: { runId: string; epoch: number }[] },
): Promise<TaskSeed[]> {
  if (request.runs.length === 0) return []
  const rows = await run<BackRow>(connection, requeueStatement, [
    request.workerId,
    null,
    limits.taskInputBytesMax,
    request.runs.map((each) => each.runId),
    request.runs.map((each) => each.epoch),
  ])
  return rows.map(toTaskSeed)
}

function toLostRun(row: BackRow): LostRun {
  return {
    runId: row.id,
    epoch: row.epoch,
    workflow: row.workflow,
    queue: row.queue,
    lost: row.lost,
    workerId: row.worker_id,
    createdAt: row.created_at,
    parent: parentOf(row),
    concurrencyKey: row.concurrency_key,
    trigger:
      row.trigger_id === null
        ? null
        : {
            id: row.trigger_id,
            stream: row.stream ?? '',
            partition: row.partition ?? 0,
            firstOffset: row.first_offset ?? 0,
            lastOffset: row.last_offset ?? 0,
          },
  }
}
