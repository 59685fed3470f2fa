import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { exists } from './data-folder.ts'
import { KAFKA_LOG_CONFIG } from './kafka-jars.ts'
import { type KafkaExtras, kafkaProperties } from './kafka-properties.ts'
import { kafkaAnswers } from './kafka-ready.ts'
import { keepPorts } from './kept-ports.ts'
import { poll } from './poll.ts'
import { endOrphans, startServerProcess, type ServerProcess } from './server-process.ts'

const run = promisify(execFile)

export interface JvmKafkaOptions {
  /** The data folder's `kafka` part, locked by us. */
  folder: string
  logFile: string
  java: string
  /** The folder of Kafka's jars. */
  jars: string
  env: NodeJS.ProcessEnv
  port?: number
  /** More heap and a parallel collector, for benchmarks. */
  large?: boolean
  extras?: KafkaExtras
  onProgress: (line: string) => void
}

/** Ready in 2–3 s on a laptop; ten times that and more for a machine that is busy with other things. */
const READY_DEADLINE_MS = 90_000

export async function startJvmKafka(
  options: JvmKafkaOptions,
): Promise<{ port: number; server: ServerProcess }> {
  const { folder, logFile, java, jars, env, onProgress, extras } = options
  const properties = join(folder, 'server.properties')
  const logDir = join(folder, 'data')
  const orphans = await endOrphans({ program: 'java', folder, stopSignal: 'SIGTERM' })
  if (orphans.length > 0)
    onProgress(`ended a Kafka that was left behind on this folder (pid ${orphans.join(', ')})`)
  const ports = await keepPorts({
    file: join(folder, 'ports.json'),
    names: ['port', 'controllerPort'],
    ...(options.port === undefined ? {} : { fixed: { port: options.port } }),
  })
  await mkdir(logDir, { recursive: true })
  await writeFile(
    properties,
    kafkaProperties({
      ...ports,
      logDir,
      listenHost: '127.0.0.1',
      ...(extras === undefined ? {} : { extras }),
    }),
  )
  const classpath = ['-Dlog4j2.configurationFile=' + KAFKA_LOG_CONFIG, '-cp', join(jars, '*')]
  if (!(await exists(join(logDir, 'meta.properties')))) {
    const clusterId = randomBytes(16).toString('base64url')
    const format = [
      'kafka.tools.StorageTool',
      'format',
      `--cluster-id=${clusterId}`,
      '-c',
      properties,
      '--ignore-formatted',
      ...scramUsers(extras),
    ]
    await run(java, ['-XX:TieredStopAtLevel=1', ...classpath, ...format], { env, cwd: folder })
  }
  const server = await startServerProcess({
    name: 'Kafka',
    command: java,
    args: [...heapOptions(options.large === true), ...classpath, 'kafka.Kafka', properties],
    env,
    cwd: folder,
    logFile,
    stopSignal: 'SIGTERM',
  })
  const ready = await poll(async () => {
    if (server.hasExited()) return 'exited' as const
    return (await kafkaAnswers(ports.port)) ? ('ready' as const) : null
  }, READY_DEADLINE_MS)
  if (ready === 'ready') return { port: ports.port, server }
  const words = await server.lastWords()
  await server.kill()
  const why =
    ready === 'exited'
      ? `ended (${await server.exited})`
      : `gave no answer within ${READY_DEADLINE_MS / 1000} s`
  throw new Error(`Kafka ${why}; the end of ${logFile}:\n${words}`)
}

function heapOptions(large: boolean): string[] {
  // The serial collector and the first compiler tier start faster and stay small.
  return large ? ['-Xmx1g', '-XX:+UseG1GC'] : ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
}

function scramUsers(extras: KafkaExtras | undefined): string[] {
  return (extras?.scramUsers ?? []).flatMap(({ name, password }) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].map(
      (mechanism) => `--add-scram=${mechanism}=[name=${name},password=${password}]`,
    ),
  )
}
