import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { run, statement } from '../statement.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'
import { refText, type WaitRef } from './wait-ref.ts'

/**
 * ARCHITECTURE, row 9: the one way in which a wait is answered, by whatever answers it.
 *
 * - `w` locks the waits in the order of their refs, then `r` their runs in the order of ids: that order everywhere. Both
 *   check their guards again on the row as it is after any wait, so of two answers one counts, and a wait whose run has
 *   ended stays as it is.
 * - `wake` counts answers whatever the run is doing, so a worker that suspends with an older count is told to look again.
 *   Where the run is parked it is queued at the next epoch. The i-th answer carries the old wake + i.
 * - Their order is that of the log: on one partition by offset, between partitions by time. The time of an event counts as
 *   at least that of those before it on its partition (`at`), or the two would contradict each other.
 * - The hours of the responses are not bounded by values that are known at the start, as `response-pages` does: with any
 *   partitions pruned before the start, also of a table it does not lock, Postgres 18.4 finds no row when it checks a
 *   guard again after a wait, and the answer that waited for a suspend is lost (reproduced).
 * - The end of a child run is read in the statement's snapshot, so whoever answers with it comes after its commit. An ended run
 *   never changes: no lock. What it returned, or why it failed, goes on to the step to the letter.
 * - The step carries the whole event, put together here from the response, whose payload so never leaves Postgres, and
 *   stays to the letter what was published.
 */
