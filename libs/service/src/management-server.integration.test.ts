import { expect, test } from 'vitest'
import { createHealth } from './health.ts'
import { startManagementServer } from './management-server.ts'
import { createMetrics } from './metrics.ts'

async function start() {
  const health = createHealth()
  const metrics = createMetrics()
  const server = await startManagementServer({ host: '127.0.0.1', port: 0, health, metrics })
  return { health, metrics, server, [Symbol.asyncDispose]: async () => await server.close() }
}

test('readiness is 503 until every check is ok, and lists them', async () => {
  await using running = await start()
  const kafka = running.health.check('kafka')
  running.health.probe('heartbeat', () => ({ ok: true, detail: null }))
  const ready = async () => await fetch(`${running.server.url}/readyz`)

  const before = await ready()
  expect(before.status).toBe(503)
  expect(await before.json()).toEqual({
    status: 'not_ready',
    checks: { kafka: { ok: false, detail: 'starting' }, heartbeat: { ok: true, detail: null } },
  })
  kafka.ok()
  expect((await ready()).status).toBe(200)
  kafka.fail('no broker answers')
  expect(await (await ready()).json()).toMatchObject({
    checks: { kafka: { ok: false, detail: 'no broker answers' } },
  })
  kafka.remove()
  running.health.drain()
  expect(await (await ready()).json()).toMatchObject({
    status: 'not_ready',
    checks: { draining: { ok: false } },
  })
})

test('a probe that throws is a failed check, not a failed answer', async () => {
  await using running = await start()
  running.health.probe('database', async () => {
    throw new Error('away')
  })
  const answer = await fetch(`${running.server.url}/readyz`)
  expect(answer.status).toBe(503)
  expect(await answer.json()).toMatchObject({ checks: { database: { ok: false, detail: 'away' } } })
})

test('the process is healthy as long as it answers', async () => {
  await using running = await start()
  running.health.check('kafka')
  expect((await fetch(`${running.server.url}/healthz`)).status).toBe(200)
})

test('metrics are those of this service alone, all with our prefix', async () => {
  await using one = await start()
  await using other = await start()
  one.metrics.counter({ name: 'things_total', help: 'Things.', labels: ['kind'] }).inc({ kind: 'a' })
  one.metrics.counter({ name: 'things_total', help: 'Things.', labels: ['kind'] }).inc({ kind: 'a' })
  other.metrics.gauge({ name: 'level', help: 'Level.', collect: (gauge) => gauge.set(7) })
  const text = async (url: string) => await (await fetch(`${url}/metrics`)).text()
  expect(await text(one.server.url)).toContain('headrace_things_total{kind="a"} 2')
  expect(await text(one.server.url)).not.toContain('headrace_level')
  expect(await text(other.server.url)).toContain('headrace_level 7')
})

test('other paths are 404, other methods 405', async () => {
  await using running = await start()
  expect((await fetch(`${running.server.url}/`)).status).toBe(404)
  expect((await fetch(`${running.server.url}/healthz`, { method: 'POST' })).status).toBe(405)
})

test('a taken port is an error that names the port and the setting', async () => {
  await using running = await start()
  const again = startManagementServer({
    host: '127.0.0.1',
    port: running.server.port,
    health: running.health,
    metrics: running.metrics,
  })
  await expect(again).rejects.toThrow(
    `port ${running.server.port} on 127.0.0.1 is taken by another process; choose another with HEADRACE_MANAGEMENT_PORT`,
  )
})
