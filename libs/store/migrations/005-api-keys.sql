-- Secrets are stored as their SHA-256 only.
create table api_keys (
  id text primary key,
  name text not null,
  secret_sha256 bytea not null,
  scopes text[] not null,
  rate_limit jsonb,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  constraint api_keys_hash check (octet_length(secret_sha256) = 32),
  constraint api_keys_scopes check (cardinality(scopes) >= 1)
);
create unique index api_keys_secret on api_keys (secret_sha256);