export const answerStatement = statement(
  'answer_waits',
  `with w as materialized (
     select w.*, u.outcome, u.incarnation, u.partition, u.sequence_id, u.log_ms, u.is_unverified, u.resumed_with
     from (select * from unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[], $6::int8[], $7::float8[], $8::bool[], $9::text[])
             u(run_id, key, outcome, incarnation, partition, sequence_id, log_ms, is_unverified, resumed_with)
           order by run_id, key) u
     cross join lateral (
       select w.run_id, w.key, w.kind, w.topic, w.child_run_id, w.created_at, w.expires_at from waits w
       where w.run_id = u.run_id and w.key = u.key
         and (w.status || '' = 'open' or (u.is_unverified and w.status || '' = 'pending'))
         and u.outcome in (w.kind, 'timed_out') and (u.outcome in ('event', 'run', 'resume') or w.expires_at <= now())
       for no key update) w),
   r as materialized (
     select r.* from (select distinct run_id from w order by run_id) u
     cross join lateral (
       select r.id, r.epoch, r.wake, r.status, r.workflow from runs r
       where r.id = u.run_id and r.status || '' in ('queued', 'running', 'waiting', 'paused')
       for no key update) r),
   found as materialized (
     select w.*, e.stream, e.id, e.source, e.event_type, e.event_key, e.data, e.external, e.log_time,
       c.status as child_status, c.output as child_output, c.error as child_error,
       case when w.outcome = 'run' then c.finished_at when w.outcome = 'resume' then now() when e.data is null then w.expires_at
         else max(e.log_time) over (partition by w.run_id, e.stream, w.incarnation, w.partition order by w.sequence_id) end as at
     from (select w.*, r.epoch, r.wake, r.workflow from w join r on r.id = w.run_id offset 0) w
     left join lateral (
       (select s.stream, s.id, s.source, s.event_type, s.key as event_key, s.data, s.external, s.log_time from responses s
        where s.topic = w.topic and s.incarnation = w.incarnation and s.partition = w.partition and s.sequence_id = w.sequence_id
          and s.log_time > to_timestamp((w.log_ms - 1) / 1000) and s.log_time < to_timestamp((w.log_ms + 1) / 1000))
       union all
       (select s.stream, s.id, s.source, s.event_type, s.key, s.data, s.external, s.log_time from latest_responses s
        where s.topic = w.topic and s.incarnation = w.incarnation and s.partition = w.partition and s.sequence_id = w.sequence_id)
       limit 1) e on w.outcome = 'event'
     left join lateral (
       select c.status, c.output, c.error, c.finished_at from runs c
       where c.id = w.child_run_id and c.finished_at is not null offset 0) c on w.outcome = 'run'),
   answer as materialized (
     select f.run_id, f.key, f.kind, f.outcome, f.epoch, f.workflow, f.topic, f.created_at, f.incarnation, f.partition, f.sequence_id,
       f.is_unverified, f.log_time,
       f.wake + row_number() over (partition by f.run_id order by f.at, f.incarnation, f.partition, f.sequence_id, f.key) as wake,
       case f.outcome
         when 'time' then 'null'
         when 'resume' then f.resumed_with
         when 'run' then case f.child_status when 'completed' then f.child_output end
         when 'event' then concat('{"id":', to_json(f.id), ',"source":', to_json(f.source), ',"topic":', to_json(f.topic),
           ',"event_type":', coalesce(to_json(f.event_type)::text, 'null'), ',"data":', f.data,
           ',"key":', coalesce(to_json(f.event_key)::text, 'null'), ',"stream":', to_json(f.stream), ',"partition":', f.partition,
           ',"sequence_id":', f.sequence_id,
           ',"created_at":"', to_char(f.log_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '"',
           ',' || left(substr(f.external, 2), -1), '}')
       end as output,
       case when f.outcome = 'timed_out' then json_build_object('name', 'WaitTimeoutError',
         'message', concat(case f.kind when 'run' then 'its run did not end' when 'resume' then 'nobody resumed it' else 'no event on ' || f.topic end,
           ' within ', round(extract(epoch from f.expires_at - f.created_at), 3)::float8, ' s'),
         'code', 'wait_timeout', 'stack', null, 'step_key', f.key, 'topic', f.topic,
         'timeout_ms', round(extract(epoch from f.expires_at - f.created_at) * 1000)::int8, 'unverified', f.is_unverified)::text
       when f.child_status <> 'completed' then concat('{"name":"ChildRunError","message":', to_json(concat('run ', f.child_run_id, ' ', replace(f.child_status, '_', ' '))),
         ',"code":"child_run_failed","stack":null,"step_key":', to_json(f.key), ',"run_id":', to_json(f.child_run_id), ',"status":', to_json(f.child_status),
         ',"error":', coalesce(f.child_error, 'null'), '}')
       end as error
     from found f
     where case f.outcome when 'event' then f.data is not null when 'run' then f.child_status is not null else true end),
   answered as (
     update waits w
     set status = case a.outcome when 'timed_out' then 'timed_out' else 'answered' end, wake = a.wake, answered_at = now(),
         answered_incarnation = a.incarnation, answered_partition = a.partition, answered_offset = a.sequence_id,
         unverified = a.is_unverified
     from answer a where w.run_id = any (array[a.run_id]) and w.key = any (array[a.key])
     returning w.run_id, w.key, w.kind, w.status, w.topic, w.unverified, a.workflow, a.log_time, w.answered_at, w.created_at),
   woken as (
     update runs r
     set wake = r.wake + a.answers,
         epoch = r.epoch + (r.status = 'waiting')::int,
         queued_at = case r.status when 'waiting' then now() else r.queued_at end,
         status = case r.status when 'waiting' then 'queued' else r.status end
     from (select run_id, count(*) as answers from answer group by run_id) a
     where r.id = any (array[a.run_id])
     returning ${seedColumns}),
   stored as (
     insert into steps (run_id, key, kind, n, seen, epoch, output, error, started_at, finished_at)
     select a.run_id, a.key, case a.kind when 'run' then 'child' else a.kind end, 0, a.wake, a.epoch, a.output, a.error,
       a.created_at, now()
     from answer a order by a.run_id, a.key
     on conflict do nothing)
   select 'wait' as what, a.run_id as id, a.key, a.kind, a.status, a.topic, a.unverified, a.workflow, a.log_time, a.answered_at, a.created_at,
     null::int as epoch, null as queue, null::int as lost, null as build, null as input from answered a
   union all
   select 'run', n.id, null, null, null, null, null, n.workflow, null, null, null, n.epoch, n.queue, n.lost, n.build, n.input
   from woken n join r on r.id = n.id where r.status = 'waiting'`,
)

