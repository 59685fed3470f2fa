import { createDatabase, startHeadrace } from '@headrace/testing'
import { expect, test } from 'vitest'

const { url } = await createDatabase()

const keys = async (...words: string[]) => {
  const process = await startHeadrace(['keys', ...words], { HEADRACE_DATABASE_URL: url })
  const { code } = await process.exit
  return { code, stdout: process.stdout.join('\n'), said: [...process.stdout, ...process.stderr].join('\n') }
}

test('headrace keys makes the first key, shows it this once, and revokes it', async () => {
  const created = await keys(
    'create',
    '--name',
    'admin',
    '--scope',
    'admin',
    '--scope',
    'events:write:orders/**',
  )
  expect(created.code).toBe(0)
  const made = JSON.parse(created.stdout) as { id: string; key: string }
  expect(made).toMatchObject({ name: 'admin', scopes: ['admin', 'events:write:orders/**'], expires_at: null })
  expect(made.key).toContain(made.id)

  const listed = await keys('list')
  expect(listed.stdout).not.toContain(made.key)
  expect(JSON.parse(listed.stdout)).toMatchObject([{ id: made.id, revoked_at: null }])

  const revoked = await keys('revoke', made.id)
  expect(JSON.parse(revoked.stdout)).toMatchObject({ id: made.id, revoked_at: expect.any(String) })
})

test('headrace keys refuses a scope that there is not, and says which there are', async () => {
  const { code, said } = await keys('create', '--name', 'x', '--scope', 'events:delete')
  expect(code).not.toBe(0)
  expect(said).toContain('must be one of events:write')
})
