-- Steps that are answered from outside.
create table waits (
  run_id uuid not null,
  key text not null,
  kind text not null,
  status text not null default 'pending',
  topic text,
  stream text,
  filter text,
  -- Of a `cancel`: what its filter asks of the first event of its run, as JSON; null: nothing.
  first_event text,
  -- From when on every event is looked at, and from when on one was asked for: earlier, where that is further back than
  -- the look-back. In between only the latest of the topic is known.
  since timestamptz not null,
  asked_since timestamptz not null,
  -- On the partition of the run's own window the offsets from `after_from` to `after_offset` never answer.
  after_incarnation int,
  after_partition int,
  after_from int8,
  after_offset int8,
  child_run_id uuid,
  epoch int not null,
  -- The answers the run had received when it called the wait: an event that one of them brought, on the same topic with
  -- the same filter, does not answer again.
  seen int not null default 0,
  -- The wake that its answer made.
  wake int,
  -- None of a `cancel`, which ends with its run.
  expires_at timestamptz,
  -- When the open wait had looked for its answer by itself. Null again when it is opened: it has not looked since.
  checked_at timestamptz,
  answered_incarnation int,
  answered_partition int,
  answered_offset int8,
  lookback_truncated boolean not null default false,
  -- Timed out without the proof that no answer was on its way.
  unverified boolean not null default false,
  created_at timestamptz not null default now(),
  answered_at timestamptz,
  primary key (run_id, key),
  constraint waits_kind check (kind in ('event', 'time', 'run', 'resume', 'cancel')),
  constraint waits_status check (status in ('pending', 'open', 'answered', 'timed_out', 'cancelled')),
  constraint waits_event check (kind not in ('event', 'cancel') or (topic is not null and stream is not null)),
  constraint waits_expires check ((expires_at is null) = (kind = 'cancel')),
  constraint waits_child check (kind <> 'run' or child_run_id is not null),
  constraint waits_after check (num_nonnulls(after_incarnation, after_partition, after_from, after_offset) in (0, 4)),
  constraint waits_lookback check (asked_since <= since and lookback_truncated = (asked_since < since)),
  constraint waits_answered check ((status in ('answered', 'timed_out')) = (answered_at is not null))
);
create index waits_open_topic on waits (topic, run_id, key) where status = 'open';
-- What a run waits for, and the sweep of those whose run has ended.
create index waits_live on waits (run_id, key) where status in ('pending', 'open');
create index waits_unchecked on waits (created_at) where checked_at is null and status in ('pending', 'open');
create index waits_due on waits (kind, expires_at) where status in ('pending', 'open');
create index waits_pending on waits (stream, since) where status = 'pending';
-- Which waits an event answered. Waits that no event answers pay the test of the predicate only.
create index waits_answered on waits (stream, answered_partition, answered_offset) where answered_offset is not null;
create index waits_child on waits (child_run_id) where kind = 'run' and status in ('pending', 'open');

-- Copies of events on waited streams, hourly by the event's time, which is part of the key. The key is the order in which
-- a wait looks for its answer: on each partition by offset, from the last one its run received. A topic has one stream.
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
  -- Of an event of an external stream: what its record says beside the event, the members of a JSON object.
  external text,
  primary key (topic, incarnation, partition, sequence_id, log_time)
) partition by range (log_time);

-- What was read of each partition of the response topic: all below `next_offset` is in `responses`, and was matched.
create table correlator_cursors (
  partition int primary key,
  next_offset int8 not null,
  -- No response that is being stored and matched now, or comes next, is older: retention stays behind it.
  log_time timestamptz not null,
  updated_at timestamptz not null default now(),
  constraint correlator_cursors_position check (partition >= 0 and next_offset >= 0)
);

-- The streams that somebody waited on. `projected_from`: the earliest `since` that was asked for. `open_from`: what is
-- on `responses`, complete and in order, so that a wait from there on may be answered; null until the first time.
create table waited_streams (
  stream text primary key,
  projected_from timestamptz not null,
  open_from timestamptz,
  created_at timestamptz not null default now(),
  constraint waited_streams_open check (open_from is null or open_from >= projected_from)
);

-- How far back each partition of a waited stream is projected: from `from_offset`, the first not older than
-- `projected_from`, up to the projection's cursor in `trigger_cursors`.
create table projections (
  stream text not null,
  partition int not null,
  incarnation int not null default 1,
  projected_from timestamptz not null,
  from_offset int8 not null,
  primary key (stream, partition),
  constraint projections_position check (partition >= 0 and from_offset >= 0 and incarnation >= 1)
);

-- The latest response of each topic, kept when its hour of `responses` is dropped: what a wait finds whose `since` is
-- older than the look-back.
create table latest_responses (
  topic text primary key,
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
  external text
);
create index latest_responses_age on latest_responses (log_time);
