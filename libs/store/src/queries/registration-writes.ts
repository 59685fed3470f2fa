import type { WorkflowDefinition } from '@headrace/schemas'
import type { PoolClient } from 'pg'
import type { ExistingTrigger, PlannedTrigger, RegistrationConflict } from './registration-plan.ts'
import { endReplays } from './replays.ts'
import { type StoredTrigger, toTrigger, triggerColumns } from './triggers.ts'

/**
 * A trigger that comes back within the look-back goes on where it stopped, because a roll-back of a deployment must
 * lose nothing; later it begins at the end, because nobody expects a day's events of a trigger that was removed.
 */
const revivedWithinMs = 24 * 3_600_000

/** Writes the set's workflows in id order; answers those that belong to another app and are not retired there. */
export async function writeWorkflows(
  client: PoolClient,
  set: { app: string; build: string; workflows: WorkflowDefinition[] },
): Promise<RegistrationConflict[]> {
  const ids = set.workflows.map((workflow) => workflow.id)
  const { rows } = await client.query<{ id: string }>(
    `insert into workflows (id, app, build, queue, on_deploy, definition, start_timeout_ms, run_timeout_ms, concurrency_limit, concurrency_key)
     select u.id, $1, $2, u.queue, u.on_deploy, u.definition::jsonb, u.start_timeout_ms, u.run_timeout_ms, u.concurrency_limit, u.concurrency_key
     from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::int8[], $9::int[], $10::text[])
       u(id, queue, on_deploy, definition, start_timeout_ms, run_timeout_ms, concurrency_limit, concurrency_key) order by u.id
     on conflict (id) do update
     set app = excluded.app, build = excluded.build, queue = excluded.queue, on_deploy = excluded.on_deploy,
         definition = excluded.definition, start_timeout_ms = excluded.start_timeout_ms,
         run_timeout_ms = excluded.run_timeout_ms, concurrency_limit = excluded.concurrency_limit,
         concurrency_key = excluded.concurrency_key, status = 'live',
         retired_at = null, updated_at = now()
     where workflows.app = excluded.app or workflows.status = 'retired'
     returning id`,
    [
      set.app,
      set.build,
      ids,
      set.workflows.map((workflow) => workflow.queue),
      set.workflows.map((workflow) => workflow.on_deploy),
      set.workflows.map((workflow) => JSON.stringify(workflow)),
      set.workflows.map((workflow) => workflow.timeouts?.start_ms ?? null),
      set.workflows.map((workflow) => workflow.timeouts?.run_ms ?? null),
      set.workflows.map((workflow) => workflow.concurrency?.limit ?? null),
      set.workflows.map((workflow) => workflow.concurrency?.key ?? null),
    ],
  )
  return await othersOf(client, 'workflow', ids, rows)
}

/** Writes the set's triggers in id order; answers those that belong to another app and are not retired there. */
export async function writeTriggers(
  client: PoolClient,
  set: { app: string; build: string; triggers: PlannedTrigger[] },
): Promise<RegistrationConflict[]> {
  const { triggers } = set
  const ids = triggers.map((trigger) => trigger.id)
  const { rows } = await client.query<{ id: string }>(
    `insert into triggers (id, workflow, app, build, queue, pattern, stream, window_size, window_timeout_ms, window_max_bytes, window_key, filter,
       on_deploy, status, paused, version, gap_policy, flow)
     select u.id, u.workflow, $1, $2, u.queue, u.pattern, u.stream, u.size, u.timeout_ms, u.max_bytes, u.window_key, u.filter,
       u.on_deploy, u.status, u.status = 'paused', u.version, u.gap_policy, u.flow::jsonb
     from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::int8[], $10::int[], $11::text[], $12::text[], $13::int[], $14::text[], $15::text[], $16::text[],
         $17::text[])
       u(id, workflow, queue, pattern, stream, size, timeout_ms, max_bytes, on_deploy, status, version, window_key, filter, gap_policy, flow) order by u.id
     on conflict (id) do update
     set workflow = excluded.workflow, app = excluded.app, build = excluded.build, queue = excluded.queue,
         pattern = excluded.pattern, stream = excluded.stream, window_size = excluded.window_size,
         window_timeout_ms = excluded.window_timeout_ms, window_max_bytes = excluded.window_max_bytes,
         window_key = excluded.window_key, filter = excluded.filter, flow = excluded.flow,
         on_deploy = excluded.on_deploy, status = excluded.status, version = excluded.version, gap_policy = excluded.gap_policy,
         retired_at = null, updated_at = now()
     where triggers.app = excluded.app or triggers.status = 'retired'
     returning id`,
    [
      set.app,
      set.build,
      ids,
      triggers.map((trigger) => trigger.workflow),
      triggers.map((trigger) => trigger.queue),
      triggers.map((trigger) => trigger.pattern),
      triggers.map((trigger) => trigger.stream),
      triggers.map((trigger) => trigger.windowSize),
      triggers.map((trigger) => trigger.windowTimeoutMs),
      triggers.map((trigger) => trigger.windowMaxBytes),
      triggers.map((trigger) => trigger.onDeploy),
      triggers.map((trigger) => trigger.status),
      triggers.map((trigger) => trigger.version),
      triggers.map((trigger) => trigger.windowKey),
      triggers.map((trigger) => trigger.filter),
      triggers.map((trigger) => trigger.gapPolicy),
      triggers.map(flowOf),
    ],
  )
  return await othersOf(client, 'trigger', ids, rows)
}

