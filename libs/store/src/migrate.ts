import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { Client } from 'pg'
import { openStore, sessionMark, type Store, urlWithSettings } from './connection.ts'
import { ensurePartitions } from './partitions.ts'
import { UrlClient } from './url-client.ts'

/** Beside `src` and beside `dist`: found from the source and from the compiled package. */
const migrationsFolder = new URL('../migrations/', import.meta.url)
/** How many migrations there are. Asserted, so that a package that lost one does not start on half a schema. */
export const migrationsExpected = 7
/** Any fixed number: one migrator at a time in a database. */
const migrationsLock = 7_216_001

interface Migration {
  /** `001-runs`. */
  name: string
  sql: string
  sha256: string
}

/** The hand-written migrations in order. Throws when one is missing, doubled or not numbered in sequence. */
async function readMigrations(): Promise<Migration[]> {
  const files = (await readdir(migrationsFolder)).filter((file) => file.endsWith('.sql')).sort()
  if (files.length !== migrationsExpected)
    throw new Error(`Expected ${migrationsExpected} migrations in the package, found ${files.length}`)
  return await Promise.all(
    files.map(async (file, index) => {
      if (Number(file.slice(0, 3)) !== index + 1) throw new Error(`Migration ${file} is out of sequence`)
      const sql = await readFile(new URL(file, migrationsFolder), 'utf8')
      return { name: file.slice(0, -4), sql, sha256: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

/**
 * Brings the database at `url` to this version: each migration that is not there yet in a transaction of its own,
 * under an advisory lock, then the partitions of these days. Safe to run from any number of processes at once.
 * Throws when a migration that was applied has changed since, or when the database is newer than this version knows
 * (an older instance during an upgrade runs on it, but does not migrate it).
 */
export async function migrate(
  url: string,
  options: { log?: (migration: string) => void } = {},
): Promise<{ applied: string[] }> {
  const migrations = await readMigrations()
  const client = new UrlClient({
    connectionString: urlWithSettings(url, ['timezone=UTC']),
    application_name: 'headrace-migrate',
  })
  await client.connect()
  const applied: string[] = []
  try {
    await client.query('select pg_advisory_lock($1)', [migrationsLock])
    await makeSchema(client)
    await client.query(
      `create table if not exists headrace_migrations (
         number int primary key, name text not null, sha256 text not null, applied_at timestamptz not null default now())`,
    )
    const { rows } = await client.query<{ name: string; sha256: string }>(
      'select name, sha256 from headrace_migrations order by number',
    )
    assertHistory(migrations, rows)
    for (const [index, migration] of migrations.entries()) {
      if (index < rows.length) continue
      await applyOne(client, index + 1, migration)
      options.log?.(migration.name)
      applied.push(migration.name)
    }
  } finally {
    await client.end()
  }
  const store = openStore({ url, applicationName: 'headrace-migrate', hotConnections: 1, connections: 1 })
  try {
    await ensurePartitions(store)
  } finally {
    await store.close()
  }
  return { applied }
}

/** The schema that `search_path` names, where there is none of it yet. */
async function makeSchema(client: Client): Promise<void> {
  const { rows } = await client.query<{ there: boolean; path: string }>(
    `select current_schema() is not null as there, current_setting('search_path') as path`,
  )
  const [row] = rows
  if (row === undefined || row.there || !/^[a-z_][a-z0-9_]*$/.test(row.path)) return
  await client.query(`create schema if not exists ${row.path}`)
}

function assertHistory(migrations: Migration[], done: { name: string; sha256: string }[]): void {
  if (done.length > migrations.length)
    throw new Error(
      `The database has ${done.length} migrations, this version of Headrace knows ${migrations.length}: it is older than the database`,
    )
  for (const [index, { name, sha256 }] of done.entries()) {
    const migration = migrations[index]
    if (migration?.name !== name || migration.sha256 !== sha256)
      throw new Error(`Migration ${name} was applied to the database with another text than this version has`)
  }
}

async function applyOne(client: Client, number: number, migration: Migration): Promise<void> {
  await client.query('begin')
  try {
    await client.query(migration.sql)
    await client.query('insert into headrace_migrations (number, name, sha256) values ($1, $2, $3)', [
      number,
      migration.name,
      migration.sha256,
    ])
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw new Error(`Migration ${migration.name} failed`, { cause: error })
  }
}

/**
 * Sessions must have the settings that they were opened with. Behind a pooler that drops them plans go wrong by orders of
 * magnitude, and tables are looked for in another schema.
 */
async function requireSession({ hot }: Store): Promise<void> {
  const { rows } = await hot.query<{ mark: string | null }>(
    `select current_setting('${sessionMark}', true) as mark`,
  )
  if (rows[0]?.mark !== 'on')
    throw new Error(
      'Settings of the session do not reach Postgres. Is there a pooler in between, such as PgBouncer? HEADRACE_DATABASE_URL must lead to Postgres itself',
    )
}

/**
 * `current` is what the database has (0: nothing), `expected` what this version needs: at least that. Throws where the
 * settings of sessions do not reach Postgres.
 */
export async function schemaVersion(store: Store): Promise<{ current: number; expected: number }> {
  await requireSession(store)
  const { rows: tables } = await store.general.query<{ there: boolean }>(
    `select to_regclass('headrace_migrations') is not null as there`,
  )
  if (!tables[0]?.there) return { current: 0, expected: migrationsExpected }
  const { rows } = await store.general.query<{ current: number }>(
    'select coalesce(max(number), 0)::int as current from headrace_migrations',
  )
  return { current: rows[0]?.current ?? 0, expected: migrationsExpected }
}
