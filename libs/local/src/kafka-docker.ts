import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { exists } from './data-folder.ts'
import { KAFKA_VERSION, type OnProgress } from './kafka-jars.ts'
import { kafkaAnswers } from './kafka-ready.ts'
import { keepPorts } from './kept-ports.ts'
import { poll } from './poll.ts'

const run = promisify(execFile)

export const KAFKA_IMAGE = `apache/kafka:${KAFKA_VERSION}`

/** The daemon may have to wake up. */
const DAEMON_DEADLINE_MS = 10_000
const READY_DEADLINE_MS = 120_000
/** Kafka's own port for its quorum, inside the container only. */
const CONTROLLER_PORT = 9_093

/** In the data folder: its log is in a Docker volume, which a reset must delete too. */
const DOCKER_MARK = 'docker'

/** Whether a Docker daemon answers. */
export async function hasDocker(env: NodeJS.ProcessEnv): Promise<boolean> {
  return await run('docker', ['version', '--format', '{{.Server.Version}}'], {
    env,
    timeout: DAEMON_DEADLINE_MS,
  }).then(
    () => true,
    () => false,
  )
}

/** The container and volume of this data folder: named for it, and so found again after a crash. */
function dockerNames(folder: string): { container: string; volume: string } {
  const id = createHash('sha256').update(folder).digest('hex').slice(0, 12)
  return { container: `headrace-kafka-${id}`, volume: `headrace-kafka-${id}` }
}

export interface DockerKafkaOptions {
  folder: string
  env: NodeJS.ProcessEnv
  port?: number
  onProgress: OnProgress
}

export interface DockerKafka {
  port: number
  stop(): Promise<void>
  kill(): Promise<void>
}

/** Kafka in a container of its own, its log in a volume named for the data folder. */
export async function startDockerKafka({
  folder,
  env,
  port: fixed,
  onProgress,
}: DockerKafkaOptions): Promise<DockerKafka> {
  const docker = async (...args: string[]): Promise<void> => {
    await run('docker', args, { env })
  }
  await pullImage(env, onProgress)
  const { container, volume } = dockerNames(folder)
  const { port } = await keepPorts({
    file: join(folder, 'ports.json'),
    names: ['port'],
    ...(fixed === undefined ? {} : { fixed: { port: fixed } }),
  })
  await writeFile(join(folder, DOCKER_MARK), `${container}\n`)
  // What a killed process left behind; removing a container keeps its volume.
  await docker('rm', '--force', container).catch(() => undefined)
  const settings = Object.entries(kafkaImageSettings(port)).flatMap(([name, value]) => [
    '--env',
    `${name}=${value}`,
  ])
  const place = ['--name', container, '--volume', `${volume}:/var/lib/kafka/data`]
  const reach = ['--label', `headrace.data_folder=${folder}`, '--publish', `127.0.0.1:${port}:${port}`]
  await docker('run', '--detach', ...place, ...reach, ...settings, KAFKA_IMAGE)
  const ready = await poll(async () => ((await kafkaAnswers(port)) ? true : null), READY_DEADLINE_MS)
  if (ready === null) {
    const { stdout } = await run('docker', ['logs', '--tail', '15', container], { env }).catch(() => ({
      stdout: '',
    }))
    await docker('rm', '--force', container)
    throw new Error(`Kafka in Docker gave no answer within ${READY_DEADLINE_MS / 1000} s:\n${stdout}`)
  }
  return {
    port,
    stop: async () => {
      await docker('stop', '--time', '15', container)
      await docker('rm', '--force', container)
    },
    kill: async () => {
      await docker('kill', container).catch(() => undefined)
      await docker('rm', '--force', container)
    },
  }
}

/** Deletes the container and the volume of this data folder, if its Kafka ever ran in Docker. */
export async function removeDockerKafka(folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  if (!(await exists(join(folder, DOCKER_MARK)))) return
  const { container, volume } = dockerNames(folder)
  await run('docker', ['rm', '--force', container], { env, timeout: DAEMON_DEADLINE_MS }).catch(
    () => undefined,
  )
  await run('docker', ['volume', 'rm', '--force', volume], { env, timeout: DAEMON_DEADLINE_MS }).catch(
    () => undefined,
  )
}

async function pullImage(env: NodeJS.ProcessEnv, onProgress: OnProgress): Promise<void> {
  if (await hasImage(KAFKA_IMAGE, env)) return
  onProgress(`fetching the image ${KAFKA_IMAGE} (about 400 MB, once)`)
  try {
    await run('docker', ['pull', '--quiet', KAFKA_IMAGE], { env })
  } catch (error) {
    throw new Error(`Docker could not fetch ${KAFKA_IMAGE}`, { cause: error })
  }
}

/** Whether the Docker daemon has this image already. */
export async function hasImage(image: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  return await run('docker', ['image', 'inspect', image], { env }).then(
    () => true,
    () => false,
  )
}

/** The image turns KAFKA_A_B into a.b of server.properties; the same small settings as without Docker. */
export function kafkaImageSettings(port: number): Record<string, string | number> {
  return {
    KAFKA_NODE_ID: 1,
    KAFKA_PROCESS_ROLES: 'broker,controller',
    KAFKA_CONTROLLER_QUORUM_VOTERS: `1@127.0.0.1:${CONTROLLER_PORT}`,
    KAFKA_LISTENERS: `PLAINTEXT://0.0.0.0:${port},CONTROLLER://127.0.0.1:${CONTROLLER_PORT}`,
    KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://127.0.0.1:${port}`,
    KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
    KAFKA_INTER_BROKER_LISTENER_NAME: 'PLAINTEXT',
    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    KAFKA_LOG_DIRS: '/var/lib/kafka/data',
    KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
    KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1,
    KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS: 1,
    KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: 1,
    KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: 1,
    KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: 0,
    KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS: 1000,
    KAFKA_BROKER_SESSION_TIMEOUT_MS: 2000,
    KAFKA_BROKER_HEARTBEAT_INTERVAL_MS: 500,
    KAFKA_CONTROLLED_SHUTDOWN_ENABLE: 'true',
    KAFKA_HEAP_OPTS: '-Xmx512m',
  }
}
