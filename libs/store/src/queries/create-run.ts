import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { run, statement } from '../statement.ts'
import { getRun } from './read-runs.ts'
import type { RunRecord } from './run-record.ts'
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
  /** `seed`: its first task, none while it is held back. */
  | { status: 'created'; run: RunRecord; seed: TaskSeed | null }
  /** A run with this external id is there; it was left as it is. */
  | { status: 'existing'; run: RunRecord }
  | { status: 'workflow_not_found' }

/** Waits of a run started by API look back a little before it: the caller's clock and the log's differ. */
export const clockAllowanceMs = 5_000

/**
 * The run and its external id in one statement. A second run of the same external id waits for the first one's commit
 * at the unique index, then inserts nothing. A run with a delay is queued and blocked, so that nobody steals it.
 */
const createStatement = statement(
  'create_run',
  `with w as (select id, app, build, queue, start_timeout_ms, run_timeout_ms from workflows where id = $2 and status <> 'retired'),
   named as (
     insert into run_ids (workflow, external_id, run_id)
     select w.id, $4, $1::uuid from w where $4::text is not null on conflict do nothing returning run_id)
   insert into runs as r (id, workflow, app, build, queue, status, input, tags, since, traceparent, created_at, queued_at,
     blocked_reason, run_at, run_timeout_ms, expires_at)
   select $1::uuid, w.id, w.app, w.build, w.queue, 'queued', $3, $5::jsonb, now() - make_interval(secs => $7::float8 / 1000), $6, now(), now(),
     case when $8::float8 is not null then 'delayed' end, now() + make_interval(secs => $8::float8 / 1000), w.run_timeout_ms,
     now() + make_interval(secs => (coalesce($8::float8, 0) + w.start_timeout_ms) / 1000)
   from w where $4::text is null or exists (select 1 from named)
   returning ${seedColumns}`,
)

/** Starts a run by API. The queue, app and build are those of the workflow as it is registered. */
export async function createRun(store: Store, fresh: NewRun): Promise<CreatedRun> {
  const values = [
    fresh.runId,
    fresh.workflow,
    fresh.input,
    fresh.externalId,
    JSON.stringify(fresh.tags),
    fresh.traceparent,
    clockAllowanceMs,
    fresh.delayMs,
  ]
  const insert = async (): Promise<SeedRow[]> =>
    await withPartitions(
      store,
      [fresh.runId],
      async () => await withRetries(async () => await run<SeedRow>(store.general, createStatement, values)),
    )
  const [row] = await insert()
  if (row) {
    const created = await getRun(store, row.id)
    if (created)
      return { status: 'created', run: created, seed: fresh.delayMs === null ? toTaskSeed(row) : null }
  }
  return await existingRun(store, fresh)
}

async function existingRun(store: Store, fresh: NewRun): Promise<CreatedRun> {
  if (fresh.externalId !== null) {
    const { rows } = await store.general.query<{ run_id: string }>(
      'select run_id from run_ids where workflow = $1 and external_id = $2',
      [fresh.workflow, fresh.externalId],
    )
    const existing = rows[0] && (await getRun(store, rows[0].run_id))
    if (existing) return { status: 'existing', run: existing }
  }
  return { status: 'workflow_not_found' }
}
