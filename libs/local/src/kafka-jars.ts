import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { cacheFolder } from './cache-folder.ts'
import { errorCode } from './data-folder.ts'
import { MAVEN } from './java.ts'

/** The version that pom.xml names; a test compares them. */
export const KAFKA_VERSION = '4.2.1'

/** Beside `src` and `dist`, so the same path from both. */
export const KAFKA_POM = fileURLToPath(new URL('../kafka/pom.xml', import.meta.url))
export const KAFKA_LOG_CONFIG = fileURLToPath(new URL('../kafka/log4j2.properties', import.meta.url))

/** Tells the user what takes so long. One line each. */
export type OnProgress = (line: string) => void

/** Between two lines of progress. */
const PROGRESS_EVERY_JARS = 10
const LAST_LINES = 20

const kafkaCacheFolder = (env: NodeJS.ProcessEnv): string => cacheFolder(env, `kafka-${KAFKA_VERSION}`)

/** The folder of jars, if a complete one is in the cache. */
export async function cachedKafkaJars(env: NodeJS.ProcessEnv): Promise<string | null> {
  const folder = kafkaCacheFolder(env)
  const names = await readdir(folder).catch(() => [])
  return names.some((name) => name.startsWith('kafka_')) ? folder : null
}

/**
 * Has Maven copy Kafka's jars into the cache. They are gathered in a folder of our own, which is renamed when it is
 * complete: a cache folder that exists is whole, and of two processes that race one wins and both are served.
 */
export async function fetchKafkaJars(env: NodeJS.ProcessEnv, onProgress: OnProgress): Promise<string> {
  const folder = kafkaCacheFolder(env)
  const gathering = `${folder}.${process.pid}.${randomBytes(4).toString('hex')}`
  const jars = join(gathering, 'jars')
  await mkdir(jars, { recursive: true })
  try {
    // Maven works beside the pom, so it works on a copy: ours may lie in a folder that is read-only.
    await copyFile(KAFKA_POM, join(gathering, 'pom.xml'))
    onProgress(`fetching Apache Kafka ${KAFKA_VERSION} with Maven (about 45 MB, once)`)
    await copyDependencies({ pom: join(gathering, 'pom.xml'), output: jars, env, onProgress })
    await rename(jars, folder).catch((error: unknown) => {
      // The other process was first; its folder is as good.
      if (errorCode(error) !== 'ENOTEMPTY' && errorCode(error) !== 'EEXIST') throw error
    })
    return folder
  } finally {
    await rm(gathering, { recursive: true, force: true })
  }
}

interface CopyDependencies {
  pom: string
  output: string
  env: NodeJS.ProcessEnv
  onProgress: OnProgress
}

async function copyDependencies({ pom, output, env, onProgress }: CopyDependencies): Promise<void> {
  const args = [
    '-B',
    '-f',
    pom,
    'dependency:copy-dependencies',
    '-DincludeScope=runtime',
    `-DoutputDirectory=${output}`,
  ]
  const child = spawn(MAVEN, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const lines: string[] = []
  let fetched = 0
  const hear = (line: string): void => {
    lines.push(line)
    if (lines.length > LAST_LINES) lines.shift()
    if (!/Downloaded.*\.jar/.test(line)) return
    fetched += 1
    if (fetched % PROGRESS_EVERY_JARS === 0)
      onProgress(`fetching Apache Kafka ${KAFKA_VERSION}: ${fetched} jars`)
  }
  createInterface({ input: child.stdout }).on('line', hear)
  createInterface({ input: child.stderr }).on('line', hear)
  const code = await exited
  if (code !== 0) {
    throw new Error(
      `Maven could not fetch Apache Kafka ${KAFKA_VERSION} (exit code ${code}):\n${lines.join('\n')}`,
    )
  }
}
