import { answerKinds, type ClaimedRun, type StoredStep } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { run } from '../statement.ts'
import { type StepRow, stepsOfRunsStatement, toStoredStep } from './read-stored-steps.ts'

export interface ClaimRequest {
  runId: string
  epoch: number
  workerId: string
  /** The task carried no input: the claim's answer must. */
  wantInput: boolean
}

/** What claiming and stealing return of the run they took, beside `fresh` and `input`. */
export const claimedColumns = `r.id, r.epoch, r.wake, r.workflow, r.build, r.attempt, r.lost, nullif(r.tags, '{}') as tags,
     r.trigger_id, r.stream, r.partition, r.first_offset, r.last_offset, r.parent_run_id, r.traceparent, r.queue,
     case when r.epoch > 1 then (
       select n.detail from run_notes n
       where n.run_id = r.id and n.epoch = r.epoch - 1 and n.kind in ('parked', 'released') limit 1) end as former_traceparent,
     (date_part('epoch', r.since) * 1000)::int8 as since_ms,
     (date_part('epoch', r.started_at) * 1000)::int8 as started_ms`

/** The first claim ends the time in which the run had to start, and begins that in which it has to end. */
export const expiresAtClaim =
  'expires_at = case when r.started_at is null then now() + make_interval(secs => r.run_timeout_ms / 1000.0) else r.expires_at end'

/** The first claim decides on which build the run begins. `build`: that of the worker. */
export const buildAtClaim = (build: string): string =>
  `build = case when r.started_at is null then ${build} else r.build end`

/**
 * May a worker of this build have the run? One that has not begun, unless its workflow is paused; one that has, unless it
 * is pinned to another build, or did not fit this one. By the workflow as it is registered now: a build that says `upgrade`
 * frees the runs that an older one pinned. What is asked of `workflows` is asked once a statement, and only where it
 * matters: of runs that begin, whether anything is paused, and of runs that come from another build, what is pinned.
 */
export const mayRunOn = (build: string): string =>
  `case when r.started_at is null then (r.workflow in (select w.id from workflows w where w.paused_at is not null)) is not true
       else r.build = ${build} or (r.workflow in (select w.id from workflows w where w.on_deploy = 'pin')) is not true end
     and (r.unfit_builds is null or ${build} <> all (r.unfit_builds))`

export interface ClaimedRow {
  id: string
  epoch: number
  wake: number
  workflow: string
  build: string | null
  attempt: number
  lost: number
  /** Null: none. */
  tags: Record<string, string> | null
  trigger_id: string | null
  stream: string | null
  partition: number | null
  first_offset: number | null
  last_offset: number | null
  parent_run_id: string | null
  traceparent: string | null
  former_traceparent: string | null
  queue: string
  since_ms: number
  /** Ms since 1970. */
  started_ms: number
  /** It was queued; not, when the same worker claims again. */
  fresh: boolean
  input: string | null
}

/**
 * True where no step can be stored: the run was queued until now in its first epoch, nothing answered it, and it is
 * no retry, which begins with copied steps. A step needs a claim before it.
 */
const surelyWithoutSteps = (row: ClaimedRow): boolean =>
  row.fresh && row.epoch === 1 && row.wake === 0 && row.attempt === 1

/** Adds the stored steps, read by a statement later than the claim; index-aligned with `rows`. */
export async function toClaimedRuns(store: Store, rows: ClaimedRow[]): Promise<ClaimedRun[]> {
  const ids = rows.filter((row) => !surelyWithoutSteps(row)).map((row) => row.id)
  const steps = new Map<string, StoredStep[]>(ids.map((id) => [id, []]))
  if (ids.length > 0)
    for (const row of await run<StepRow>(store.hot, stepsOfRunsStatement, [ids]))
      steps.get(row.run_id)?.push(toStoredStep(row))
  return rows.map((row) => toClaimedRun(row, steps.get(row.id) ?? []))
}

function toClaimedRun(row: ClaimedRow, steps: StoredStep[]): ClaimedRun {
  return {
    run_id: row.id,
    epoch: row.epoch,
    wake: observedWake(row, steps),
    workflow: row.workflow,
    build: row.build,
    attempt: row.attempt,
    lost: row.lost,
    input: row.input,
    tags: row.tags ?? {},
    trigger:
      row.trigger_id === null
        ? null
        : {
            id: row.trigger_id,
            stream: row.stream ?? '',
            partition: row.partition ?? 0,
            first_sequence_id: row.first_offset ?? 0,
            last_sequence_id: row.last_offset ?? 0,
          },
    parent_run_id: row.parent_run_id,
    traceparent: row.traceparent,
    ...(row.former_traceparent === null ? {} : { former_traceparent: row.former_traceparent }),
    queue: row.queue,
    since: row.since_ms,
    started_at: row.started_ms,
    steps,
  }
}

const answers = new Set<string>(answerKinds)

/**
 * The highest wake whose answers are all among the steps. They are read after the run's own row, and answers of a run
 * come one after the other, so what is there is complete up to the latest of them.
 */
const observedWake = (row: ClaimedRow, steps: StoredStep[]): number =>
  steps.reduce((wake, step) => (answers.has(step.step_kind) ? Math.max(wake, step.seen) : wake), row.wake)
