import { execFile } from 'node:child_process'
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  atFileEnd,
  createDatabase,
  eventually,
  infra,
  REPOSITORY,
  startProcess,
  testFolder,
} from '@headrace/testing'
import { beforeAll, expect, test } from 'vitest'
import { allEnded, getJson, liveWorkers, startPlatform } from '../harness/platform.ts'
import { type PackageRegistry, startPackageRegistry } from '../harness/package-registry.ts'

const run = promisify(execFile)
const example = join(REPOSITORY, 'examples', 'event-triggered')
const files = ['workflows.ts', 'conversations.ts', 'worker.ts', '.env.example', 'package.json', 'README.md']
let registry: PackageRegistry
let folder: string
let env: NodeJS.ProcessEnv

/** The commands of the README's shell blocks, in order; a line that ends in a backslash goes on. */
async function readmeCommands(): Promise<string[]> {
  const readme = await readFile(join(folder, 'README.md'), 'utf8')
  return [...readme.matchAll(/```sh\n([^`]+)```/g)].flatMap(([, block = '']) =>
    block.replaceAll('\\\n', ' ').trim().split('\n'),
  )
}

/** The copied folder has a Node of its own; nothing of this repository must leak into it. */
const shell = async (command: string): Promise<string> =>
  (await run('sh', ['-c', command], { cwd: folder, env, maxBuffer: 64 * 1024 * 1024 })).stdout

beforeAll(async () => {
  folder = await testFolder('example')
  registry = await startPackageRegistry(['schemas', 'core', 'broker', 'sdk'], await testFolder('packages'))
  atFileEnd('the package registry', async () => await registry.close())
  for (const file of files) await copyFile(join(example, file), join(folder, file))
  const inherited = Object.entries(process.env).filter(
    ([name]) =>
      !name.startsWith('HEADRACE_') &&
      !/^npm_(?!config_(registry|cache|userconfig))/i.test(name) &&
      name !== 'NODE_OPTIONS',
  )
  const path = process.env['PATH']?.split(':').filter((entry) => !entry.startsWith(REPOSITORY))
  env = { ...Object.fromEntries(inherited), PATH: path?.join(':') }
  await writeFile(join(folder, '.npmrc'), `@headrace:registry=${registry.url}\n`)
}, 300_000)

test('what is packed is compiled JavaScript with its license, without tests or maps to sources that are not there', () => {
  for (const { name, files: packed } of registry.packages) {
    const others = packed.filter((file) => /\.(test|fixture)\.|\.map$|(?<!\.d)\.ts$/.test(file))
    expect({ name, others }).toEqual({ name, others: [] })
    expect(packed).toContain('LICENSE')
    expect(packed).toContain('dist/index.js')
  }
  expect(registry.packages.find((one) => one.name === '@headrace/sdk')?.files).toContain(
    'dist/worker/heartbeat-thread.js',
  )
})

test('copied to a folder of its own, the example does what its README says', async () => {
  const commands = await readmeCommands()
  expect(commands.slice(0, 3)).toEqual(['npm install', 'cp .env.example .env', 'npm start'])
  for (const command of commands.slice(0, 2)) await shell(command)

  // Its types are those of the packed declarations, checked as strictly as a user may.
  const types = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2024',
    '--noUncheckedIndexedAccess',
  ]
  const others = [
    '--exactOptionalPropertyTypes',
    '--allowImportingTsExtensions',
    '--types',
    'node',
    '--lib',
    'es2024',
  ]
  await mkdir(join(folder, 'node_modules', '@types'), { recursive: true })
  await symlink(
    join(REPOSITORY, 'node_modules', '@types', 'node'),
    join(folder, 'node_modules', '@types', 'node'),
  )
  await symlink(
    join(REPOSITORY, 'node_modules', 'undici-types'),
    join(folder, 'node_modules', 'undici-types'),
  )
  const tsc = join(REPOSITORY, 'node_modules', '.bin', 'tsc')
  await run(tsc, [...types, ...others, 'worker.ts'], { cwd: folder }).catch((error: { stdout?: string }) => {
    throw new Error(`the copied example does not type-check:\n${error.stdout}`)
  })

  const { brokers, prefix } = await infra()
  const database = await createDatabase()
  const { gateway } = await startPlatform({ brokers, prefix, databaseUrl: database.url })
  const settings = await readFile(join(folder, '.env'), 'utf8')
  await writeFile(join(folder, '.env'), settings.replace('http://localhost:8080', gateway.url))

  const worker = await startProcess({
    name: 'the copied example',
    command: 'npm',
    args: ['start'],
    cwd: folder,
    env: { PATH: env['PATH'] },
  })
  await worker.waitForLine('worker.registered')
  await eventually('the worker has partitions', async () =>
    (await liveWorkers(gateway.url)).some((one) => one.partitions.length > 0),
  )
  const curls = commands.filter((command) => command.startsWith('curl'))
  expect(curls).toHaveLength(9)
  const answers: string[] = []
  for (const curl of curls) answers.push(await shell(curl.replaceAll('http://localhost:8080', gateway.url)))
  expect(JSON.parse(answers[0] ?? '')).toMatchObject({
    events: [{ topic: 'orders/created', stream: 'orders' }],
  })
  expect(JSON.parse(answers[1] ?? '')).toHaveProperty('data')
  // Two orders: one published by hand, one by the run of `checkout`.
  for (const [workflow, count] of [
    ['on_order_created', 2],
    ['checkout', 1],
    ['responder', 1],
  ] as const)
    for (const { status } of await allEnded(gateway.url, workflow, count))
      expect({ workflow, status }).toEqual({ workflow, status: 'completed' })
  for (const [workflow, output] of [
    ['approve_order', { order_id: 'order-123', approved: true }],
    ['requester', { result: 'process is done' }],
  ] as const) {
    const [ended] = await allEnded(gateway.url, workflow, 1)
    expect(await getJson(`${gateway.url}/v1/runs/${ended?.id}`)).toMatchObject({
      status: 'completed',
      output,
    })
  }
  await worker.killTree()
})
