import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { statement } from '../statement.ts'
import { cancelWaitsOf, startRuns } from './cancel-waits.ts'
import { type ConcurrencyKey, heldBy, heldColumn, heldOf, type HeldRow } from './concurrency-keys.ts'
import type { DeadLetterRef, DecisionBy } from './dead-letter-decisions.ts'
import { rulesOfStarts } from './start-rules.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'
import { getTrigger } from './triggers.ts'

/** A window that became a dead letter, as the run that it is to become. */
export interface RedrivenWindow {
  /** From {@link newRunIds}. */
  runId: string
  triggerId: string
  stream: string
  incarnation: number
  partition: number
  firstOffset: number
  lastOffset: number
  events: number
  /** Log time of the window's last event, ms since 1970. */
  since: number
  /** JSON text. */
  input: string
}

/**
 * The decision and the run in one statement, so that a dead letter becomes at most one run, however often this is
 * asked and whatever dies. Of several at once the others wait for the first one's row, find it decided, and insert
 * nothing. The run has the trigger and the workflow as they are registered now: that they were changed is a reason for
 * redriving. A retired trigger starts nothing, and its dead letter stays open.
 */
const ruled = heldBy('t.concurrency_limit', '$16::text')
const redriveStatement = statement(
  'redrive_window',
  `with t as (
     select t.id, t.version, w.id as workflow, w.app, w.build, w.queue, w.start_timeout_ms, w.run_timeout_ms, w.concurrency_limit
     from triggers t join workflows w on w.id = t.workflow and w.status <> 'retired'
     where t.id = $5 and t.status <> 'retired'),
   decided as (
     insert into dead_letters as d (partition, sequence_id, log_time, status, run_id, reason, decided_at, decided_by)
     select $1, $2, to_timestamp($3::float8 / 1000), 'redriven', $4::uuid, $13, now(), $14 from t
     on conflict (partition, sequence_id, log_time) do update
       set status = excluded.status, run_id = excluded.run_id, reason = excluded.reason, decided_at = now(), decided_by = excluded.decided_by
       where d.status || '' = 'open'
     returning 1)
   insert into runs as r (id, workflow, app, build, queue, status, input, since, trigger_id, trigger_version, stream, incarnation,
     partition, first_offset, last_offset, events, created_at, queued_at, run_timeout_ms, expires_at, concurrency_key, blocked_reason)
   select $4::uuid, t.workflow, t.app, t.build, t.queue, 'queued', $12, to_timestamp($11::float8 / 1000), t.id, t.version, $6, $7::int,
     $8::int, $9::int8, $10::int8, $15::int, now(), now(), t.run_timeout_ms, now() + make_interval(secs => t.start_timeout_ms / 1000.0),
     ${ruled.key}, ${ruled.reason}
   from t where exists (select 1 from decided)
   returning ${seedColumns}, ${heldColumn}`,
)

export type RedrivenRun =
  /** `held`: the key under which it waits to be let in; null: it may be claimed. */
  | { kind: 'started'; seed: TaskSeed; held: ConcurrencyKey | null }
  /** The concurrency key of its workflow fails on its input; the dead letter stays open. */
  | { kind: 'invalid_key'; reason: string }

/**
 * Starts the run of a window that was set aside, and decides its dead letter. Null: it was decided before, or its
 * trigger is gone. Throws a `row` fault where Postgres cannot store the run; the dead letter is open then.
 */
export async function redriveWindow(
  store: Store,
  ref: DeadLetterRef,
  window: RedrivenWindow,
  { reason, by }: DecisionBy,
): Promise<RedrivenRun | null> {
  const trigger = await getTrigger(store, window.triggerId)
  if (trigger === null) return null
  const [rules] = await rulesOfStarts(store, [{ workflow: trigger.workflow, input: window.input }])
  const key = rules?.key
  if (key?.kind === 'failed') return { kind: 'invalid_key', reason: key.reason }
  const values = [
    ref.partition,
    ref.sequenceId,
    ref.logTimeMs,
    window.runId,
    window.triggerId,
    window.stream,
    window.incarnation,
    window.partition,
    window.firstOffset,
    window.lastOffset,
    window.since,
    window.input,
    reason,
    by,
    window.events,
    key?.key ?? null,
  ]
  const cancels = cancelWaitsOf(window.runId, rules?.cancelOn ?? [], window.input)
  const [row] = await withPartitions(
    store,
    [window.runId],
    async () =>
      await withRetries(
        async () => await startRuns<SeedRow & HeldRow>(store.general, redriveStatement, values, cancels),
      ),
  )
  return row === undefined ? null : { kind: 'started', seed: toTaskSeed(row), held: heldOf(row) }
}