/** What answers a wait. An event is named by its place; its response is there. */
export type WaitOutcome =
  | { kind: 'event'; incarnation: number; partition: number; sequenceId: number; logTimeMs: number }
  | { kind: 'time' }
  /** The child run, which has ended. */
  | { kind: 'run' }
  /** `data`: JSON text. */
  | { kind: 'resume'; data: string }
  /** `unverified`: without the proof that no answer was on its way; a wait that is not open yet times out so too. */
  | { kind: 'timed_out'; unverified: boolean }

export interface WaitAnswer extends WaitRef {
  outcome: WaitOutcome
}

/** A wait that was answered or timed out just now. Times are ms since 1970. */
export interface AnsweredWait extends WaitRef {
  kind: 'event' | 'time' | 'run' | 'resume'
  status: 'answered' | 'timed_out'
  workflow: string
  topic: string | null
  unverified: boolean
  /** Of the event, by its stream's log; null where it was none. */
  logTimeMs: number | null
  createdAtMs: number
  answeredAtMs: number
}

export interface Answered {
  answers: AnsweredWait[]
  /** Runs that were parked: their next task. */
  queued: TaskSeed[]
}

interface WaitRow {
  what: 'wait'
  id: string
  key: string
  kind: AnsweredWait['kind']
  status: AnsweredWait['status']
  topic: string | null
  unverified: boolean
  workflow: string
  log_time: number | null
  created_at: number
  answered_at: number
}
export type AnswerRow = WaitRow | ({ what: 'run' } & SeedRow)

/** Waits of one statement: some ms of locks. Those of one run stay together, since their order is made there. */
const answersMax = 500

/**
 * Answers waits. Those that are not open any more, or whose run has ended, stay as they are and are not among what comes
 * back. Each part is one commit; throws only for outages and bugs, and then may be repeated whole.
 */
export async function answerWaits(store: Store, answers: readonly WaitAnswer[]): Promise<Answered> {
  const outcome: Answered = { answers: [], queued: [] }
  for (const part of partsByRun(answers)) {
    const values = answerValues(part)
    const rows = await withPartitions(
      store,
      part.map(({ runId }) => runId),
      async () => await withRetries(async () => await run<AnswerRow>(store.hot, answerStatement, values)),
    )
    for (const row of rows)
      if (row.what === 'wait') outcome.answers.push(toAnsweredWait(row))
      else outcome.queued.push(toTaskSeed(row))
  }
  return outcome
}

function partsByRun(answers: readonly WaitAnswer[]): WaitAnswer[][] {
  const once = new Map(answers.map((answer) => [refText(answer), answer]))
  const byRun = Map.groupBy(once.values(), ({ runId }) => runId)
  const parts: WaitAnswer[][] = []
  for (const group of byRun.values()) {
    const part = parts.at(-1)
    if (part && part.length + group.length <= answersMax) part.push(...group)
    else parts.push(group)
  }
  return parts
}

export function answerValues(answers: readonly WaitAnswer[]): unknown[] {
  const events = answers.map(({ outcome }) => (outcome.kind === 'event' ? outcome : null))
  return [
    answers.map(({ runId }) => runId),
    answers.map(({ key }) => key),
    answers.map(({ outcome }) => outcome.kind),
    events.map((event) => event?.incarnation ?? null),
    events.map((event) => event?.partition ?? null),
    events.map((event) => event?.sequenceId ?? null),
    events.map((event) => event?.logTimeMs ?? null),
    answers.map(({ outcome }) => outcome.kind === 'timed_out' && outcome.unverified),
    answers.map(({ outcome }) => (outcome.kind === 'resume' ? outcome.data : null)),
  ]
}

function toAnsweredWait(row: WaitRow): AnsweredWait {
  return {
    runId: row.id,
    key: row.key,
    kind: row.kind,
    status: row.status,
    workflow: row.workflow,
    topic: row.topic,
    unverified: row.unverified,
    logTimeMs: row.log_time,
    createdAtMs: row.created_at,
    answeredAtMs: row.answered_at,
  }
}
