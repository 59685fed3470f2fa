import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  endOrphans,
  folderHolder,
  freePort,
  hasDocker,
  hasImage,
  KAFKA_IMAGE,
  kafkaAnswers,
  kafkaImageSettings,
  lockFolder,
  POSTGRES_IMAGE,
  startKafka,
  startPostgres,
} from '@headrace/local'
import { eventually } from './eventually.ts'

const run = promisify(execFile)

/** The one Kafka and the one Postgres of a test run, as test files see them. */
export interface SharedInfra {
  brokers: string[]
  /** A superuser's URL of a database that no test uses. */
  adminUrl: string
  /** Where servers of a test's own keep their data; removed at the end of the run. */
  folder: string
  /** For the first line of output. */
  reason: string
}

export interface RunningInfra extends SharedInfra {
  stop(): Promise<void>
}

declare module 'vitest' {
  interface ProvidedContext {
    headraceInfra: SharedInfra
  }
}

/** Test files run side by side, each with several apps and their pools. */
const CONNECTIONS_MAX = 300
const YOUNG_MS = 60_000
const PULL_DEADLINE_MS = 300_000

/** The environment without our own settings: tests never touch the Kafka or Postgres that a developer works with. */
export function neutralEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HEADRACE_')))
}

/** Starts both, in containers or on this machine as `HEADRACE_TEST_INFRA` says. */
export async function startInfra(say: (line: string) => void): Promise<RunningInfra> {
  const { how, why } = await chooseInfra(process.env['HEADRACE_TEST_INFRA'] ?? 'auto')
  const root = join(tmpdir(), `headrace-test-${process.getuid?.() ?? 0}`)
  await mkdir(root, { recursive: true, mode: 0o755 })
  await sweep(root)
  const folder = await mkdtemp(join(root, 'run-'))
  // Root lends Postgres the user `postgres`, who must be able to walk in.
  await chmod(folder, 0o755)
  const lock = await lockFolder(folder)
  const leave = async (): Promise<void> => {
    await clear(folder)
    await lock.release()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const servers = how === 'containers' ? await startContainers() : await startLocal(folder, say)
    return {
      brokers: servers.brokers,
      adminUrl: servers.adminUrl,
      folder,
      reason: `${servers.reason}; ${why}`,
      stop: async () => {
        await servers.stop()
        await leave()
      },
    }
  } catch (error) {
    await leave()
    throw error
  }
}

interface Servers {
  brokers: string[]
  adminUrl: string
  reason: string
  stop(): Promise<void>
}

async function startLocal(folder: string, onProgress: (line: string) => void): Promise<Servers> {
  const env = neutralEnvironment()
  const settings = { max_connections: CONNECTIONS_MAX }
  const [kafka, postgres] = await Promise.all([
    startKafka({ dataDir: folder, env, onProgress }),
    startPostgres({ dataDir: folder, env, onProgress, settings }),
  ])
  return {
    brokers: kafka.brokers,
    adminUrl: postgres.url,
    reason: `${kafka.reason.split(' (')[0]}, ${postgres.reason.split(' (')[0]}`,
    stop: async () => {
      await Promise.all([kafka.stop(), postgres.stop()])
    },
  }
}

async function startContainers(): Promise<Servers> {
  const { GenericContainer, Wait } = await import('testcontainers')
  const port = await freePort()
  const settings = Object.entries(kafkaImageSettings(port)).map(([name, value]) => [name, String(value)])
  const [kafka, postgres] = await Promise.all([
    new GenericContainer(KAFKA_IMAGE)
      .withEnvironment(Object.fromEntries(settings))
      .withExposedPorts({ container: port, host: port })
      .start(),
    new GenericContainer(POSTGRES_IMAGE)
      .withEnvironment({ POSTGRES_USER: 'headrace', POSTGRES_PASSWORD: 'headrace', POSTGRES_DB: 'headrace' })
      .withExposedPorts(5432)
      .withCommand(['postgres', '-c', `max_connections=${CONNECTIONS_MAX}`])
      // Once for its own set-up, and once for us.
      .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/, 2))
      .start(),
  ])
  await eventually('Kafka in its container answers', async () => await kafkaAnswers(port), {
    deadlineMs: 120_000,
  })
  return {
    brokers: [`127.0.0.1:${port}`],
    adminUrl: `postgres://headrace:headrace@${postgres.getHost()}:${postgres.getMappedPort(5432)}/headrace`,
    reason: `${KAFKA_IMAGE} and ${POSTGRES_IMAGE} in containers`,
    stop: async () => {
      await Promise.all([kafka.stop(), postgres.stop()])
    },
  }
}

async function chooseInfra(wanted: string): Promise<{ how: 'containers' | 'local'; why: string }> {
  const said = `HEADRACE_TEST_INFRA=${wanted}`
  switch (wanted) {
    case 'containers':
    case 'local':
      return { how: wanted, why: said }
    case 'auto': {
      const env = neutralEnvironment()
      if (!(await hasDocker(env))) return { how: 'local', why: 'no Docker daemon answers' }
      const images = await Promise.all(
        [KAFKA_IMAGE, POSTGRES_IMAGE].map(async (image) => await obtain(image, env)),
      )
      return images.every(Boolean)
        ? { how: 'containers', why: 'a Docker daemon answers and has the images' }
        : { how: 'local', why: 'the Docker daemon cannot get the images' }
    }
    default:
      throw new Error(`HEADRACE_TEST_INFRA must be containers, local or auto, not "${wanted}"`)
  }
}

async function obtain(image: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  if (await hasImage(image, env)) return true
  return await run('docker', ['pull', '--quiet', image], { env, timeout: PULL_DEADLINE_MS }).then(
    () => true,
    () => false,
  )
}

/** Ends and removes what runs left behind that were killed. */
async function sweep(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    const folder = join(root, name)
    if ((await folderHolder(folder)) !== null || (await isYoung(folder))) continue
    await clear(folder)
    await rm(folder, { recursive: true, force: true })
  }
}

/** A run that has just made its folder has not locked it yet. */
async function isYoung(folder: string): Promise<boolean> {
  const { birthtimeMs } = await stat(folder)
  return Date.now() - birthtimeMs < YOUNG_MS
}

async function clear(folder: string): Promise<void> {
  await Promise.all([
    endOrphans({ program: 'java', folder, stopSignal: 'SIGKILL' }),
    endOrphans({ program: 'postgres', folder, stopSignal: 'SIGINT' }),
  ])
}
