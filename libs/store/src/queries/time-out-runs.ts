import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { EndedRun } from './apply-commands.ts'
import { endColumns, type EndedRow, toEndedRun } from './steer-runs.ts'

/**
 * Ends runs whose time is over: run-state's `time_out`. Found by the index on times, then locked in id order and checked
 * again on the row as it is after any wait: a run that was claimed, or ended, meanwhile has another time, or none.
 */
export const timeOutRunsStatement = statement(
  'time_out_runs',
  `with due as materialized (
     select r.id from runs r
     where r.expires_at is not null and r.finished_at is null and r.expires_at <= now() order by r.expires_at limit $1),
   own as materialized (
     select r.id, r.epoch, r.status, r.worker_id, r.claimed_at
     from (select id from due order by id) u
     cross join lateral (
       select r.id, r.epoch, r.status, r.worker_id, r.claimed_at from runs r
       where r.id = u.id and r.status || '' in ('queued', 'running', 'waiting', 'paused') and r.expires_at <= now()
       for no key update) r),
   ended as (
     update runs r
     set status = 'timed_out', worker_id = null, finished_at = now(),
       error = json_build_object('name', 'RunTimedOutError',
         'message', case when r.started_at is null then 'the run did not start in time'
           else concat('the run did not end within ', round(r.run_timeout_ms / 1000.0, 3)::float8, ' s of its start') end,
         'code', 'run_timed_out', 'stack', null, 'step_key', null)::text
     from own where r.id = any (array[own.id])
     returning ${endColumns}),
   noted as (
     insert into run_notes (run_id, epoch, kind, worker_id, claimed_at)
     select id, epoch, 'timed_out', case status when 'running' then worker_id end, case status when 'running' then claimed_at end
     from own order by id on conflict do nothing)
   select * from ended order by id`,
)

export const nextTimeOutStatement = statement(
  'next_run_time_out',
  `select r.expires_at as next, r.expires_at <= now() as due from runs r
   where r.expires_at is not null and r.finished_at is null
   order by r.expires_at limit 1`,
)

/**
 * Times out runs that are over their time, the earliest first, at most `limit`. Any number of instances may do it at once.
 * `nextDueMs`: when the next is due (ms since 1970, by Postgres's clock), null when there is none. While none is, it costs
 * a look at one row: a statement that updates opens every partition.
 */
export async function timeOutRuns(
  store: Store,
  { limit }: { limit: number },
): Promise<{ ended: EndedRun[]; nextDueMs: number | null }> {
  const next = async (): Promise<DueRow | undefined> =>
    (await run<DueRow>(store.hot, nextTimeOutStatement, []))[0]
  const first = await next()
  if (!first?.due) return { ended: [], nextDueMs: first?.next ?? null }
  const rows = await withRetries(async () => await run<EndedRow>(store.hot, timeOutRunsStatement, [limit]))
  return { ended: rows.map(toEndedRun), nextDueMs: laterOf(await next()) }
}

/** The first run that something is to happen to at a time. */
export interface DueRow {
  next: number
  due: boolean
}

/** What is due already is found by the next look: whoever holds it up would have this one begin again and again. */
export const laterOf = (row: DueRow | undefined): number | null => (row && !row.due ? row.next : null)
