import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listAudit, openStore, type Store, sweepAudit, writeAudit } from './index.ts'

let store: Store
beforeAll(async () => {
  store = openStore({ url: (await createDatabase()).url, applicationName: 'headrace-test' })
  for (const [keyId, path] of [
    ['a', '/v1/keys'],
    ['b', '/v1/keys'],
    [null, '/v1/runs/bulk'],
    ['a', '/v1/runs/bulk'],
  ] as const)
    await writeAudit(store, {
      keyId,
      path,
      action: 'x',
      method: 'POST',
      requestId: null,
      before: null,
      after: null,
    })
})
afterAll(async () => {
  await store.close()
})

const listed = async (filter: { keyId?: string; path?: string }, limit = 10, below: number | null = null) => {
  const { keyId = null, path = null } = filter
  const page = await listAudit(store, { keyId, path }, { below, limit })
  return { paths: page.entries.map((entry) => `${entry.keyId} ${entry.path}`), next: page.nextCursor }
}

test('the audit log is listed from the newest on, page by page, by key and by path', async () => {
  const first = await listed({}, 3)
  expect(first.paths).toEqual(['a /v1/runs/bulk', 'null /v1/runs/bulk', 'b /v1/keys'])
  expect(await listed({}, 3, first.next)).toEqual({ paths: ['a /v1/keys'], next: null })
  expect((await listed({ keyId: 'a' })).paths).toEqual(['a /v1/runs/bulk', 'a /v1/keys'])
  expect((await listed({ path: '/v1/keys' })).paths).toEqual(['b /v1/keys', 'a /v1/keys'])
  expect((await listed({ keyId: 'b', path: '/v1/runs/bulk' })).paths).toEqual([])
})

test('entries that are older than they are kept are let go', async () => {
  await store.general.query(`update audit set at = now() - interval '8 days' where key_id = 'a'`)
  expect(await sweepAudit(store, 7 * 86_400_000)).toEqual({ more: false })
  expect((await listed({})).paths).toEqual(['null /v1/runs/bulk', 'b /v1/keys'])
})
