import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createAuthority, startOwnPostgres, testFolder } from '@headrace/testing'
import { beforeAll, describe, expect, test } from 'vitest'
import { openStore } from './connection.ts'
import { classify } from './fault.ts'
import { migrate, schemaVersion } from './migrate.ts'

let plainUrl: string
let folder: string
let ca: string
let otherCa: string

beforeAll(async () => {
  folder = await testFolder('tls')
  const postgres = await startOwnPostgres()
  const authority = await createAuthority(folder)
  ca = authority.ca
  otherCa = (await createAuthority(folder, 'other')).ca
  await postgres.secure(await authority.sign('postgres', 'DNS:localhost'))
  plainUrl = postgres.url
})

/** The URL, its host and parameters changed. */
function urlWith(parameters: Record<string, string>, host = 'localhost'): string {
  const url = new URL(plainUrl)
  url.hostname = host
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url.toString()
}

async function secured(url: string): Promise<boolean> {
  const store = openStore({ url, applicationName: 'test' })
  try {
    const { rows } = await store.hot.query<{ ssl: boolean }>(
      'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
    )
    return rows[0]?.ssl === true
  } finally {
    await store.close()
  }
}

async function refusal(url: string): Promise<{ message: string; kind: string }> {
  return await secured(url).then(
    () => Promise.reject(new Error('it was let in')),
    (error: unknown) => ({ message: String(error), kind: classify(error) }),
  )
}

describe('sslmode=verify-full', () => {
  const full = (sslrootcert: string) => ({ sslmode: 'verify-full', sslrootcert })

  test('lets in where the authority signed a certificate of that name', async () => {
    expect(await secured(urlWith(full(ca)))).toBe(true)
    expect(await secured(plainUrl)).toBe(false)
  })

  test.each([
    [
      'a certificate of another name',
      () => urlWith(full(ca), '127.0.0.1'),
      /the host in HEADRACE_DATABASE_URL/,
    ],
    ['another authority', () => urlWith(full(otherCa)), /sslrootcert in HEADRACE_DATABASE_URL/],
    [
      'the authorities of Node',
      () => urlWith({ sslmode: 'verify-full' }),
      /sslrootcert in HEADRACE_DATABASE_URL/,
    ],
    ['a file that is not there', () => urlWith(full(`${ca}.gone`)), /cannot be read: .*ENOENT/],
  ])('says what is wrong with %s, and heals', async (_, url, message) => {
    expect(await refusal(url())).toEqual({ message: expect.stringMatching(message), kind: 'outage' })
  })

  test('is refused by a Postgres without TLS', async () => {
    const { url } = await startOwnPostgres()
    const given = new URL(url)
    given.searchParams.set('sslmode', 'verify-full')
    expect(await refusal(given.toString())).toEqual({
      message: expect.stringMatching(/sslmode in HEADRACE_DATABASE_URL/),
      kind: 'outage',
    })
  })
})

test('files are read for each connection: a password that was changed is used by the next one', async () => {
  const file = join(folder, 'password')
  await writeFile(file, 'first secret: /?%\n')
  const admin = openStore({ url: plainUrl, applicationName: 'admin' })
  await admin.general.query(`create role app login password 'first secret: /?%'`)
  const url = new URL(urlWith({ sslmode: 'verify-full', sslrootcert: ca, password_file: file }))
  url.username = 'app'
  url.password = ''
  const store = openStore({ url: url.toString(), applicationName: 'app' })
  await store.ping()
  await admin.general.query(`alter role app password 'second'`)
  const leave = async () =>
    await admin.general.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`)
  await leave()
  const failed = async () =>
    await store.ping().then(
      () => null,
      (error: unknown) => classify(error),
    )
  await expect.poll(failed, { timeout: 60_000 }).toBe('outage')
  await rm(file)
  await expect(store.ping()).rejects.toThrow('HEADRACE_DATABASE_PASSWORD_FILE cannot be read')
  await writeFile(file, 'second')
  await store.ping()
  await store.close()
  await admin.close()
})

test('a schema of its own is made, and two in one database do not meet', async () => {
  const inSchema = (name: string) => urlWith({ options: `-c search_path=${name}` }, '127.0.0.1')
  const [one, two] = ['shop', 'bank'].map((name) => openStore({ url: inSchema(name), applicationName: name }))
  if (one === undefined || two === undefined) throw new Error('two')
  expect((await schemaVersion(one)).current).toBe(0)
  await migrate(inSchema('shop'))
  expect((await schemaVersion(two)).current).toBe(0)
  await migrate(inSchema('bank'))
  await migrate(inSchema('bank'))
  const tablesOf = async (schema: string): Promise<number> => {
    const { rows } = await one.general.query<{ count: number }>(
      'select count(*)::int as count from pg_tables where schemaname = $1',
      [schema],
    )
    return rows[0]?.count ?? 0
  }
  expect(await tablesOf('shop')).toBeGreaterThan(20)
  expect(await tablesOf('bank')).toBe(await tablesOf('shop'))
  expect(await tablesOf('public')).toBe(0)
  await one.general.query(
    `insert into api_keys (id, name, environment, secret_sha256, scopes) values ('k', 'k', 'e', sha256('k'), '{admin}')`,
  )
  expect((await two.general.query('select from api_keys')).rowCount).toBe(0)
  await one.close()
  await two.close()
})
