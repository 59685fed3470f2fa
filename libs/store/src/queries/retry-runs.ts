import { RETRY_EPOCH } from '@headrace/core'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { run, statement } from '../statement.ts'
import { cancelWaitsOf, startRuns } from './cancel-waits.ts'
import { type ConcurrencyKey, heldBy, heldColumn, heldOf, type HeldRow } from './concurrency-keys.ts'
import { rulesOfRetries } from './start-rules.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'

/**
 * P4: a retry is a new run. It has the window, input, tags and `since` of the run that it retries, and goes on behind what
 * that had stored with success; what had failed is done again.
 *
 * - `noted`: a run is retried once, ever. The note stands by the run that is retried, which has ended and so keeps its
 *   epoch; of two retries at once the second waits for the first one's commit, and starts nothing. It outlives the new run.
 *   In the order of ids, so that two batches do not wait for each other.
 * - An ended run never changes, so nothing is locked: the snapshot that shows its end shows all that it stored.
 * - Copied steps keep their order (seen, n), and the run its `wake`: answers that come are counted from there on. They stand
 *   at epoch 1 and the run begins at the next, so that nobody takes them for what its worker stored.
 * - Answered waits are copied with their answers: waits in a loop go on behind what was received (W3, wait-candidate.ts).
 *   Of a wait that had timed out neither is: it is registered anew.
 * - Queue, app, build, time-outs and concurrency are those of the workflow as it is registered now.
 */
const ruled = heldBy('concurrency_limit', 'new_key')
export const retryStatement = statement(
  'retry_runs',
  `with old as materialized (
     select r.*, u.new_id, u.new_key, w.app as to_app, w.build as to_build, w.queue as to_queue, w.start_timeout_ms,
       w.run_timeout_ms as to_run_timeout_ms, w.concurrency_limit
     from unnest($1::uuid[], $2::uuid[], $3::text[]) u(id, new_id, new_key)
     cross join lateral (
       select r.id, r.epoch, r.workflow, r.input, r.tags, r.trigger_id, r.trigger_version, r.stream, r.incarnation, r.partition,
         r.first_offset, r.last_offset, r.events, r.since, r.wake, r.priority, r.parent_run_id, r.parent_step_key,
         r.attempt, r.traceparent
       from runs r where r.id = u.id and r.status || '' in ('failed', 'cancelled', 'timed_out') offset 0) r
     cross join lateral (
       select w.app, w.build, w.queue, w.start_timeout_ms, w.run_timeout_ms, w.concurrency_limit
       from workflows w where w.id = r.workflow and w.status <> 'retired' offset 0) w),
   noted as (
     insert into run_notes (run_id, epoch, kind, detail)
     select id, epoch, 'retried', new_id from old order by id on conflict do nothing returning run_id),
   fresh as materialized (select * from old where id in (select run_id from noted)),
   started as (
     insert into runs as r (id, workflow, app, build, queue, status, epoch, wake, input, tags, trigger_id, trigger_version, stream, incarnation,
       partition, first_offset, last_offset, events, since, concurrency_key, priority, parent_run_id, parent_step_key, retry_of, attempt,
       traceparent, created_at, queued_at, run_timeout_ms, expires_at, blocked_reason)
     select new_id, workflow, to_app, to_build, to_queue, 'queued', ${RETRY_EPOCH}, wake, input, tags, trigger_id, trigger_version, stream, incarnation,
       partition, first_offset, last_offset, events, since, ${ruled.key}, priority, parent_run_id, parent_step_key, id, attempt + 1,
       traceparent, now(), now(), to_run_timeout_ms, now() + make_interval(secs => start_timeout_ms / 1000.0),
       ${ruled.reason}
     from fresh
     returning ${seedColumns}, ${heldColumn}, r.retry_of),
   copied as (
     insert into steps (run_id, key, kind, n, seen, epoch, output, attempts, started_at, finished_at)
     select f.new_id, s.key, s.kind, s.n, s.seen, ${RETRY_EPOCH - 1}, s.output, s.attempts, s.started_at, s.finished_at
     from fresh f cross join lateral (select s.* from steps s where s.run_id = f.id and s.error is null offset 0) s),
   received as (
     insert into waits (run_id, key, kind, status, topic, stream, filter, since, asked_since, after_incarnation, after_partition,
       after_from, after_offset, child_run_id, epoch, seen, wake, expires_at, checked_at, answered_incarnation, answered_partition,
       answered_offset, lookback_truncated, created_at, answered_at)
     select f.new_id, w.key, w.kind, w.status, w.topic, w.stream, w.filter, w.since, w.asked_since, w.after_incarnation, w.after_partition,
       w.after_from, w.after_offset, w.child_run_id, ${RETRY_EPOCH - 1}, w.seen, w.wake, w.expires_at, w.checked_at, w.answered_incarnation,
       w.answered_partition, w.answered_offset, w.lookback_truncated, w.created_at, w.answered_at
     from fresh f
     cross join lateral (select w.* from waits w where w.run_id = f.id and w.status || '' = 'answered' offset 0) w
     cross join lateral (select 1 from steps s where s.run_id = w.run_id and s.key = w.key and s.error is null offset 0) s)
   select * from started order by id`,
)

export const retriesStatement = statement(
  'retries_of_runs',
  `select n.run_id, n.detail from unnest($1::uuid[]) u(id)
   cross join lateral (select n.run_id, n.detail from run_notes n where n.run_id = u.id and n.kind = 'retried' offset 0) n`,
)

/** Runs of one statement: each may have 1,000 steps to be copied. */
const retriesMax = 50

interface Retry {
  /** The run that is to be retried. */
  runId: string
  /** From {@link newRunIds}. */
  newRunId: string
}

interface RetriedRun extends Retry {
  seed: TaskSeed
  /** The key under which it waits to be let in: its task goes when it is; null: it may be claimed. */
  held: ConcurrencyKey | null
}

/**
 * Retries those of the runs that have ended otherwise than completed, were not retried before, and whose workflow is
 * registered. Each part is one commit.
 */
export async function retryRuns(store: Store, retries: readonly Retry[]): Promise<RetriedRun[]> {
  const retried: RetriedRun[] = []
  for (let from = 0; from < retries.length; from += retriesMax) {
    const part = retries.slice(from, from + retriesMax)
    const newIds = part.map(({ newRunId }) => newRunId)
    const ids = part.map(({ runId }) => runId)
    const rules = await rulesOfRetries(store, ids)
    const values = [ids, newIds, ids.map((id) => rules.get(id)?.key ?? null)]
    const cancels = part.flatMap(({ runId, newRunId }) => {
      const { cancelOn = [], input = null } = rules.get(runId) ?? {}
      return cancelWaitsOf(newRunId, cancelOn, input)
    })
    const rows = await withPartitions(
      store,
      newIds,
      async () =>
        await withRetries(
          async () =>
            await startRuns<SeedRow & HeldRow & { retry_of: string }>(
              store.hot,
              retryStatement,
              values,
              cancels,
            ),
        ),
    )
    for (const row of rows)
      retried.push({ runId: row.retry_of, newRunId: row.id, seed: toTaskSeed(row), held: heldOf(row) })
  }
  return retried
}

/** The run that retries this one, which may be kept no more; null: it was not retried. */
export async function retryOf(store: Store, runId: string): Promise<string | null> {
  const [row] = await run<{ detail: string }>(store.hot, retriesStatement, [[runId]])
  return row?.detail ?? null
}
