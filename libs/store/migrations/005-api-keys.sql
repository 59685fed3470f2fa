-- Revisions of settings that are told on the config topic: of all kinds together, so that none is ever used twice.
create sequence config_revisions;

-- Secrets are stored as their SHA-256 only.
create table api_keys (
  id text primary key,
  name text not null,
  environment text not null,
  secret_sha256 bytea not null,
  -- The secret before the last rotation, which is valid until then.
  previous_sha256 bytea,
  previous_until timestamptz,
  scopes text[] not null,
  -- Null: as fast as it can.
  events_per_second int,
  revision int8 not null default nextval('config_revisions'),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  -- Kept as long as the row is: who reads the audit log finds the key's name.
  revoked_at timestamptz,
  constraint api_keys_hash check (octet_length(secret_sha256) = 32),
  constraint api_keys_previous check ((previous_sha256 is null) = (previous_until is null)),
  constraint api_keys_scopes check (cardinality(scopes) >= 1)
);
-- Whoever lost the answer that had a key's secret finds the key by its name, and no second one is made.
create unique index api_keys_name on api_keys (environment, name) where revoked_at is null;

-- Who changed what by way of the orchestrator or the command line. Never a secret, nor what an event or a run holds.
create table audit (
  id int8 primary key generated always as identity,
  at timestamptz not null default now(),
  -- Null: without a key.
  key_id text,
  action text not null,
  method text not null,
  path text not null,
  request_id text,
  before text,
  after text
);
create index audit_at on audit (at);
create index audit_key on audit (key_id, id);
create index audit_path on audit (path, id);
