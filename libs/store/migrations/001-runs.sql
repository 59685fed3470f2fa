-- Runs and their steps: range-partitioned by the time inside their uuidv7, one partition a day, made ahead by a duty
-- (create + attach), so that retention is dropping a table. There is no default partition: attaching beside one
-- would scan it under a lock. Payloads are text that holds JSON, never jsonb: \u0000 and lone surrogates are legal
-- JSON, which jsonb refuses, and one such row would fail its whole batch.
create table runs (
  id uuid not null primary key,
  workflow text not null,
  app text not null,
  -- That on which it began: of the worker that claimed it first; until then, of its workflow as it was registered.
  build text,
  queue text not null,
  status text not null,
  epoch int not null default 1,
  wake int not null default 0,
  lost int not null default 0,
  input text,
  output text,
  error text,
  tags jsonb not null default '{}',
  trigger_id text,
  trigger_version int,
  stream text,
  incarnation int,
  partition int,
  first_offset int8,
  last_offset int8,
  events int,
  since timestamptz not null,
  -- Of a workflow with a concurrency rule: whose share it counts against; '' where the rule or the event has no key.
  concurrency_key text,
  priority int not null default 0,
  worker_id text,
  claimed_at timestamptz,
  parent_run_id uuid,
  parent_step_key text,
  retry_of uuid,
  attempt int not null default 1,
  blocked_reason text,
  -- Builds whose code did not fit what it has stored: they do not get it again. Null once a person has resumed it.
  unfit_builds text[],
  -- A run that was started with a delay is held until then, with `blocked_reason` delayed.
  run_at timestamptz,
  -- When it times out: while it has not started, by the start time-out of its workflow; the first claim makes it the end
  -- of `run_timeout_ms`, or nothing.
  run_timeout_ms int8,
  expires_at timestamptz,
  traceparent text,
  created_at timestamptz not null default now(),
  queued_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  constraint runs_status check (status in ('queued', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled', 'timed_out')),
  constraint runs_fence check (epoch >= 1 and wake >= 0 and lost >= 0 and attempt >= 1),
  -- one outcome: a run has an end exactly when its status is one of the four that end it
  constraint runs_ended check ((status in ('completed', 'failed', 'cancelled', 'timed_out')) = (finished_at is not null)),
  constraint runs_outcome check ((status <> 'completed' or output is not null) and (status <> 'failed' or error is not null)),
  constraint runs_claimed check (status <> 'running' or (worker_id is not null and claimed_at is not null and started_at is not null)),
  constraint runs_queued check (status <> 'queued' or queued_at is not null),
  constraint runs_window check (num_nonnulls(trigger_id, trigger_version, stream, incarnation, partition, first_offset, last_offset, events) in (0, 8)
    and (first_offset is null or (first_offset >= 0 and last_offset >= first_offset and events between 1 and 1000 and partition >= 0))),
  constraint runs_concurrency check (blocked_reason <> 'concurrency' or concurrency_key is not null),
  constraint runs_tags check (jsonb_typeof(tags) = 'object')
) partition by range (id);

-- Stealing and the counts of a queue. Runs held back by flow rules are left out, so that nobody steals them.
create index runs_queued_index on runs (queue, queued_at) where status = 'queued' and blocked_reason is null;
-- What a worker has in hand: recovery, and runs a worker forgot.
create index runs_running_index on runs (worker_id) where status = 'running';
-- Finding: the runs of a workflow, newest first, and the run of an event. The predicate of the first is always true and
-- there for the planner: Postgres 18 can skip through (workflow, id) to find an id, and took that for looking up runs by
-- id while a partition was empty, instead of the primary key. A partial index needs `workflow = …` to be considered.
create index runs_workflow_index on runs (workflow, id) where workflow is not null;
create index runs_window_index on runs (trigger_id, stream, partition, first_offset) where trigger_id is not null;
-- The lists of those that went wrong, in the order of lists. A run that completes pays the test of the predicate only (measured: nothing).
create index runs_unsuccessful_index on runs (id) where status in ('failed', 'cancelled', 'timed_out');
-- The counts of waiting and paused runs. A run that never waits pays the test of the predicate only.
create index runs_parked_index on runs (queue, workflow) where status in ('waiting', 'paused');

-- Runs that are held until a time, and runs that time out. Those without pay the test of the predicate only.
create index runs_delayed_index on runs (run_at) where status = 'queued' and blocked_reason = 'delayed';
-- Runs that a concurrency rule holds, of each key in the order in which they are let in; and those it has let in, which are
-- counted. A run without a rule pays the test of the predicates only.
create index runs_held_index on runs (workflow, concurrency_key, created_at, stream, partition, first_offset, id)
  where status = 'queued' and blocked_reason = 'concurrency';
create index runs_admitted_index on runs (workflow, concurrency_key)
  where concurrency_key is not null and finished_at is null and coalesce(blocked_reason, '') not in ('concurrency', 'delayed');
create index runs_expiring_index on runs (expires_at) where expires_at is not null and finished_at is null;
-- Runs that wait for code that fits them.
create index runs_unfit_index on runs (workflow) where status = 'paused' and blocked_reason in ('replay_mismatch', 'duplicate_step_key');

-- No foreign key to runs: it would lock the run once more for every step, and the statements already hold that lock.
create table steps (
  run_id uuid not null,
  key text not null,
  kind text not null,
  n int not null,
  seen int not null default 0,
  epoch int not null,
  output text,
  error text,
  attempts int not null default 1,
  started_at timestamptz,
  finished_at timestamptz,
  primary key (run_id, key),
  constraint steps_kind check (kind in ('run', 'publish', 'invoke', 'event', 'time', 'child', 'resume', 'value')),
  constraint steps_order check (n >= 0 and seen >= 0 and epoch >= 1 and attempts >= 1),
  constraint steps_result check (num_nonnulls(output, error) <= 1)
) partition by range (run_id);

-- The caller's own ids of `POST /v1/runs`, written in the run's transaction. Also what a run's steps started, so that each
-- starts it once: `<run>/<key>` under the name `headrace:child`, which no workflow can have.
create table run_ids (
  workflow text not null,
  external_id text not null,
  run_id uuid not null,
  created_at timestamptz not null default now(),
  primary key (workflow, external_id)
);
create unique index run_ids_run on run_ids (run_id);

-- What the timeline cannot take from runs, steps and waits. One note of a kind an epoch: it also proves a resent release,
-- and that a run was retried, with the new run's id as its detail, for as long as the run that was retried is kept.
create table run_notes (
  run_id uuid not null,
  epoch int not null,
  kind text not null,
  -- Who had the run in hand when this happened, and since when.
  worker_id text,
  claimed_at timestamptz,
  detail text,
  at timestamptz not null default now(),
  primary key (run_id, epoch, kind),
  constraint run_notes_kind check (kind in ('released', 'parked', 'lost', 'forgotten', 'stolen', 'paused', 'resumed', 'cancelled', 'timed_out', 'retried'))
);
