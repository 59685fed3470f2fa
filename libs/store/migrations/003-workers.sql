-- One row for each start of a worker process. `absent_*` are the runs in its hands that its last heartbeat did not
-- list: the second heartbeat that leaves one out proves it forgotten.
create table workers (
  id text primary key,
  app text not null,
  build text not null,
  queue text not null,
  host text not null,
  sdk text not null,
  concurrency int not null,
  workflows text[] not null,
  -- The API key with which it registered: nobody else speaks for it. Null: keys were off.
  key_id text,
  partitions int[] not null default '{}',
  status text not null default 'live',
  stalled_ms int8 not null default 0,
  started_at timestamptz not null default now(),
  last_heartbeat_at timestamptz not null default now(),
  previous_heartbeat_at timestamptz,
  absent_runs uuid[] not null default '{}',
  absent_epochs int[] not null default '{}',
  died_at timestamptz,
  constraint workers_status check (status in ('live', 'draining', 'dead')),
  constraint workers_died check ((status = 'dead') = (died_at is not null)),
  constraint workers_absent check (cardinality(absent_runs) = cardinality(absent_epochs))
) with (fillfactor = 50);
create index workers_build on workers (app, build) where status <> 'dead';

-- The heartbeats of the services themselves. `unbroken_since` is what lets an orchestrator judge workers.
create table instances (
  id text primary key,
  component text not null,
  version text not null,
  started_at timestamptz not null default now(),
  last_beat_at timestamptz not null default now(),
  unbroken_since timestamptz not null default now(),
  constraint instances_component check (component in ('gateway', 'trigger_service', 'orchestrator'))
) with (fillfactor = 50);
