import { eventually, REPOSITORY, startProcess, type TestProcess } from '@headrace/testing'
import { expect, test } from 'vitest'

const SERVICE = new URL('./index.ts', import.meta.url).href

/** A process whose service says what happens to it. */
async function start(body: string, env: Record<string, string> = {}): Promise<TestProcess> {
  const program = `
    import { runMain, runService, createLogger, ConfigError } from '${SERVICE}'
    import { crashPoint } from '@headrace/core'
    const log = createLogger({ name: 'test', level: 'silent' })
    const say = (line) => process.stdout.write(line + '\\n')
    await runMain({ start: async (signal) => { ${body} } })
  `
  return await startProcess({
    name: 'service',
    args: ['--conditions=@headrace/source', '--input-type=module-typescript', '-e', program],
    cwd: `${REPOSITORY}libs/service`,
    env,
  })
}

const SLOW = `
  return await runService({ name: 'x', log, start: async ({ onStop }) => {
    onStop(async () => { say('draining'); await new Promise((resolve) => setTimeout(resolve, 60_000)) })
    say('up')
  } })`

test('SIGTERM stops the service and exits with 0', async () => {
  const child = await start(`
    return await runService({ name: 'x', log, start: async ({ onStop }) => { onStop(() => say('released')); say('up') } })`)
  await child.waitForLine('up')
  expect(await child.kill('SIGTERM')).toEqual({ code: 0, signal: null })
  expect(child.stdout).toEqual(['up', 'released'])
})

test('a later signal ends the process at once; npm’s echo of the first one does not', async () => {
  const child = await start(SLOW)
  await child.waitForLine('up')
  const exit = child.kill('SIGINT')
  process.kill(child.pid, 'SIGINT')
  await child.waitForLine('draining')
  let ended = false
  exit.then(() => (ended = true)).catch(() => undefined)
  await eventually('the process ends by a further signal', () => ended || !process.kill(child.pid, 'SIGINT'))
  expect(await exit).toEqual({ code: 130, signal: null })
})

test('wrong settings are said in a line each, without a stack, and exit with 2', async () => {
  const child = await start(`throw new ConfigError([{ variable: 'HEADRACE_PORT', message: 'must be set' }])`)
  expect(await child.exit).toEqual({ code: 2, signal: null })
  expect(child.stderr).toEqual(['The settings are not valid:', '  HEADRACE_PORT: must be set'])
})

test('a start that fails exits with 1 and says why', async () => {
  const child = await start(`throw new Error('no such luck')`)
  expect((await child.exit).code).toBe(1)
  expect(child.stderr.join('\n')).toContain('no such luck')
})

test('a signal while starting aborts the start', async () => {
  const child = await start(`
    say('starting')
    const alive = setInterval(() => undefined, 1_000)
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))`)
  await child.waitForLine('starting')
  expect(await child.kill('SIGTERM')).toEqual({ code: 0, signal: null })
})

test('the process dies at the N-th passing of the crash point it was given, and says so', async () => {
  const child = await start(
    `for (let i = 1; i <= 5; i += 1) { say('passing ' + i); crashPoint('here'); crashPoint('elsewhere') }
     say('survived')`,
    { HEADRACE_CRASH_POINT: 'here:3' },
  )
  expect(await child.exit).toEqual({ code: null, signal: 'SIGKILL' })
  expect(child.stderr).toEqual(['HEADRACE_CRASH_POINT here'])
  expect(child.stdout.at(-1)).toBe('passing 3')
})
