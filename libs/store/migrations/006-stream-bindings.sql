-- The external streams: which Kafka topic a stream's name is bound to, and how its records are read.
create table stream_bindings (
  stream text primary key,
  kafka_topic text not null unique,
  -- The rule as JSON; it holds the Kafka topic too.
  rule text not null,
  revision int8 not null default nextval('config_revisions'),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
