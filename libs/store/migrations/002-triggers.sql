-- What the workers registered. One row of `apps` is what a registration locks first.
create table apps (
  id text primary key,
  current_build text,
  created_at timestamptz not null default now(),
  registered_at timestamptz not null default now()
);

-- A build is newer than another of its app when it was first registered later.
create table builds (
  app text not null references apps (id),
  id text not null,
  definition jsonb not null,
  first_registered_at timestamptz not null default clock_timestamp(),
  last_registered_at timestamptz not null default clock_timestamp(),
  primary key (app, id)
);

create table workflows (
  id text primary key,
  app text not null references apps (id),
  build text not null,
  queue text not null,
  on_deploy text not null default 'upgrade',
  -- What its runs begin with: the time until their first claim, and from then on to their end.
  start_timeout_ms int8,
  run_timeout_ms int8,
  -- Runs at a time, of each value of the expression; null: any number.
  concurrency_limit int,
  concurrency_key text,
  -- Too many of its runs are queued: its triggers wait.
  backpressured_since timestamptz,
  status text not null default 'live',
  -- By a person: none of its runs begins. Apart from the status, so that retiring and coming back do not end it.
  paused_at timestamptz,
  definition jsonb not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  retired_at timestamptz,
  constraint workflows_on_deploy check (on_deploy in ('upgrade', 'pin')),
  constraint workflows_status check (status in ('live', 'retired')),
  constraint workflows_concurrency check (concurrency_limit >= 1 and (concurrency_key is null or concurrency_limit is not null)),
  constraint workflows_retired check ((status = 'retired') = (retired_at is not null))
);
create index workflows_app on workflows (app);
-- What every claim asks for: nearly always nothing.
create index workflows_paused on workflows (id) where paused_at is not null;
create index workflows_pinned on workflows (id) where on_deploy = 'pin';

create table triggers (
  id text primary key,
  workflow text not null,
  app text not null,
  build text not null,
  queue text not null,
  pattern text not null,
  stream text not null,
  window_size int not null,
  window_timeout_ms int8,
  window_max_bytes int not null,
  window_key text,
  filter text,
  -- What its workflow rules its runs by, as far as a window says it: `{"concurrency":{"key":…}}`.
  flow jsonb,
  gap_policy text not null default 'stop',
  on_deploy text not null default 'upgrade',
  status text not null default 'live',
  reason text,
  -- What a person decided; it outlasts retirement, so that who comes back is paused again.
  paused boolean not null default false,
  version int not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  retired_at timestamptz,
  constraint triggers_window check (window_size between 1 and 1000 and window_max_bytes >= 1 and (window_timeout_ms is null or window_timeout_ms >= 1)),
  constraint triggers_on_deploy check (on_deploy in ('upgrade', 'pin')),
  constraint triggers_gap_policy check (gap_policy in ('stop', 'continue')),
  constraint triggers_status check (status in ('live', 'paused', 'retired')),
  constraint triggers_retired check ((status = 'retired') = (retired_at is not null)),
  constraint triggers_paused check (status = 'retired' or (status = 'paused') = paused),
  constraint triggers_version check (version >= 1)
);
create index triggers_workflow on triggers (workflow);
create index triggers_stream on triggers (stream);

-- The truth about how far a trigger has come on a partition. `revision` is the compare-and-set; `version` is the
-- definition a lane must be working by. Without a foreign key: the projection of waited streams has cursors too.
-- Half-empty pages keep the updates of the hottest rows of all on their page (HOT). The key begins with what a lane
-- loads by; a second index on it was taken for the look-up of a flush while the table was small.
create table trigger_cursors (
  trigger_id text not null,
  stream text not null,
  partition int not null,
  incarnation int not null default 1,
  next_offset int8 not null,
  done int8multirange not null default '{}',
  revision int8 not null default 0,
  version int not null,
  last_offset int8,
  last_ts timestamptz,
  last_id text,
  status text not null default 'live',
  reason text,
  -- Offsets that retention took before the trigger saw them, since it was last reset.
  lost int8 not null default 0,
  -- What its open windows held when it was noted last, for people; once `next_offset` has moved on, they are others.
  open_events int,
  open_since timestamptz,
  open_offset int8,
  updated_at timestamptz not null default now(),
  primary key (stream, partition, trigger_id),
  constraint trigger_cursors_position check (next_offset >= 0 and partition >= 0 and incarnation >= 1 and lost >= 0),
  constraint trigger_cursors_fence check (revision >= 0 and version >= 1),
  constraint trigger_cursors_status check (status in ('live', 'paused', 'stopped'))
) with (fillfactor = 50);

