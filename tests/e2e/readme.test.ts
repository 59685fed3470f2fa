import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { eventually, freePort, REPOSITORY, startProcess, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const base = 'http://localhost:8080'
const readme = await readFile(join(REPOSITORY, 'README.md'), 'utf8')

/** The commands of its shell blocks, in order; a line that ends in a backslash goes on. */
const commands = [...readme.matchAll(/^```(?:sh|bash|shell|console)\n([^]*?)^```$/gm)].flatMap(
  ([, block = '']) =>
    block
      .replaceAll(/\\\n\s*/g, '')
      .trim()
      .split('\n'),
)
/** Run below, in this order. A command that README gains is run here too, or this test fails. */
const [start = '', publish = '', list = ''] = commands

/** As it stands in README, but on the port of this test. */
const shell = async (command: string, url: string): Promise<string> =>
  (await run('sh', ['-c', command.replaceAll(base, url)], { cwd: REPOSITORY })).stdout

test('README has the commands that are run here, and no other', () => {
  expect(commands).toHaveLength(3)
  expect(start).toBe('npm start')
  expect(publish).toMatch(/^curl http:\/\/localhost:8080\/v1\/events .*orders\/created/)
  expect(list).toBe(`curl '${base}/v1/runs?workflow=on_order_created'`)
  // Its options are those that the next test, and tests/e2e/dev.test.ts, start it with.
  expect(readme).toContain('`npm start -- --port 9000 --data-dir /tmp/headrace --no-example --reset`')
})

test('Try it: npm start, the curl of README, and the run that it started, as README says', async () => {
  const port = await eventually('a port whose neighbours are likely to be free', async () => {
    const free = await freePort()
    return free < 60_000 ? free : null
  })
  const url = `http://localhost:${port}`
  const [command = '', ...args] = start.split(' ')
  const npm = await startProcess({
    name: start,
    command,
    args: [...args, '--', '--port', String(port), '--data-dir', await testFolder('readme')],
  })
  // The banner ends with a curl to try: README's own.
  const printed = await npm.waitForLine(/^ {2}-d '/, { deadlineMs: 240_000 })
  expect(publish).toContain(printed.trim())

  const answer: unknown = JSON.parse(await shell(publish, url))
  expect(answer).toMatchObject({ events: [{ topic: 'orders/created', stream: 'orders' }], warnings: [] })
  await npm.waitForLine('run    on_order_created started')
  await npm.waitForLine('run    on_order_created completed')
  const runs: unknown = JSON.parse(await shell(list, url))
  expect(runs).toMatchObject({
    data: [{ workflow: 'on_order_created', status: 'completed', trigger: { stream: 'orders', events: 1 } }],
    next_cursor: null,
  })

  // Ctrl-C: the terminal sends it to every process of the group. npm's shell dies of it, Headrace stops in order; the
  // exit is seen when the last of them has closed its output.
  process.kill(-npm.pid, 'SIGINT')
  const { code, signal } = await npm.exit
  expect(signal ?? code).toBeOneOf(['SIGINT', 0])
  await expect(fetch(`${url}/v1/status`)).rejects.toThrow('fetch failed')
})
