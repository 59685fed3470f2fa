import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { migrate, openStore } from '@headrace/store'
import { createAuthority, infra, startOwnPostgres, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'
import {
  allEnded,
  listRuns,
  type Platform,
  publish,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'

/** docs/postgres.md */
test('two installations share a Postgres that asks for TLS, each in a schema of its own and one with a role that owns nothing, and go on when the password is changed', async () => {
  const folder = await testFolder('shared')
  const postgres = await startOwnPostgres()
  const authority = await createAuthority(folder)
  await postgres.secure(await authority.sign('postgres', 'DNS:localhost'))
  const admin = openStore({ url: postgres.url, applicationName: 'admin' })
  await admin.general.query(`create role app login password 'first'`)
  await admin.general.query('grant create on database headrace to app')
  // Of the second the tables belong to another role, which migrates.
  await admin.general.query(`create role bank_owner login password 'owner';
    grant bank_owner to app with inherit false, set true;
    grant create on database headrace to bank_owner;
    alter default privileges for role bank_owner grant usage on schemas to app;
    alter default privileges for role bank_owner grant select, insert, update, delete on tables to app;
    alter default privileges for role bank_owner grant usage, select on sequences to app`)
  const passwordFile = join(folder, 'password')
  await writeFile(passwordFile, 'first')
  const url = new URL(postgres.url)
  url.hostname = 'localhost'
  url.username = 'app'
  url.password = ''
  url.searchParams.set('sslmode', 'verify-full')
  url.searchParams.set('sslrootcert', authority.ca)

  const { brokers, prefix } = await infra()
  const owner = new URL(url)
  owner.username = 'bank_owner'
  owner.password = 'owner'
  owner.searchParams.set('options', '-c search_path=bank')
  await migrate(owner.toString())
  const start = async (schema: string, migrates: 'on' | 'off'): Promise<Platform> => {
    const platform = await startPlatform({
      brokers,
      prefix: `${prefix}-${schema}`,
      databaseUrl: url.toString(),
      env: {
        HEADRACE_DATABASE_SCHEMA: schema,
        HEADRACE_DATABASE_PASSWORD_FILE: passwordFile,
        HEADRACE_MIGRATE: migrates,
      },
    })
    const seen = new URL(postgres.url)
    seen.searchParams.set('options', `-c search_path=${schema}`)
    await startWorker({
      gatewayUrl: platform.gateway.url,
      databaseUrl: seen.toString(),
      journal: join(folder, `${schema}.jsonl`),
      workflows: ['three_steps'],
    })
    return platform
  }
  const [shop, bank] = [await start('shop', 'on'), await start('bank', 'off')]
  expect((await publish(shop.gateway.url, { topic: 'load/a', data: 1 })).status).toBe(200)
  const [run] = await allEnded(shop.gateway.url, 'three_steps', 1)
  expect(run?.status).toBe('completed')
  expect(await listRuns(bank.gateway.url, 'three_steps')).toEqual([])

  await writeFile(passwordFile, 'second')
  await admin.general.query(`alter role app password 'second'`)
  const { rows } = await admin.general.query<{ ssl: boolean }>(
    `select s.ssl, pg_terminate_backend(a.pid) from pg_stat_activity a join pg_stat_ssl s using (pid) where a.usename = 'app'`,
  )
  expect(new Set(rows.map(({ ssl }) => ssl))).toEqual(new Set([true]))
  for (const { gateway } of [shop, bank])
    expect((await publish(gateway.url, { topic: 'load/b', data: 1 })).status).toBe(200)
  expect(await allEnded(shop.gateway.url, 'three_steps', 2)).toHaveLength(2)
  expect(await allEnded(bank.gateway.url, 'three_steps', 1)).toHaveLength(1)
  await admin.close()
})
