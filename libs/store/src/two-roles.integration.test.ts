import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createEmptyDatabase, REPOSITORY } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore, type Store } from './connection.ts'
import { dropPartition } from './drop-partition.ts'
import { migrate, schemaVersion } from './migrate.ts'
import { ensurePartitionDays, ensurePartitions, listPartitions, partitionName } from './partitions.ts'

const dayMs = 86_400_000
const { url: adminUrl } = await createEmptyDatabase()
let admin: Store
let app: Store

const as = (role: string): string => {
  const url = new URL(adminUrl)
  url.username = role
  url.password = 'secret'
  url.searchParams.set('options', '-c search_path=shop')
  return url.toString()
}

/** What docs/postgres.md says about two roles, as it stands there. Roles are the server's: names of their own. */
const [owner, user] = [`owner_${process.pid}`, `app_${process.pid}`]
function grantsOfThePage(): string {
  const page = readFileSync(join(REPOSITORY, 'docs/postgres.md'), 'utf8')
  const [, sql = ''] = /```sql\n(create role headrace_owner[^`]*)```/.exec(page) ?? []
  const { pathname } = new URL(adminUrl)
  return sql
    .replaceAll('headrace_owner', owner)
    .replaceAll('headrace_app', user)
    .replaceAll('database headrace', `database ${pathname.slice(1)}`)
    .replaceAll("'…'", "'secret'")
}

beforeAll(async () => {
  admin = openStore({ url: adminUrl, applicationName: 'admin' })
  await admin.general.query(grantsOfThePage())
  await migrate(as(owner))
  app = openStore({ url: as(user), applicationName: 'app' })
})
afterAll(async () => {
  await app.close()
  for (const role of [user, owner])
    await admin.general.query(`drop owned by ${role} cascade; drop role ${role}`)
  await admin.close()
})

describe('a role that owns nothing', () => {
  test('reads and writes, and knows the version', async () => {
    const { current, expected } = await schemaVersion(app)
    expect(current).toBe(expected)
    await app.general.query(
      `insert into api_keys (id, name, environment, secret_sha256, scopes) values ('k', 'k', 'e', sha256('k'), '{admin}')`,
    )
    await app.general.query('begin; lock table event_types in share row exclusive mode; commit')
    expect((await app.general.query('delete from api_keys')).rowCount).toBe(1)
  })

  test('makes partitions and removes them, which belong to the owner, and uses them', async () => {
    const now = await app.serverNow()
    await ensurePartitions(app, { aheadDays: 5 })
    await ensurePartitionDays(app.general, now + 30 * dayMs, now + 30 * dayMs)
    const name = partitionName('runs', now + 30 * dayMs)
    const { rows } = await app.general.query<{ owner: string }>(
      'select tableowner as owner from pg_tables where tablename = $1',
      [name],
    )
    expect(rows).toEqual([{ owner }])
    expect((await app.general.query(`select from ${name}`)).rowCount).toBe(0)
    expect(await dropPartition(app, { table: 'runs', name, detachPending: false })).toBe(true)
    expect((await listPartitions(app.general, 'runs')).map((partition) => partition.name)).not.toContain(name)
    // The connection that was the owner for a while is not given back.
    for (let n = 0; n < 10; n += 1)
      expect((await app.general.query<{ who: string }>('select current_user as who')).rows).toEqual([
        { who: user },
      ])
  })

  test.each([
    'drop table runs',
    'alter table waits drop column topic',
    'create table shop.own (id int)',
    'truncate api_keys',
  ])('may not %s', async (sql) => {
    await expect(app.general.query(sql)).rejects.toMatchObject({ code: '42501' })
  })
})
