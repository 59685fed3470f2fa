import { limits } from '@headrace/schemas'
import { statement } from '../statement.ts'
import { heldBy, heldColumn } from './concurrency-keys.ts'
import { clockAllowanceMs } from './create-run.ts'
import { seedColumns } from './task-seed.ts'

/** Where `run_ids` holds the ids of children. No workflow can have this name, so no caller's own id is met here. */
export const childIds = 'headrace:child'

/**
 * A child run, and the wait of the step that started it where it waits: one commit, so that neither is there without the
 * other. The child is seen by nobody before the wait is, and whoever ends it finds who waits.
 *
 * - `named` makes it once for each run and key, for waiting and not waiting steps alike: a second one at the same moment
 *   waits there for the first one's commit, and starts nothing.
 * - No lock on the parent, only a look at it, as in register-waits: a child that is started while its parent is being lost
 *   is what its next replay finds.
 * - What stands under the key already is told beside it: a wait, a step, or a child that nobody waits for.
 * - A wait for a run has looked for itself: its child cannot have ended before it was there.
 * - Queue, app and build are those of the workflow as it is registered. Where there is none, a step that waits gets a child
 *   that has failed for it: an error that every replay meets again, which a refusal would not be once somebody registers it.
 *   So does every child on whose input the concurrency key of its workflow fails (`key_fault`).
 */
const ruled = heldBy('m.concurrency_limit', 'm.concurrency_key')
export const startChildrenStatement = statement(
  'start_children',
  `with asked as materialized (
     select * from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::int[], $6::text[], $7::text[], $8::float8[], $9::uuid[],
         $10::text[], $11::text[])
       u(run_id, key, epoch, worker_id, seen, workflow, input, timeout_ms, child_id, concurrency_key, key_fault)
     order by run_id, key),
   held as materialized (
     select a.*, r.traceparent, r.app as parent_app, f.app, f.build, f.queue, f.start_timeout_ms, f.run_timeout_ms, f.concurrency_limit,
       w.kind as there_kind, w.status as there_status, s.kind as step_kind, n.run_id as there_child, c.workflow as there_workflow
     from asked a
     cross join lateral (
       select r.traceparent, r.app from runs r
       where r.id = a.run_id and r.epoch = a.epoch and r.worker_id = a.worker_id and r.status || '' = 'running' offset 0) r
     left join lateral (
       select w.kind, w.status from waits w where w.run_id = a.run_id and w.key = a.key offset 0) w on true
     left join lateral (
       select s.kind from steps s where s.run_id = a.run_id and s.key = a.key offset 0) s on true
     left join lateral (
       select n.run_id from run_ids n
       where n.workflow = '${childIds}' and n.external_id = concat(a.run_id, '/', a.key) offset 0) n on true
     left join lateral (select c.workflow from runs c where c.id = n.run_id offset 0) c on true
     left join lateral (
       select f.app, f.build, f.queue, f.start_timeout_ms, f.run_timeout_ms, f.concurrency_limit from workflows f
       where f.id = a.workflow and f.status <> 'retired' offset 0) f on true),
   missing as materialized (
     select h.*, h.timeout_ms is not null
       and o.open + row_number() over (partition by h.run_id order by h.timeout_ms is null, h.key) > ${limits.openWaitsPerRunMax} as too_many
     from held h
     cross join lateral (
       select count(*) as open from waits w where w.run_id = h.run_id and w.status in ('pending', 'open') and w.kind <> 'cancel' offset 0) o
     where h.there_kind is null and h.step_kind is null and h.there_child is null
       and (h.queue is not null or h.timeout_ms is not null)),
   named as (
     insert into run_ids (workflow, external_id, run_id)
     select '${childIds}', concat(m.run_id, '/', m.key), m.child_id from missing m where not m.too_many order by m.run_id, m.key
     on conflict do nothing
     returning run_id),
   made as materialized (select m.* from missing m where m.child_id in (select run_id from named)),
   waiting as (
     insert into waits (run_id, key, kind, status, since, asked_since, child_run_id, epoch, seen, expires_at, checked_at)
     select m.run_id, m.key, 'run', 'open', now(), now(), m.child_id, m.epoch, m.seen,
       now() + make_interval(secs => m.timeout_ms / 1000), now()
     from made m where m.timeout_ms is not null order by m.run_id, m.key
     on conflict do nothing),
   children as (
     insert into runs as r (id, workflow, app, build, queue, status, error, finished_at, input, since, traceparent, parent_run_id,
       parent_step_key, created_at, queued_at, run_timeout_ms, expires_at, concurrency_key, blocked_reason)
     select m.child_id, m.workflow, coalesce(m.app, m.parent_app), m.build, coalesce(m.queue, 'default'),
       case when m.queue is null or m.key_fault is not null then 'failed' else 'queued' end,
       case when m.queue is null then json_build_object('name', 'WorkflowNotFoundError',
         'message', concat('there is no workflow ', m.workflow, ': start a worker that has it'),
         'code', 'workflow_not_found', 'stack', null, 'step_key', null)::text
       when m.key_fault is not null then json_build_object('name', 'ConcurrencyKeyError',
         'message', concat('the concurrency key of ', m.workflow, ' fails on this input: ', m.key_fault),
         'code', 'concurrency_key_failed', 'stack', null, 'step_key', null)::text end,
       case when m.queue is null or m.key_fault is not null then now() end, m.input, now() - make_interval(secs => ${clockAllowanceMs / 1000}),
       m.traceparent, m.run_id, m.key, now(), now(), m.run_timeout_ms, now() + make_interval(secs => m.start_timeout_ms / 1000.0),
       ${ruled.key}, case when m.key_fault is null then ${ruled.reason} end
     from made m
     returning ${seedColumns}, r.status, ${heldColumn})
   select h.run_id, h.key, h.there_kind, h.there_status, h.there_child, h.there_workflow, h.step_kind, h.queue is null as no_workflow,
     m.too_many, m.child_id in (select id from children) as made, n.id, n.epoch, n.workflow, n.queue, n.lost, n.input, n.held_key
   from held h
   left join missing m on m.run_id = h.run_id and m.key = h.key
   left join children n on n.id = h.child_id and n.status = 'queued'`,
)

export interface StartChildRow {
  run_id: string
  key: string
  /** The wait that stands under this key. */
  there_kind: string | null
  there_status: 'pending' | 'open' | 'answered' | 'timed_out' | 'cancelled' | null
  /** The child that a step with this key started before, and its workflow, null where it is not kept any more. */
  there_child: string | null
  there_workflow: string | null
  step_kind: string | null
  no_workflow: boolean
  too_many: boolean | null
  /** The child was made now; null: not even tried. */
  made: boolean | null
  /** The child that was started now, as a task; null: none was. */
  id: string | null
  epoch: number | null
  workflow: string | null
  queue: string | null
  lost: number | null
  input: string | null
  held_key: string | null
}
