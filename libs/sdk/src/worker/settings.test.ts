import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { sdkVersion } from '../sdk-version.ts'
import { workflow } from '../workflow/workflow.ts'
import { workerSettings } from './settings.ts'

const env = { HEADRACE_URL: 'http://localhost:8080/', HEADRACE_APP: 'shop' }
const report = workflow({ id: 'report' }, () => 1)
const mail = workflow({ id: 'mail', queue: 'slow' }, () => 1)

describe('a worker’s settings', () => {
  test('come from its options, else from the environment', () => {
    expect(workerSettings({ workflows: [report] }, { ...env, HEADRACE_DRAIN_TIMEOUT: '5' }).drainMs).toBe(
      5_000,
    )
    expect(workerSettings({ workflows: [report] }, { ...env, HEADRACE_DRAIN_TIMEOUT: '5s' })).toMatchObject({
      url: 'http://localhost:8080',
      apiKey: null,
      app: 'shop',
      queue: 'default',
      concurrency: 300,
      drainMs: 5_000,
      health: null,
      kafkaBrokers: null,
    })
    const options = { workflows: [report], url: 'https://h', app: 'other', drainTimeout: 1, concurrency: 7 }
    expect(workerSettings(options, env)).toMatchObject({
      url: 'https://h',
      app: 'other',
      drainMs: 1_000,
      concurrency: 7,
    })
  })

  test('the app is its package’s name when it is not said', () => {
    expect(workerSettings({ workflows: [report] }, { HEADRACE_URL: 'http://x' }).app).not.toMatch(/[@/]/)
  })

  test('the build is a hash of the code, so that changed code is another build', () => {
    const build = (...workflows: (typeof report)[]) => workerSettings({ workflows }, env).build
    expect(build(report)).toMatch(/^[0-9a-f]{12}$/)
    expect(build(report)).toBe(build(workflow({ id: 'report' }, () => 1)))
    expect(build(report)).not.toBe(build(workflow({ id: 'report' }, () => 1 + 1)))
    expect(build(report)).not.toBe(
      build(
        report,
        workflow({ id: 'z' }, () => 1),
      ),
    )
    expect(workerSettings({ workflows: [report] }, { ...env, HEADRACE_BUILD_ID: 'b7' }).build).toBe('b7')
  })

  test('a worker takes one queue, but registers all its workflows', () => {
    const settings = workerSettings({ workflows: [report, mail], queue: 'slow' }, env)
    expect([...settings.workflows.keys()]).toEqual(['report', 'mail'])
    expect([...settings.runnable.keys()]).toEqual(['mail'])
  })

  test.each([
    [{ workflows: [report] }, {}, /HEADRACE_URL must be set/],
    [{ workflows: [report] }, { HEADRACE_URL: 'localhost:8080' }, /HEADRACE_URL must be an http/],
    [{ workflows: [] }, env, /at least one workflow/],
    [{ workflows: [report, report] }, env, /two workflows have the id "report"/],
    [{ workflows: [report, mail] }, env, /on the queues default, slow; say which/],
    [{ workflows: [report], queue: 'other' }, env, /none of the workflows is on the queue "other"/],
    [{ workflows: [report], concurrency: 0 }, env, /concurrency must be a whole number from 1 to 10000/],
    [{ workflows: [report] }, { ...env, HEADRACE_APP: 'no spaces' }, /HEADRACE_APP must be/],
    [{ workflows: [report] }, { ...env, HEADRACE_DRAIN_TIMEOUT: 'soon' }, /HEADRACE_DRAIN_TIMEOUT/],
    [{ workflows: [report] }, { ...env, HEADRACE_LOG_LEVEL: 'loud' }, /HEADRACE_LOG_LEVEL must be one of/],
    [{ workflows: [report] }, { ...env, HEADRACE_BUILD_ID: 'x'.repeat(101) }, /HEADRACE_BUILD_ID/],
  ])('that are wrong are named: %#', (options, environment, message) => {
    expect(() => workerSettings(options, environment)).toThrow(message)
  })
})

test('the version told at registration is the package’s', async () => {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  expect(JSON.parse(text)).toMatchObject({ version: sdkVersion })
})
