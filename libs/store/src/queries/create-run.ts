import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { statement } from '../statement.ts'
import { cancelWaitsOf, startRuns } from './cancel-waits.ts'
import { type ConcurrencyKey, heldBy, heldColumn, heldOf, type HeldRow } from './concurrency-keys.ts'
import { getRun } from './read-runs.ts'
import type { RunRecord } from './run-record.ts'
import { rulesOfStarts } from './start-rules.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'

export interface NewRun {
  /** From {@link newRunIds}. */
  runId: string
  workflow: string
  /** JSON text; null for none. */
  input: string | null
  /** The caller's own id: unique in the workflow for as long as the run is kept. */
  externalId: string | null
  tags: Record<string, string>
  traceparent: string | null
  /** How long it is held before it may be claimed, in ms; null: not at all. */
  delayMs: number | null
}

export type CreatedRun =
  /** `seed`: its first task, none while it is held back; `held`: the key under which it waits to be let in. */
  | { status: 'created'; run: RunRecord; seed: TaskSeed | null; held: ConcurrencyKey | null }
  /** The concurrency key of its workflow fails on its input. */
  | { status: 'invalid_key'; reason: string }
  /** A run with this external id is there; it was left as it is. */
  | { status: 'existing'; run: RunRecord }
  | { status: 'workflow_not_found' }

/** Waits of a run started by API look back a little before it: the caller's clock and the log's differ. */
export const clockAllowanceMs = 5_000

/**
 * The run and its external id in one statement. A second run of the same external id waits for the first one's commit
 * at the unique index, then inserts nothing. A run with a delay, or of a workflow with a concurrency rule, is queued and
 * blocked, so that nobody steals it.
 */
const ruled = heldBy('w.concurrency_limit', '$9::text')
const createStatement = statement(
  'create_run',
  `with w as (select id, app, build, queue, start_timeout_ms, run_timeout_ms, concurrency_limit from workflows where id = $2 and status <> 'retired'),
   named as (
     insert into run_ids (workflow, external_id, run_id)
     select w.id, $4, $1::uuid from w where $4::text is not null on conflict do nothing returning run_id)
   insert into runs as r (id, workflow, app, build, queue, status, input, tags, since, traceparent, created_at, queued_at,
     concurrency_key, blocked_reason, run_at, run_timeout_ms, expires_at)
   select $1::uuid, w.id, w.app, w.build, w.queue, 'queued', $3, $5::jsonb, now() - make_interval(secs => $7::float8 / 1000), $6, now(), now(),
     ${ruled.key}, case when $8::float8 is not null then 'delayed' else ${ruled.reason} end, now() + make_interval(secs => $8::float8 / 1000), w.run_timeout_ms,
     now() + make_interval(secs => (coalesce($8::float8, 0) + w.start_timeout_ms) / 1000)
   from w where $4::text is null or exists (select 1 from named)
   returning ${seedColumns}, ${heldColumn}`,
)

/** Looks at an id under which nothing is found: once is the rule, and retention takes a run once. */
const attemptsMax = 3

/** Starts a run by API. The queue, app and build are those of the workflow as it is registered. */
export async function createRun(store: Store, fresh: NewRun): Promise<CreatedRun> {
  const [rules] = await rulesOfStarts(store, [fresh])
  const key = rules?.key
  if (key?.kind === 'failed') {
    // A rule that came after its run changes nothing for a request that is sent again.
    const existing = await existingRun(store, fresh)
    return existing === null
      ? { status: 'invalid_key', reason: key.reason }
      : { status: 'existing', run: existing }
  }
  const values = [
    fresh.runId,
    fresh.workflow,
    fresh.input,
    fresh.externalId,
    JSON.stringify(fresh.tags),
    fresh.traceparent,
    clockAllowanceMs,
    fresh.delayMs,
    key?.key ?? null,
  ]
  const cancels = cancelWaitsOf(fresh.runId, rules?.cancelOn ?? [], fresh.input)
  const insert = async (): Promise<(SeedRow & HeldRow)[]> =>
    await withPartitions(
      store,
      [fresh.runId],
      async () =>
        await withRetries(
          async () => await startRuns<SeedRow & HeldRow>(store.general, createStatement, values, cancels),
        ),
    )
  for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
    const [row] = await insert()
    const run = row ? await getRun(store, row.id) : await existingRun(store, fresh)
    if (row && run) {
      const held = heldOf(row)
      const mayBeClaimed = fresh.delayMs === null && held === null
      return { status: 'created', run, seed: mayBeClaimed ? toTaskSeed(row) : null, held }
    }
    if (run) return { status: 'existing', run }
    // What stood under the id went with its run, by retention, between the two looks: the id is free now.
    if (fresh.externalId === null) break
  }
  return { status: 'workflow_not_found' }
}

/** The run under the caller's own id. */
async function existingRun(store: Store, fresh: NewRun): Promise<RunRecord | null> {
  if (fresh.externalId === null) return null
  const { rows } = await store.general.query<{ run_id: string }>(
    'select run_id from run_ids where workflow = $1 and external_id = $2',
    [fresh.workflow, fresh.externalId],
  )
  return rows[0] ? await getRun(store, rows[0].run_id) : null
}
