import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { atFileEnd } from './file-end.ts'
import { sharedInfra } from './infra.ts'

export interface TestDatabase {
  url: string
  /** Also done at the end of the file. */
  drop(): Promise<void>
}

const TEMPLATE = 'headrace_template'
/** Any fixed number: whoever holds it makes the template, the others wait. */
const TEMPLATE_LOCK = 4_842_100

/** A database of the caller's own, migrated: a copy of a template that is made once a run. */
export async function createDatabase(): Promise<TestDatabase> {
  return await copyOf(await migratedTemplate())
}

/** A database of the caller's own with nothing in it. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  return await copyOf('template0')
}

async function copyOf(template: string): Promise<TestDatabase> {
  const { adminUrl } = await sharedInfra()
  const name = `t_${randomBytes(6).toString('hex')}`
  await withClient(adminUrl, async (client) => {
    await client.query(`create database ${name} template ${template}`)
  })
  let dropped: Promise<void> | null = null
  const drop = async (): Promise<void> => {
    dropped ??= withClient(adminUrl, async (client) => {
      // By force: a process that was killed may still count as connected.
      await client.query(`drop database if exists ${name} with (force)`)
    })
    await dropped
  }
  atFileEnd(`database ${name}`, drop)
  return { url: withDatabase(adminUrl, name), drop }
}

async function migratedTemplate(): Promise<string> {
  const { adminUrl } = await sharedInfra()
  await withClient(adminUrl, async (client) => {
    await client.query('select pg_advisory_lock($1)', [TEMPLATE_LOCK])
    const { rowCount } = await client.query('select from pg_database where datname = $1 and datistemplate', [
      TEMPLATE,
    ])
    if (rowCount !== 0) return
    // One that is there but not marked was cut short by an error.
    await client.query(`drop database if exists ${TEMPLATE} with (force)`)
    await client.query(`create database ${TEMPLATE}`)
    // Loaded when it is needed: tests of Kafka alone need no Postgres code.
    const { migrate } = await import('@headrace/store')
    await migrate(withDatabase(adminUrl, TEMPLATE))
    await client.query(`alter database ${TEMPLATE} is_template true`)
  })
  return TEMPLATE
}

async function withClient(url: string, work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: url, application_name: 'headrace-testing' })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}

function withDatabase(url: string, database: string): string {
  const changed = new URL(url)
  changed.pathname = `/${database}`
  return changed.href
}
