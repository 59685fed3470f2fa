import { kill } from 'node:process'
import { createDatabase, eventually, freePort, infra, isRefused, startProcess } from '@headrace/testing'
import { expect, test } from 'vitest'

/** Each app starts alone, as README says, is told everything by HEADRACE_*, and stops cleanly on SIGTERM. */
test.each(['gateway', 'trigger-service', 'orchestrator'])('npx headrace %s', async (app) => {
  const { brokers, prefix } = await infra()
  const { url } = await createDatabase()
  const managementPort = await freePort()
  const process = await startProcess({
    name: `npx headrace ${app}`,
    command: 'npx',
    args: ['headrace', app],
    env: {
      HEADRACE_KAFKA_BROKERS: brokers.join(','),
      HEADRACE_KAFKA_REPLICATION_FACTOR: '1',
      HEADRACE_PREFIX: prefix,
      HEADRACE_MANAGEMENT_PORT: String(managementPort),
      ...(app === 'gateway' ? {} : { HEADRACE_DATABASE_URL: url }),
      ...(app === 'trigger-service' ? {} : { HEADRACE_PORT: String(await freePort()) }),
    },
  })
  const management = `http://127.0.0.1:${managementPort}`
  await eventually('it is ready', async () => (await fetch(`${management}/readyz`)).ok)
  expect((await fetch(`${management}/healthz`)).status).toBe(200)
  expect(await (await fetch(`${management}/metrics`)).text()).toContain('headrace_')
  // To the whole group, as a terminal does: npx does not pass SIGTERM on.
  kill(-process.pid, 'SIGTERM')
  await process.waitForLine('"event":"service.stopped"')
  const port = Number(new URL(management).port)
  await eventually('the management port is closed', async () => await isRefused(port))
})

test.each(['gateway', 'trigger-service', 'orchestrator'])(
  'headrace %s without settings names what must be set',
  async (app) => {
    const process = await startProcess({ name: app, command: 'npx', args: ['headrace', app] })
    expect((await process.exit).code).toBe(2)
    expect(process.stderr.join('\n')).toMatch(/HEADRACE_KAFKA_BROKERS: must be set/)
  },
)
