import type { Command, WireRun } from '@headrace/schemas'
import {
  createDatabase,
  createEmptyDatabase,
  eventually,
  freePort,
  infra,
  startHeadrace,
  type TestProcess,
} from '@headrace/testing'
import { describe, expect, test } from 'vitest'
import { FakeWorker, request, stepCommand, workflowOf } from './fakes/fake-worker.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()

async function orchestrator(
  env: Record<string, string> = {},
): Promise<{ process: TestProcess; url: string; managementUrl: string }> {
  const [port, managementPort] = [await freePort(), await freePort()]
  const process = await startHeadrace(['orchestrator'], {
    HEADRACE_KAFKA_BROKERS: brokers.join(','),
    HEADRACE_AUTH: 'off',
    HEADRACE_PREFIX: prefix,
    HEADRACE_DATABASE_URL: databaseUrl,
    HEADRACE_PORT: String(port),
    HEADRACE_MANAGEMENT_PORT: String(managementPort),
    ...env,
  })
  return { process, url: `http://127.0.0.1:${port}`, managementUrl: `http://127.0.0.1:${managementPort}` }
}

const start = async (url: string): Promise<WireRun> =>
  (await request<WireRun>(`${url}/v1/runs`, { method: 'POST', body: { workflow: 'job' } })).body
const workflows = [workflowOf('job')]

test('SIGTERM: callers that wait for a run are answered, and the process ends with 0', async () => {
  const { process, url, managementUrl } = await orchestrator()
  await process.waitForLine('orchestrator.listening')
  const worker = new FakeWorker({ url, workflows })
  await worker.register()
  const run = await start(url)
  await worker.claim(run.id)
  const waiting = request<WireRun>(`${url}/v1/runs/${run.id}?wait=60s`)
  await eventually('the caller waits', async () =>
    (await (await fetch(`${managementUrl}/metrics`)).text()).includes('headrace_run_callers_waiting 1'),
  )
  const ended = process.kill('SIGTERM')
  expect((await waiting).body).toMatchObject({ id: run.id, status: 'running' })
  expect(await ended).toEqual({ code: 0, signal: null })
})

test('metrics and health are served apart', async () => {
  const { process, url, managementUrl } = await orchestrator()
  await process.waitForLine('orchestrator.listening')
  await eventually('it is ready', async () => (await fetch(`${managementUrl}/readyz`)).ok)
  const text = await (await fetch(`${managementUrl}/metrics`)).text()
  for (const name of [
    'runs_started_total',
    'commands_batch_size',
    'orchestrator_request_seconds',
    'dispatch_tasks_total',
  ]) {
    expect(text).toContain(`headrace_${name}`)
  }
  expect((await fetch(`${url}/metrics`)).status).toBe(404)
  await process.kill('SIGTERM')
})

test('SIGTERM while it waits for Postgres at its start ends it with 0; it was not ready', async () => {
  const { process, managementUrl } = await orchestrator({
    HEADRACE_DATABASE_URL: `postgres://headrace@127.0.0.1:${await freePort()}/headrace`,
  })
  await process.waitForLine('schema.waiting')
  expect((await request(`${managementUrl}/readyz`)).status).toBe(503)
  expect(await process.kill('SIGTERM')).toEqual({ code: 0, signal: null })
})

test('without the right to migrate it refuses an empty database, and says what to do', async () => {
  const { url: empty } = await createEmptyDatabase()
  const { process } = await orchestrator({ HEADRACE_DATABASE_URL: empty, HEADRACE_MIGRATE: 'off' })
  expect((await process.exit).code).toBe(1)
  expect([...process.stdout, ...process.stderr].join('\n')).toContain('HEADRACE_MIGRATE=on')
})

test('with it an empty database is brought up to date', async () => {
  const { url: empty } = await createEmptyDatabase()
  const { process } = await orchestrator({ HEADRACE_DATABASE_URL: empty })
  await process.waitForLine('orchestrator.listening')
  expect((await process.kill('SIGTERM')).code).toBe(0)
})

describe('an orchestrator killed around a commit: what is sent again is answered as if nothing had happened', () => {
  const points = [
    'claim.before-commit',
    'claim.after-commit-before-reply',
    'commands.before-commit',
    'commands.after-commit-before-reply',
  ]
  test.each(points)('%s', async (point) => {
    const first = await orchestrator({ HEADRACE_CRASH_POINT: point })
    await first.process.waitForLine('orchestrator.listening')
    const { url } = first
    const worker = new FakeWorker({ url, workflows })
    await worker.register()
    const run = await start(url)
    const ending: Command[] = [
      stepCommand(run.id, 'a'),
      { kind: 'complete', run_id: run.id, epoch: 1, output: '1' },
    ]
    const all = async (): Promise<unknown> => [
      (await worker.claim(run.id)).run_id,
      await worker.do(...ending),
    ]
    await expect(all()).rejects.toThrow('fetch failed')
    expect(await first.process.exit).toMatchObject({ signal: 'SIGKILL' })
    expect(first.process.stderr).toContain(`HEADRACE_CRASH_POINT ${point}`)

    const second = await orchestrator({ HEADRACE_PORT: new URL(url).port })
    await second.process.waitForLine('orchestrator.listening')
    if (!point.startsWith('commands.after')) await worker.claim(run.id)
    expect(await worker.do(...ending)).toEqual([{ kind: 'stored' }, { kind: 'done' }])
    expect((await request<WireRun>(`${url}/v1/runs/${run.id}`)).body).toMatchObject({
      status: 'completed',
      output: 1,
    })
    await second.process.kill('SIGTERM')
  })
})
