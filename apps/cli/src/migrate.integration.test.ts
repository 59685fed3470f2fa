import { openStore } from '@headrace/store'
import { createEmptyDatabase, startHeadrace } from '@headrace/testing'
import { expect, test } from 'vitest'

const { url } = await createEmptyDatabase()

const migrate = async (env: Record<string, string>, ...options: string[]) => {
  const process = await startHeadrace(['migrate', ...options], env)
  return { ...(await process.exit), stderr: process.stderr.join('\n'), stdout: process.stdout.join('\n') }
}

test('headrace migrate brings an empty database up to date, and --check tells whether it has to', async () => {
  const env = { HEADRACE_DATABASE_URL: url }
  const before = await migrate(env, '--check')
  expect(before).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/at schema version 0.*run headrace migrate/),
  })
  expect(await migrate(env)).toMatchObject({ code: 0, stdout: expect.stringContaining('schema.migrated') })
  const after = await migrate(env, '--check')
  expect(after).toMatchObject({ code: 0, stdout: expect.stringContaining('schema.ready') })
})

test('headrace migrate leaves a newer schema as it is: a version that was rolled back runs on it', async () => {
  const store = openStore({ url, applicationName: 'test' })
  await store.general.query(
    `insert into headrace_migrations (number, name, sha256) values (999, '999-next', '')`,
  )
  await store.close()
  expect(await migrate({ HEADRACE_DATABASE_URL: url })).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('schema.ready'),
  })
})

test('headrace migrate without an address says which setting is missing', async () => {
  expect(await migrate({})).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('HEADRACE_DATABASE_URL: must be set'),
  })
})
