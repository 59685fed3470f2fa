import { operations } from '@headrace/http'
import type { WireAudit, WireKey, WireList, WireNewKey } from '@headrace/schemas'
import { eventually } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startKeyed } from '../harness/keyed-headrace.ts'

const headrace = await startKeyed()
const { url, direct, call, keyOf, made } = headrace
/** Of a gateway that reaches no orchestrator. */
let alone: string

const publish = async (key: string | null, topic: string, at = url) =>
  await call('/v1/events', { key, at, method: 'POST', body: { topic, data: 1 } })
const idOf = (key: string): string => key.split('_')[2] ?? ''

const scopes = ['events:write', 'events:read', 'runs:write', 'runs:read', 'operate', 'worker', 'admin']

beforeAll(async () => {
  // Nobody answers there.
  alone = await headrace.gateway('http://127.0.0.1:1')
  for (const scope of scopes) await made(scope, [scope])
  await made('orders', ['events:write:orders/**', 'events:read:orders/**'])
  await made('users', ['events:write:users/*', 'events:read:users/created'])
  for (const at of [url, alone]) await headrace.known(keyOf('users'), at)
  for (const topic of ['orders/first', 'users/first'])
    await eventually(`${topic} is there`, async () => (await publish(keyOf('admin'), topic)).status === 200)
})
afterAll(async () => await headrace.stop())

