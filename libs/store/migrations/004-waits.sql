-- Steps that are answered from outside.
create table waits (
  run_id uuid not null,
  key text not null,
  kind text not null,
  status text not null default 'pending',
  topic text,
  stream text,
  filter text,
  since timestamptz not null,
  after_incarnation int,
  after_partition int,
  after_offset int8,
  child_run_id uuid,
  epoch int not null,
  wake int,
  expires_at timestamptz not null,
  checked_at timestamptz,
  answered_incarnation int,
  answered_partition int,
  answered_offset int8,
  lookback_truncated boolean not null default false,
  created_at timestamptz not null default now(),
  answered_at timestamptz,
  primary key (run_id, key),
  constraint waits_kind check (kind in ('event', 'time', 'run', 'resume', 'cancel')),
  constraint waits_status check (status in ('pending', 'open', 'answered', 'timed_out', 'cancelled')),
  constraint waits_event check (kind not in ('event', 'cancel') or (topic is not null and stream is not null)),
  constraint waits_child check (kind <> 'run' or child_run_id is not null),
  constraint waits_answered check ((status in ('answered', 'timed_out')) = (answered_at is not null))
);
create index waits_open_topic on waits (topic) where status = 'open';
create index waits_unchecked on waits (created_at) where checked_at is null and status in ('pending', 'open');
create index waits_due on waits (expires_at) where status in ('pending', 'open');
create index waits_child on waits (child_run_id) where kind = 'run' and status in ('pending', 'open');

-- Copies of events on waited streams, hourly by the event's time, which is part of the key.
create table responses (
  topic text not null,
  log_time timestamptz not null,
  stream text not null,
  incarnation int not null,
  partition int not null,
  sequence_id int8 not null,
  id text not null,
  source text not null,
  event_type text,
  key text,
  data text not null,
  traceparent text,
  primary key (topic, log_time, stream, incarnation, partition, sequence_id)
) partition by range (log_time);

create table correlator_cursors (
  partition int primary key,
  next_offset int8 not null,
  revision int8 not null default 0,
  updated_at timestamptz not null default now(),
  constraint correlator_cursors_position check (partition >= 0 and next_offset >= 0)
);

create table waited_streams (
  stream text primary key,
  projected_from timestamptz not null,
  created_at timestamptz not null default now()
);

-- One row for each concurrency key with runs: what `admit` locks, in key order.
create table concurrency_slots (
  workflow text not null,
  key text not null,
  slots int not null,
  updated_at timestamptz not null default now(),
  primary key (workflow, key),
  constraint concurrency_slots_positive check (slots >= 1)
);
create index runs_concurrency_index on runs (workflow, concurrency_key) where concurrency_key is not null and finished_at is null;
