-- Event types: which topics have data of which schema.
create table event_types (
  -- Follows from the pattern.
  name text primary key,
  pattern text not null,
  schema_type text not null,
  -- As JSON.
  schema text not null,
  mode text not null,
  content_model text not null,
  -- In the schema registry; the three below are null as long as no registry has it.
  subject text not null,
  schema_id int,
  version int,
  dataschema text,
  revision int8 not null default nextval('config_revisions'),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint event_types_registered check (num_nulls(schema_id, version, dataschema) in (0, 3))
);
