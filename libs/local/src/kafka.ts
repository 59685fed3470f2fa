import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { lockFolder, thenRelease } from './data-folder.ts'
import { findJava, hasMaven, type Java } from './java.ts'
import { hasDocker, KAFKA_IMAGE, startDockerKafka } from './kafka-docker.ts'
import { cachedKafkaJars, fetchKafkaJars, KAFKA_VERSION, type OnProgress } from './kafka-jars.ts'
import { startJvmKafka } from './kafka-jvm.ts'
import type { KafkaExtras } from './kafka-properties.ts'

export interface StartKafkaOptions {
  /** The data folder; Kafka's part is its `kafka`. Kept between starts, with the ports. */
  dataDir: string
  /** The environment in which to look: `HEADRACE_KAFKA_BROKERS`, `JAVA_HOME`, `PATH`, `XDG_CACHE_HOME`. */
  env: NodeJS.ProcessEnv
  onProgress: OnProgress
  /** A free one, kept in the data folder, unless said. */
  port?: number
  /** More heap and another collector, for benchmarks. */
  large?: boolean
  /** More listeners and settings, on a JVM alone: where only Docker is at hand, this is an error. */
  extras?: KafkaExtras
}

export interface LocalKafka {
  /** `host:port` each. */
  readonly brokers: string[]
  /** One line for the banner: which Kafka, and why that one. */
  readonly reason: string
  /** Of the broker's process, where it is ours and not in a container. */
  readonly pid: number | null
  /** In order, data kept. */
  stop(): Promise<void>
  /** As by `kill -9`. */
  kill(): Promise<void>
}

/** There is no way to a Kafka on this machine. The message names the three ways out. */
export class NoKafkaError extends Error {
  readonly code = 'no_kafka'
  override readonly name = 'NoKafkaError'
  constructor(missing: string) {
    super(
      [
        `There is no Kafka to use: ${missing}. Three ways out:`,
        '  1. set HEADRACE_KAFKA_BROKERS=host:port to a Kafka that runs already',
        `  2. install a JVM (17 or newer) and Maven: Apache Kafka ${KAFKA_VERSION} is fetched and run from its own jars`,
        `  3. install and start Docker: ${KAFKA_IMAGE} is run in a container`,
      ].join('\n'),
    )
  }
}

/**
 * A Kafka on this machine: `HEADRACE_KAFKA_BROKERS`, else Kafka's own jars on a JVM, else Docker. Ready for
 * metadata when it resolves; the first group or producer may still be told that its coordinator is loading.
 *
 * Rejects with NoKafkaError, or DataFolderInUseError when another process works on this data.
 */
export async function startKafka(options: StartKafkaOptions): Promise<LocalKafka> {
  const { env, onProgress } = options
  const given = env['HEADRACE_KAFKA_BROKERS']
  if (given !== undefined && given !== '') return givenKafka(given)

  const way = await findWay(env)
  const dataDir = resolve(options.dataDir)
  await mkdir(join(dataDir, 'logs'), { recursive: true })
  const lock = await lockFolder(join(dataDir, 'kafka'))
  const port = options.port === undefined ? {} : { port: options.port }
  try {
    if (way.by === 'docker') {
      if (options.extras !== undefined) throw new NoKafkaError('other listeners need a JVM and Maven')
      const kafka = await startDockerKafka({ folder: lock.path, env, onProgress, ...port })
      return {
        brokers: [`127.0.0.1:${kafka.port}`],
        reason: `${KAFKA_IMAGE} in Docker (no JVM ${way.javaMissing ? '17' : 'with Maven'} here)`,
        pid: null,
        stop: thenRelease(lock, async () => await kafka.stop()),
        kill: thenRelease(lock, async () => await kafka.kill()),
      }
    }
    const jars = way.jars ?? (await fetchKafkaJars(env, onProgress))
    const logFile = join(dataDir, 'logs', 'kafka.log')
    const large = options.large === true
    const started = {
      folder: lock.path,
      logFile,
      java: way.java.command,
      jars,
      env,
      large,
      onProgress,
      ...port,
      ...(options.extras === undefined ? {} : { extras: options.extras }),
    }
    const kafka = await startJvmKafka(started)
    return {
      brokers: [`127.0.0.1:${kafka.port}`],
      reason: `Apache Kafka ${KAFKA_VERSION} on Java ${way.java.version} (HEADRACE_KAFKA_BROKERS is not set)`,
      pid: kafka.server.pid,
      stop: thenRelease(lock, async () => await kafka.server.stop()),
      kill: thenRelease(lock, async () => await kafka.server.kill()),
    }
  } catch (error) {
    await lock.release()
    throw error
  }
}

function givenKafka(given: string): LocalKafka {
  return {
    brokers: given.split(',').map((address) => address.trim()),
    reason: 'HEADRACE_KAFKA_BROKERS is set',
    pid: null,
    stop: async () => undefined,
    kill: async () => undefined,
  }
}

type Way = { by: 'jvm'; java: Java; jars: string | null } | { by: 'docker'; javaMissing: boolean }

async function findWay(env: NodeJS.ProcessEnv): Promise<Way> {
  const java = await findJava(env)
  if (java !== null) {
    const jars = await cachedKafkaJars(env)
    // With the jars in the cache Maven is not needed any more.
    if (jars !== null || (await hasMaven(env))) return { by: 'jvm', java, jars }
  }
  if (await hasDocker(env)) return { by: 'docker', javaMissing: java === null }
  const jvm = java === null ? 'no JVM 17 or newer was found' : 'there is a JVM, but no Maven'
  throw new NoKafkaError(`HEADRACE_KAFKA_BROKERS is not set, ${jvm}, and no Docker daemon answers`)
}