/** The rules of its workflow that its runs begin with, as JSON; null: there are none. */
function flowOf({ concurrency, cancelOn }: PlannedTrigger): string | null {
  if (concurrency === null && cancelOn.length === 0) return null
  return JSON.stringify({
    ...(concurrency === null ? {} : { concurrency }),
    ...(cancelOn.length === 0 ? {} : { cancel_on: cancelOn }),
  })
}

async function othersOf(
  client: PoolClient,
  kind: 'workflow' | 'trigger',
  ids: string[],
  written: { id: string }[],
): Promise<RegistrationConflict[]> {
  const ours = new Set(written.map((row) => row.id))
  const missing = ids.filter((id) => !ours.has(id))
  if (missing.length === 0) return []
  const { rows } = await client.query<{ id: string; app: string }>(
    `select id, app from ${kind}s where id = any ($1::text[]) order by id`,
    [missing],
  )
  return rows.map(({ id, app }) => ({ kind, id, app }))
}

/** The triggers of the app and those of these ids, locked in id order. */
export async function existingTriggers(
  client: PoolClient,
  app: string,
  ids: string[],
): Promise<ExistingTrigger[]> {
  const { rows } = await client.query<StoredTrigger & { paused: boolean; stale: boolean; cursors: number }>(
    `select ${triggerColumns}, t.paused,
       (t.app <> $1 or coalesce(t.retired_at < now() - make_interval(secs => $3::float8 / 1000), false)) as stale,
       (select count(*)::int from trigger_cursors c where c.trigger_id = t.id and c.stream = t.stream) as cursors
     from triggers t where t.app = $1 or t.id = any ($2::text[]) order by t.id for update of t`,
    [app, ids, revivedWithinMs],
  )
  return rows.map((row) => ({
    ...toTrigger(row),
    paused: row.paused,
    stale: row.stale,
    cursors: row.cursors,
  }))
}

export async function retireWorkflows(client: PoolClient, app: string, kept: string[]): Promise<void> {
  await client.query(
    `update workflows set status = 'retired', retired_at = now(), updated_at = now()
     where app = $1 and status <> 'retired' and id <> all ($2::text[])`,
    [app, kept],
  )
}

/** Retires the app's other triggers. Their version rises, so that a flush in flight starts nothing more. */
export async function retireTriggers(client: PoolClient, app: string, kept: string[]): Promise<void> {
  const { rows } = await client.query<{ id: string }>(
    `update triggers set status = 'retired', retired_at = now(), updated_at = now(), version = version + 1
     where app = $1 and status <> 'retired' and id <> all ($2::text[]) returning id`,
    [app, kept],
  )
  const retired = rows.map((row) => row.id)
  await raiseCursors(client, retired)
  await endReplays(client, retired, { reason: 'trigger_retired' })
}

/** Gives the cursors of some triggers their trigger's version, and its pause; in key order, as flushes lock them. */
export async function raiseCursors(client: PoolClient, triggerIds: string[]): Promise<void> {
  if (triggerIds.length === 0) return
  await client.query(
    `with own as materialized (
       select c.trigger_id, c.stream, c.partition, t.version, t.status
       from trigger_cursors c join triggers t on t.id = c.trigger_id
       where c.trigger_id = any ($1::text[])
       order by c.trigger_id, c.stream, c.partition for no key update of c)
     update trigger_cursors c
     set version = own.version, revision = c.revision + 1, updated_at = now(),
         status = case when c.status = 'stopped' or own.status = 'retired' then c.status when own.status = 'paused' then 'paused' else 'live' end
     from own where c.trigger_id = own.trigger_id and c.stream = own.stream and c.partition = own.partition`,
    [triggerIds],
  )
}
