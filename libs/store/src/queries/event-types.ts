import type { ContentModel, EventTypeMode, SchemaType, TypeSchema } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { run, statement, transaction } from '../statement.ts'
import { workerDeadAfterMs } from './recover-runs.ts'

/** An event type as it is kept. Times are ms since 1970. */
export interface EventTypeRecord {
  name: string
  pattern: string
  schemaType: SchemaType
  schema: TypeSchema
  mode: EventTypeMode
  contentModel: ContentModel
  subject: string
  /** Where a registry has it; null: none has. */
  registered: RegisteredVersion | null
  /** Rises with every change of any setting. */
  revision: number
  createdAt: number
  updatedAt: number
}

export interface RegisteredVersion {
  id: number
  version: number
  /** Of this version in the registry. */
  url: string
}

interface EventTypeRow extends Record<string, unknown>, Omit<EventTypeRecord, 'schema' | 'registered'> {
  schema: string
  id: number | null
  version: number | null
  url: string | null
}

const columns = `e.name, e.pattern, e.schema_type as "schemaType", e.schema, e.mode, e.content_model as "contentModel", e.subject,
  e.schema_id as id, e.version, e.dataschema as url, e.revision, e.created_at as "createdAt", e.updated_at as "updatedAt"`

const toRecord = ({ id, version, url, schema, ...row }: EventTypeRow): EventTypeRecord => ({
  ...row,
  schema: JSON.parse(schema) as TypeSchema,
  registered: id === null || version === null || url === null ? null : { id, version, url },
})

const namesStatement = statement(
  'list_event_types',
  `select e.name, e.pattern, e.revision from event_types e order by e.name`,
)

/** All event types by name, without their schemas. */
export async function listEventTypes(
  store: Store,
): Promise<Pick<EventTypeRecord, 'name' | 'pattern' | 'revision'>[]> {
  return await run(store.general, namesStatement, [])
}

const readStatement = statement(
  'read_event_types',
  `select ${columns} from event_types e where e.name = any ($1::text[]) order by e.name`,
)

/** Those of these names that there are, by name. */
export async function readEventTypes(store: Store, names: readonly string[]): Promise<EventTypeRecord[]> {
  if (names.length === 0) return []
  return (await run<EventTypeRow>(store.general, readStatement, [names])).map(toRecord)
}

export interface WrittenEventType extends Omit<EventTypeRecord, 'revision' | 'createdAt' | 'updatedAt'> {
  /** The revision that this change is made to; null: there is no such event type. */
  before: number | null
}

export type WriteOutcome =
  | { kind: 'written'; types: EventTypeRecord[] }
  /** One of them was changed, made or deleted meanwhile: nothing was written. */
  | { kind: 'overtaken' }
  | { kind: 'too_many' }

const revisionsStatement = statement(
  'event_type_revisions',
  `select e.name, e.revision from event_types e where e.name = any ($1::text[])`,
)
const countStatement = statement('count_event_types', 'select count(*)::int as count from event_types')
const writeStatement = statement(
  'write_event_types',
  `insert into event_types as e (name, pattern, schema_type, schema, mode, content_model, subject, schema_id, version, dataschema)
   select u.* from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::int[], $10::text[])
     u(name, pattern, schema_type, schema, mode, content_model, subject, schema_id, version, dataschema)
   on conflict (name) do update set pattern = excluded.pattern, schema_type = excluded.schema_type, schema = excluded.schema,
     mode = excluded.mode, content_model = excluded.content_model, subject = excluded.subject, schema_id = excluded.schema_id,
     version = excluded.version, dataschema = excluded.dataschema, revision = nextval('config_revisions'), updated_at = now()
   returning ${columns}`,
)

/** Writes all of them, or none. They are rare: one writer at a time is simple, and readers go on. */
export async function writeEventTypes(
  store: Store,
  types: readonly WrittenEventType[],
  { eventTypesMax }: { eventTypesMax: number },
): Promise<WriteOutcome> {
  return await transaction(store.general, async (client): Promise<WriteOutcome> => {
    await client.query('lock table event_types in share row exclusive mode')
    const names = types.map(({ name }) => name)
    const found = await run<{ name: string; revision: number }>(client, revisionsStatement, [names])
    const revisions = new Map(found.map(({ name, revision }) => [name, revision]))
    if (types.some(({ name, before }) => (revisions.get(name) ?? null) !== before))
      return { kind: 'overtaken' }
    const [counted] = await run<{ count: number }>(client, countStatement, [])
    const more = types.filter(({ before }) => before === null).length
    if (more > 0 && (counted?.count ?? 0) + more > eventTypesMax) return { kind: 'too_many' }
    const rows = await run<EventTypeRow>(client, writeStatement, [
      names,
      types.map(({ pattern }) => pattern),
      types.map(({ schemaType }) => schemaType),
      types.map(({ schema }) => JSON.stringify(schema)),
      types.map(({ mode }) => mode),
      types.map(({ contentModel }) => contentModel),
      types.map(({ subject }) => subject),
      types.map(({ registered }) => registered?.id ?? null),
      types.map(({ registered }) => registered?.version ?? null),
      types.map(({ registered }) => registered?.url ?? null),
    ])
    return { kind: 'written', types: rows.map(toRecord) }
  })
}

const deleteStatement = statement(
  'delete_event_type',
  'delete from event_types e where e.name = $1 returning e.name',
)

/** False: there was none. The registry keeps what it has. */
export async function deleteEventType(store: Store, name: string): Promise<boolean> {
  const gone = await run(store.general, deleteStatement, [name])
  return gone.length > 0
}

const goneStatement = statement(
  'gone_event_type_revision',
  `select nextval('config_revisions') as revision where not exists (select 1 from event_types e where e.name = $1)`,
)

/**
 * The revision under which it may be told that there is no such event type; null: there is. One that is being written is
 * waited for: committed later under a revision from before, it would not count against what is told.
 */
export async function goneEventTypeRevision(store: Store, name: string): Promise<number | null> {
  return await transaction(store.general, async (client) => {
    await client.query('lock table event_types in share row exclusive mode')
    const [row] = await run<{ revision: number }>(client, goneStatement, [name])
    return row?.revision ?? null
  })
}

const newerStatement = statement(
  'newer_build_lives',
  `select exists (
     select 1 from builds newer
     join workers w on w.app = newer.app and w.build = newer.id
     where newer.app = $1 and newer.id <> $2
       and newer.first_registered_at > coalesce((select b.first_registered_at from builds b where b.app = $1 and b.id = $2), 'infinity')
       and w.status = 'live' and w.last_heartbeat_at > now() - make_interval(secs => $3::float8 / 1000)) as newer`,
)

/** Has a build of the app that came later than this one a living worker? */
export async function newerBuildLives(
  store: Store,
  { app, build }: { app: string; build: string },
): Promise<boolean> {
  const [row] = await run<{ newer: boolean }>(store.general, newerStatement, [app, build, workerDeadAfterMs])
  return row?.newer ?? false
}