describe('every route', () => {
  const routes = Object.entries(operations).filter(([, { scope }]) => scope !== 'public')

  test.each(routes)('%s lets in who has its scope, and admins', async (route, { scope, apps: by }) => {
    const [method = '', path = ''] = route.split(' ')
    // Without what it needs, it does nothing, whoever asks.
    const body = method === 'POST' || method === 'PUT' ? { no_such_field: 1 } : undefined
    const query = path === '/v1/events/stream' ? '?topic=orders/first' : ''
    const at = by.includes('gateway') ? url : direct
    const ask = async (key: string | null) =>
      await call(`${path.replaceAll(/\{\w+\}/g, 'x')}${query}`, {
        key,
        method,
        at,
        ...(body === undefined ? {} : { body }),
      })
    const statuses: Record<string, boolean> = {}
    for (const name of scopes) {
      const { status, body: told } = await ask(keyOf(name))
      expect(status, `${name}: ${JSON.stringify(told)}`).not.toBe(401)
      // Who is refused is told the scope that it lacks.
      statuses[name] = !(status === 403 && told.detail.includes(scope))
    }
    const wanted = scopes.map((name) => [name, scope === 'internal' || name === scope || name === 'admin'])
    expect(statuses).toEqual(Object.fromEntries(wanted))
    const nobody = await ask(null)
    expect([nobody.status, nobody.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="headrace"'])
    expect((await ask(`hr_live_${'0'.repeat(16)}_${'0'.repeat(48)}`)).status).toBe(401)
  })
})

describe('a scope with a pattern', () => {
  test('is for its topics, a thousand times for each of two keys', async () => {
    const counts: Record<string, number> = {}
    const ask = async (name: string, topic: string): Promise<void> => {
      const { status, body } = await publish(keyOf(name), topic)
      const told = `${name} ${topic} ${status} ${body.errors?.[0]?.pointer ?? ''}`
      counts[told] = (counts[told] ?? 0) + 1
    }
    for (let n = 0; n < 50; n += 1)
      await Promise.all(
        Array.from({ length: 10 }, async () => [
          await ask('orders', 'orders/a/b'),
          await ask('orders', 'users/a'),
          await ask('users', 'users/a'),
          await ask('users', 'users/a/b'),
        ]),
      )
    expect(counts).toEqual({
      'orders orders/a/b 200 ': 500,
      'orders users/a 403 /topic': 500,
      'users users/a 200 ': 500,
      'users users/a/b 403 /topic': 500,
    })
  })

  test('refuses a batch with the place of each topic that is beyond it, and writes nothing of it', async () => {
    const events = ['orders/1', 'users/1', 'orders/2', 'users/2'].map((topic) => ({ topic, data: 1 }))
    const { status, body } = await call('/v1/events', {
      key: keyOf('orders'),
      method: 'POST',
      body: { events },
    })
    expect([status, body.errors?.map(({ pointer, code }) => [pointer, code])]).toEqual([
      403,
      [
        ['/events/1/topic', 'forbidden'],
        ['/events/3/topic', 'forbidden'],
      ],
    ])
  })

  test('is for queries that lie within it', async () => {
    const status = async (name: string, path: string) => (await call(path, { key: keyOf(name) })).status
    expect(await status('orders', '/v1/events?pattern=orders/**')).toBe(200)
    expect(await status('orders', '/v1/events?stream=orders')).toBe(403)
    expect(await status('users', '/v1/events?topic=users/created')).toBe(200)
    expect(await status('users', '/v1/events?pattern=users/*')).toBe(403)
    expect(await status('users', '/v1/events/stream?topic=users/gone')).toBe(403)
    expect(await status('orders', '/v1/events/orders/0/0')).toBe(200)
    expect(await status('users', '/v1/events/users/0/0')).toBe(403)
    expect(await status('users', '/v1/events/users/0/0/explain')).toBe(403)
    // Nor is it told what there is elsewhere.
    for (const path of ['orders/0/999999', 'orders/0/999999/explain', 'no-such-stream/0/0'])
      expect([path, await status('users', `/v1/events/${path}`)]).toEqual([path, 403])
    expect(await status('users', '/v1/streams/orders')).toBe(403)
    const listed = await call<WireList<{ name: string }>>('/v1/streams', { key: keyOf('users') })
    expect(listed.body.data.map(({ name }) => name)).toEqual(['users'])
  })

  /** Of a route on events, what it is asked of a stream; null: it lists what the key may see. */
  const asked: Record<string, ((stream: string) => { path: string; body?: unknown }) | null> = {
    'POST /v1/events': (stream) => ({ path: '/v1/events', body: { topic: `${stream}/first`, data: 1 } }),
    'GET /v1/events': (stream) => ({ path: `/v1/events?topic=${stream}/first` }),
    'GET /v1/events/stream': (stream) => ({ path: `/v1/events/stream?topic=${stream}/first` }),
    'GET /v1/events/{stream}/{partition}/{sequence_id}': (stream) => ({ path: `/v1/events/${stream}/0/0` }),
    'GET /v1/events/{stream}/{partition}/{sequence_id}/explain': (stream) => ({
      path: `/v1/events/${stream}/0/0/explain`,
    }),
    'GET /v1/streams': null,
    'GET /v1/streams/{stream}': (stream) => ({ path: `/v1/streams/${stream}` }),
    'GET /v1/event-types': null,
    'GET /v1/event-types/{name}': (stream) => ({ path: `/v1/event-types/${stream}.typed` }),
    'POST /v1/event-types/{name}/validate': (stream) => ({
      path: `/v1/event-types/${stream}.typed/validate`,
      body: { data: {} },
    }),
  }

  test('is for its topics on every route of events', async () => {
    for (const stream of ['orders', 'users']) {
      const body = {
        pattern: `${stream}/typed`,
        schema_type: 'json',
        schema: { type: 'object' },
        mode: 'off',
      }
      const path = `/v1/event-types/${stream}.typed`
      const put = await call(path, { key: keyOf('admin'), method: 'PUT', body })
      expect([put.status, put.body]).toMatchObject([201, { name: `${stream}.typed` }])
    }
    const onEvents = Object.entries(operations).filter(([, { scope }]) => scope.startsWith('events:'))
    expect(Object.keys(asked).toSorted()).toEqual(onEvents.map(([route]) => route).toSorted())
    const key = keyOf('orders')
    const told: Record<string, unknown> = {}
    for (const [route, of] of Object.entries(asked)) {
      const [method = '', path = ''] = route.split(' ')
      if (of === null) {
        const { body } = await call<WireList<{ name: string }>>(path, { key })
        told[route] = [...new Set(body.data.map(({ name }) => name.split('.')[0]))]
      } else {
        const statusOf = async (stream: string): Promise<number> =>
          (await call(of(stream).path, { key, method, body: of(stream).body })).status
        told[route] = [await statusOf('orders'), await statusOf('users')]
      }
    }
    const wanted = Object.entries(asked).map(([route, of]) => [route, of === null ? ['orders'] : [200, 403]])
    expect(told).toEqual(Object.fromEntries(wanted))
  })
})

test('a gateway that reaches no orchestrator knows the keys all the same', async () => {
  expect((await publish(keyOf('orders'), 'orders/x', alone)).status).toBe(200)
  expect((await publish(keyOf('orders'), 'users/x', alone)).status).toBe(403)
  expect((await publish(`${keyOf('orders').slice(0, -4)}0000`, 'orders/x', alone)).status).toBe(401)
  expect((await call('/v1/runs', { key: keyOf('runs:read'), at: alone })).status).toBe(503)
})

describe('a key', () => {
  test('is made, rotated and revoked, and each counts at both within seconds; the audit log says by whom', async () => {
    const body = {
      name: 'checkout',
      scopes: ['events:write:orders/**'],
      rate_limit: { events_per_second: 1_000 },
    }
    const created = await call<WireNewKey>('/v1/keys', { key: keyOf('admin'), method: 'POST', body })
    expect([created.status, created.headers.get('cache-control')]).toEqual([201, 'no-store'])
    const { key: first, id } = created.body
    expect(first).toMatch(/^hr_live_[0-9a-f]{16}_[0-9a-f]{48}$/)
    await eventually('it is known', async () => (await publish(first, 'orders/x')).status === 200)
    const paced = await publish(first, 'orders/x')
    expect(paced.headers.get('ratelimit-policy')).toBe('"events";q=1000;w=1')
    expect(paced.headers.get('ratelimit')).toMatch(/^"events";r=\d+;t=[01]$/)

    const rotate = async (grace: string) =>
      await call<WireNewKey>(`/v1/keys/${id}/rotate`, {
        key: keyOf('admin'),
        method: 'POST',
        body: { grace },
      })
    const { key: second } = (await rotate('1h')).body
    await eventually(
      'the new secret is known',
      async () => (await publish(second, 'orders/x')).status === 200,
    )
    expect((await publish(first, 'orders/x')).status).toBe(200)
    const { key: third } = (await rotate('0s')).body
    await eventually('the one before is dead', async () => (await publish(second, 'orders/x')).status === 401)
    expect((await publish(first, 'orders/x')).status).toBe(401)
    expect((await publish(third, 'orders/x')).status).toBe(200)

    const revoked = await call<WireKey>(`/v1/keys/${id}`, { key: keyOf('admin'), method: 'DELETE' })
    expect(revoked.body).toMatchObject({ id, revoked_at: expect.any(String) })
    // The orchestrator that was asked knows at once.
    expect((await call('/v1/runs', { key: third, at: direct })).status).toBe(401)
    for (const at of [url, alone])
      await eventually('it is dead', async () => (await publish(third, 'orders/x', at)).status === 401)

    const audit = await call<WireList<WireAudit>>(`/v1/audit?key_id=${idOf(keyOf('admin'))}`, {
      key: keyOf('admin'),
    })
    const [last, ...before] = audit.body.data.map(({ action, path }) => `${action} ${path}`)
    expect([last, before.slice(0, 3)]).toEqual([
      `revokeKey /v1/keys/${id}`,
      [`rotateKey /v1/keys/${id}/rotate`, `rotateKey /v1/keys/${id}/rotate`, 'createKey /v1/keys'],
    ])
    expect(audit.body.data[0]).toMatchObject({
      before: { revoked_at: null },
      after: { id, name: 'checkout' },
    })
    const shown = JSON.stringify([audit.body, (await call('/v1/keys', { key: keyOf('admin') })).body])
    for (const key of [first, second, third]) expect(shown).not.toContain(key.split('_')[3])
  })

  test('whose answer was lost is found by its name, and no second one is made', async () => {
    const ask = async () =>
      await call<WireNewKey & { code: string; detail: string }>('/v1/keys', {
        key: keyOf('admin'),
        method: 'POST',
        body: { name: 'deploys', scopes: ['operate'] },
      })
    const first = await ask()
    const again = await ask()
    expect([again.status, again.body.code]).toEqual([409, 'key_exists'])
    expect(again.body.detail).toContain(first.body.id)
    await call(`/v1/keys/${first.body.id}`, { key: keyOf('admin'), method: 'DELETE' })
    expect((await ask()).status).toBe(201)
  })

  test('above its pace is told when to come again', async () => {
    const slow = await made('slow', ['events:write'], { rate_limit: { events_per_second: 1 } })
    await eventually('it is known', async () => (await publish(slow, 'orders/x')).status !== 401)
    const events = Array.from({ length: 1_000 }, () => ({ topic: 'orders/x', data: 1 }))
    // Large enough to leave a debt that no machine is too slow for.
    await eventually(
      'it was full once',
      async () => (await call('/v1/events', { key: slow, method: 'POST', body: { events } })).status === 200,
    )
    const { status, body, headers } = await publish(slow, 'orders/x')
    expect([status, body.code]).toEqual([429, 'rate_limited'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(1)
    expect(headers.get('ratelimit')).toMatch(/^"events";r=0;t=\d+$/)
  })

  test('is over at its time', async () => {
    const short = await made('short', ['events:write'], { expires_at: '2999-01-01T00:00:00Z' })
    await eventually('it is known', async () => (await publish(short, 'orders/x')).status === 200)
    await headrace.store.general.query(
      `update api_keys set expires_at = now(), revision = nextval('config_revisions') where id = $1`,
      [idOf(short)],
    )
    await eventually('it is over', async () => (await publish(short, 'orders/x')).status === 401)
  })

  test('of a scope that there is not, or that is over already, is refused with the field', async () => {
    const ask = async (body: object) => {
      const { body: told } = await call('/v1/keys', { key: keyOf('admin'), method: 'POST', body })
      return told.errors?.map(({ pointer }) => pointer)
    }
    expect(await ask({ name: 'x', scopes: ['events:delete', 'runs:read:orders'] })).toEqual([
      '/scopes/0',
      '/scopes/1',
    ])
    expect(await ask({ name: 'x', scopes: ['operate'], expires_at: '2001-01-01T00:00:00Z' })).toEqual([
      '/expires_at',
    ])
    expect(await ask({ scopes: ['operate'], rate_limit: { events_per_second: 0 } })).toEqual([
      '/name',
      '/rate_limit/events_per_second',
    ])
  })
})
