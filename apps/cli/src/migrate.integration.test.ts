import { createEmptyDatabase, freePort, startHeadrace } from '@headrace/testing'
import { expect, test } from 'vitest'

const { url } = await createEmptyDatabase()

const migrate = async (env: Record<string, string>, ...options: string[]) => {
  const process = await startHeadrace(['migrate', ...options], env)
  return { ...(await process.exit), stderr: process.stderr.join('\n'), stdout: process.stdout.join('\n') }
}

test('headrace migrate brings an empty database up to date once, and --check tells which it is', async () => {
  const env = { HEADRACE_DATABASE_URL: url }
  const before = await migrate(env, '--check')
  expect(before).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/at schema version 0.*run headrace migrate/),
  })
  const [one, other] = await Promise.all([migrate(env), migrate(env)])
  expect([one.code, other.code]).toEqual([0, 0])
  const migrated = [one, other].filter(({ stdout }) => stdout.includes('schema.migrated'))
  expect(migrated).toHaveLength(1)
  const after = await migrate(env, '--check')
  expect(after).toMatchObject({ code: 0, stdout: expect.stringContaining('schema.ready') })
})

test('headrace migrate without an address says which setting is missing', async () => {
  expect(await migrate({})).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('HEADRACE_DATABASE_URL: must be set'),
  })
})

test('headrace migrate that is told to stop while it waits for Postgres ends with 0', async () => {
  const process = await startHeadrace(['migrate'], {
    HEADRACE_DATABASE_URL: `postgres://headrace@127.0.0.1:${await freePort()}/headrace`,
  })
  await process.waitForLine('schema.waiting')
  expect(await process.kill('SIGTERM')).toEqual({ code: 0, signal: null })
})
