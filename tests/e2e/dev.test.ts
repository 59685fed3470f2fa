import { createServer } from 'node:net'
import { existsSync } from 'node:fs'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import {
  eventually,
  freePort,
  isRefused,
  REPOSITORY,
  startHeadrace,
  testFolder,
  type TestProcess,
} from '@headrace/testing'
import { expect, test } from 'vitest'
import { allEnded, getJson, liveWorkers } from '../harness/platform.ts'

const run = promisify(execFile)
const worker = ['--worker', 'examples/event-triggered/worker.ts']

/** A port whose neighbours (+2, +1000 …) are very likely free as well. */
async function devPort(): Promise<number> {
  return await eventually('a port for dev', async () => {
    const port = await freePort()
    return port < 60_000 ? port : null
  })
}

async function startDev(args: string[]): Promise<{ dev: TestProcess; banner: string[] }> {
  const dev = await startHeadrace(['dev', ...args])
  await dev.waitForLine(/^ {2}-d '/, { deadlineMs: 240_000 })
  const from = dev.stdout.findIndex((line) => /^Headrace .* is ready$/.test(line))
  return { dev, banner: dev.stdout.slice(from, from + 13) }
}

test('headrace dev: the banner’s curl works as printed, each event and run has its line, Ctrl-C ends all, the data stays', async () => {
  const dataDir = await testFolder('dev')
  const port = await devPort()
  const { dev, banner } = await startDev(['--port', String(port), '--data-dir', dataDir, ...worker])
  expect(banner.join('\n')).toMatch(/Kafka .*\((?:HEADRACE_KAFKA_BROKERS is not set|no JVM).*\)/)
  const curl = banner.slice(banner.findIndex((line) => line.startsWith('curl'))).join('\n')
  const { stdout } = await run('sh', ['-c', curl.trim()])
  expect(JSON.parse(stdout)).toMatchObject({ events: [{ topic: 'orders/created', stream: 'orders' }] })
  await dev.waitForLine('event  orders/created')
  await dev.waitForLine('run    on_order_created started')
  await dev.waitForLine('run    on_order_created completed')

  const status = await getJson<{ status: string }>(`http://127.0.0.1:${port}/v1/status`)
  expect(status.status).toBe('ok')

  const { code } = await dev.kill('SIGINT')
  expect(code).toBe(0)
  const again = await startDev(['--port', String(port), '--data-dir', dataDir, ...worker])
  const runs = await allEnded(`http://127.0.0.1:${port}`, 'on_order_created', 1)
  expect(runs.map((one) => one.status)).toEqual(['completed'])

  // A second one on the same data is refused, and the first is not disturbed.
  const second = await startHeadrace(['dev', '--port', String(await devPort()), '--data-dir', dataDir])
  expect((await second.exit).code).not.toBe(0)
  expect([...second.stderr, ...second.stdout].join('\n')).toMatch(/data folder .* in use/)
  expect(await liveWorkers(`http://127.0.0.1:${port}`)).toHaveLength(1)
  expect((await again.dev.kill('SIGTERM')).code).toBe(0)

  const reset = await startDev([
    '--port',
    String(port),
    '--data-dir',
    dataDir,
    ...worker,
    '--reset',
    '--no-example',
    '--schema-registry',
  ])
  const gateway = `http://127.0.0.1:${port}`
  expect(await getJson(`${gateway}/v1/runs`)).toMatchObject({ data: [] })

  const registry = /schemas +(http:\S+) +Apicurio/.exec(reset.banner.join('\n'))?.[1] ?? ''
  const registered = await fetch(`${gateway}/v1/event-types/orders.created`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      pattern: 'orders/created',
      schema_type: 'json',
      schema: { type: 'object', properties: { order_id: { type: 'string' } }, additionalProperties: false },
    }),
  })
  expect(await registered.json()).toMatchObject({ version: 1, dataschema: expect.stringContaining(registry) })
  expect((await reset.dev.kill('SIGTERM')).code).toBe(0)
  expect(await isRefused(Number(new URL(registry).port))).toBe(true)
})

test('a port that is taken is named, with the flag that chooses another, and nothing is started', async () => {
  const port = await devPort()
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(port + 2, '127.0.0.1', resolve))
  const dataDir = `${await testFolder('dev')}/data`
  const dev = await startHeadrace(['dev', '--port', String(port), '--data-dir', dataDir])
  expect((await dev.exit).code).toBe(1)
  expect(dev.stderr.join('\n')).toMatch(new RegExp(`port ${port + 2} .*--port`))
  expect(existsSync(dataDir)).toBe(false)
  taken.close()
})

test('without a JVM, Docker or brokers the error names the three ways out', async () => {
  const dev = await startHeadrace(
    ['dev', '--port', String(await devPort()), '--data-dir', await testFolder('dev')],
    {
      PATH: `${REPOSITORY}node_modules/.bin`,
      JAVA_HOME: '/nonexistent',
      DOCKER_HOST: 'tcp://127.0.0.1:1',
      XDG_CACHE_HOME: await testFolder('cache'),
    },
  )
  expect((await dev.exit).code).toBe(1)
  expect(dev.stderr.join('\n')).toMatch(/HEADRACE_KAFKA_BROKERS[\s\S]*JVM[\s\S]*Docker/)
})
