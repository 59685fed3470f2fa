import type { StoredKey } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { run, statement, transaction } from '../statement.ts'

/** A key as it is kept. Times are ms since 1970. */
export interface KeyRecord {
  id: string
  name: string
  environment: string
  /** Of its secret. */
  sha256: Buffer
  previousSha256: Buffer | null
  previousUntil: number | null
  scopes: string[]
  eventsPerSecond: number | null
  /** Rises with every change of any setting. */
  revision: number
  createdAt: number
  expiresAt: number | null
  revokedAt: number | null
}
type KeyRow = KeyRecord & Record<string, unknown>

const columns = `k.id, k.name, k.environment, k.secret_sha256 as sha256, k.previous_sha256 as "previousSha256",
  k.previous_until as "previousUntil", k.scopes, k.events_per_second as "eventsPerSecond", k.revision,
  k.created_at as "createdAt", k.expires_at as "expiresAt", k.revoked_at as "revokedAt"`

export type NewKey = Pick<
  KeyRecord,
  'id' | 'name' | 'environment' | 'sha256' | 'scopes' | 'eventsPerSecond' | 'expiresAt'
>

const createStatement = statement(
  'create_key',
  `insert into api_keys as k (id, name, environment, secret_sha256, scopes, events_per_second, expires_at)
   select $1, $2, $3, $4, $5, $6, to_timestamp($7::float8 / 1000)
   where (select count(*) from api_keys where revoked_at is null) < $8
   on conflict (environment, name) where revoked_at is null do nothing
   returning ${columns}`,
)
const namedStatement = statement(
  'key_by_name',
  `select ${columns} from api_keys k where k.environment = $1 and k.name = $2 and k.revoked_at is null`,
)

export type CreateKeyOutcome =
  | { status: 'created'; key: KeyRecord }
  /** One that is not revoked has the name, in the same environment. */
  | { status: 'exists'; key: KeyRecord }
  | { status: 'too_many' }

/** `keysMax`: of those that are not revoked. */
export async function createKey(
  store: Store,
  key: NewKey,
  { keysMax }: { keysMax: number },
): Promise<CreateKeyOutcome> {
  const { id, name, environment, sha256, scopes, eventsPerSecond, expiresAt } = key
  const values = [id, name, environment, sha256, scopes, eventsPerSecond, expiresAt, keysMax]
  const [created] = await run<KeyRow>(store.general, createStatement, values)
  if (created !== undefined) return { status: 'created', key: created }
  const [there] = await run<KeyRow>(store.general, namedStatement, [environment, name])
  return there === undefined ? { status: 'too_many' } : { status: 'exists', key: there }
}

const rotateStatement = statement(
  'rotate_key',
  `update api_keys k set secret_sha256 = $2, previous_sha256 = k.secret_sha256,
     previous_until = now() + make_interval(secs => $3::float8 / 1000), revision = nextval('config_revisions')
   where k.id = $1 and k.revoked_at is null
   returning ${columns}`,
)

/** Gives a key another secret; the one before stays valid for `graceMs`, the one before that does not. Null: there is no such key. */
export async function rotateKey(
  store: Store,
  { id, sha256, graceMs }: { id: string; sha256: Buffer; graceMs: number },
): Promise<KeyRecord | null> {
  const [row] = await run<KeyRow>(store.general, rotateStatement, [id, sha256, graceMs])
  return row ?? null
}

const revokeStatement = statement(
  'revoke_key',
  `update api_keys k set revoked_at = now(), revision = nextval('config_revisions')
   where k.id = $1 and k.revoked_at is null`,
)
const oneStatement = statement('one_key', `select ${columns} from api_keys k where k.id = $1`)

/** Null: there is no such key. One that is revoked already stays as it is. */
export async function revokeKey(store: Store, id: string): Promise<KeyRecord | null> {
  await run(store.general, revokeStatement, [id])
  return await getKey(store, id)
}

export async function getKey(store: Store, id: string): Promise<KeyRecord | null> {
  const [row] = await run<KeyRow>(store.general, oneStatement, [id])
  return row ?? null
}

const listStatement = statement(
  'list_keys',
  `select ${columns} from api_keys k where k.id > $1 order by k.id limit $2`,
)

/** Keys by id, also revoked ones. `after`: the last one of the page before, '' for the first page. */
export async function listKeys(
  store: Store,
  { after, limit }: { after: string; limit: number },
): Promise<{ keys: KeyRecord[]; nextCursor: string | null }> {
  const rows = await run<KeyRow>(store.general, listStatement, [after, limit + 1])
  const keys = rows.slice(0, limit)
  return { keys, nextCursor: rows.length > limit ? (keys.at(-1)?.id ?? null) : null }
}

const validStatement = statement(
  'valid_keys',
  `select ${columns} from api_keys k where k.revoked_at is null order by k.id`,
)

/** All keys that are not revoked, as they are told to those who check keys. */
export async function validKeys(store: Store): Promise<{ key: StoredKey; revision: number }[]> {
  const rows = await run<KeyRow>(store.general, validStatement, [])
  return rows.map((row) => ({ key: storedKey(row), revision: row.revision }))
}

function storedKey(record: KeyRecord): StoredKey {
  const { id, environment, scopes, previousSha256, previousUntil } = record
  return {
    id,
    environment,
    scopes,
    events_per_second: record.eventsPerSecond,
    expires_at: record.expiresAt,
    sha256: record.sha256.toString('hex'),
    previous:
      previousSha256 === null || previousUntil === null
        ? null
        : { sha256: previousSha256.toString('hex'), until: previousUntil },
  }
}

const goneStatement = statement(
  'gone_key_revision',
  `select nextval('config_revisions') as revision
   where not exists (select 1 from api_keys k where k.id = $1 and k.revoked_at is null)`,
)

/**
 * The revision under which it may be told that a key is not valid; null: it is. Told under a revision from before, a key that
 * is being made would count against that; so whoever makes one is waited for.
 */
export async function goneKeyRevision(store: Store, id: string): Promise<number | null> {
  return await transaction(store.general, async (client) => {
    await client.query('lock table api_keys in share row exclusive mode')
    const [row] = await run<{ revision: number }>(client, goneStatement, [id])
    return row?.revision ?? null
  })
}