-- Stretches of a stream of which a trigger starts runs again, a row for each partition. While it runs it has a cursor of its
-- own in `trigger_cursors`, under the name <trigger>:<id>: so each of its windows starts one run, whatever dies.
create table replays (
  id uuid not null,
  trigger_id text not null,
  stream text not null,
  partition int not null,
  from_offset int8 not null,
  to_offset int8 not null,
  dry_run boolean not null,
  status text not null default 'running',
  reason text,
  -- What a dry run counted.
  windows int8,
  events int8,
  filtered int8,
  repeats int8,
  dead_letters int8,
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  primary key (trigger_id, id, partition),
  constraint replays_range check (from_offset >= 0 and to_offset >= from_offset and partition >= 0),
  constraint replays_status check (status in ('running', 'done', 'failed', 'cancelled')),
  constraint replays_finished check ((status = 'running') = (finished_at is null))
);
create index replays_trigger on replays (trigger_id, created_at);
create index replays_running on replays (trigger_id) where status = 'running';

-- Ids that came from outside, by which repeats are recognised. Rows of `publishEvent` live as long as their run.
create table event_ids (
  stream text not null,
  source text not null,
  id text not null,
  incarnation int not null default 1,
  partition int not null,
  sequence_id int8 not null,
  log_time timestamptz not null,
  run_id uuid,
  primary key (stream, source, id)
);
create index event_ids_sweep on event_ids (stream, log_time) where run_id is null;
create index event_ids_run on event_ids (stream, run_id) where run_id is not null;

-- How far `event_ids` was swept: of a stream's ids of before `swept_to` some are gone. Who is about to settle events for
-- which they matter reads them from the log again first, and lowers it; `revision` is the compare-and-set of that.
create table event_id_sweeps (
  stream text primary key,
  swept_to timestamptz not null default to_timestamp(0),
  revision int8 not null default 0
);

-- What lost an event that no rule would tell of, kept for 7 days: what explain answers from. A `repeat` is one for all
-- triggers of its stream (`trigger_id` is empty), and says where its id was seen first. A `gap` is what one trigger passed
-- over, from `sequence_id` to `last_sequence_id`.
create table decisions (
  kind text not null,
  stream text not null,
  partition int not null,
  incarnation int not null,
  trigger_id text not null default '',
  sequence_id int8 not null,
  last_sequence_id int8 not null,
  first_incarnation int,
  first_partition int,
  first_sequence_id int8,
  at timestamptz not null default now(),
  primary key (kind, stream, partition, incarnation, trigger_id, sequence_id),
  constraint decisions_kind check (kind in ('repeat', 'gap')),
  constraint decisions_range check (last_sequence_id >= sequence_id),
  constraint decisions_repeat check (num_nonnulls(first_incarnation, first_partition, first_sequence_id) = case kind when 'repeat' then 3 else 0 end),
  constraint decisions_trigger check ((kind = 'repeat') = (trigger_id = ''))
);
create index decisions_at on decisions (at);

-- What people decided about dead letters; the records themselves stay on their topic. `log_time` is that of the record: on
-- a topic that was made anew the same offset names another one. A decision is kept for longer than its record.
create table dead_letters (
  partition int not null,
  sequence_id int8 not null,
  log_time timestamptz not null,
  status text not null default 'open',
  -- When its record was first published again: the decision follows when Kafka has it.
  begun_at timestamptz,
  -- The run that a window became.
  run_id uuid,
  reason text,
  decided_at timestamptz,
  decided_by text,
  primary key (partition, sequence_id, log_time),
  constraint dead_letters_status check (status in ('open', 'redriven', 'discarded')),
  constraint dead_letters_decided check ((status = 'open') = (decided_at is null))
);
