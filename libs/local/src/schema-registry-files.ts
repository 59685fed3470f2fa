import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { cacheFolder } from './cache-folder.ts'
import { errorCode } from './data-folder.ts'
import { MAVEN } from './java.ts'
import type { OnProgress } from './kafka-jars.ts'

const run = promisify(execFile)

/** The newest that is on Maven Central as something that runs. */
export const APICURIO_VERSION = '2.6.13.Final'
const ARTIFACT = `io.apicurio:apicurio-registry-app:${APICURIO_VERSION}:tar.gz:all`
const MAVEN_COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy'

const folderOf = (env: NodeJS.ProcessEnv): string => cacheFolder(env, `apicurio-${APICURIO_VERSION}`)

/** In the folder of a whole Apicurio. */
export const apicurioRunner = (folder: string): string =>
  join(folder, `apicurio-registry-app-${APICURIO_VERSION}-runner.jar`)

/** The folder of Apicurio, if a complete one is in the cache. */
export async function cachedApicurio(env: NodeJS.ProcessEnv): Promise<string | null> {
  const folder = folderOf(env)
  const names = await readdir(folder).catch(() => [])
  return names.some((name) => name.endsWith('-runner.jar')) ? folder : null
}

/** Has Maven copy Apicurio and unpacks it; gathered beside the cache and renamed when complete, as Kafka's jars are. */
export async function fetchApicurio(env: NodeJS.ProcessEnv, onProgress: OnProgress): Promise<string> {
  const folder = folderOf(env)
  const gathering = `${folder}.${process.pid}.${randomBytes(4).toString('hex')}`
  const unpacked = join(gathering, 'app')
  await mkdir(unpacked, { recursive: true })
  try {
    onProgress(`fetching Apicurio ${APICURIO_VERSION} with Maven (about 142 MB, once)`)
    const copy = [`-Dartifact=${ARTIFACT}`, `-DoutputDirectory=${gathering}`]
    await run(MAVEN, ['-B', '-q', MAVEN_COPY, ...copy], { env, cwd: gathering }).catch((error: unknown) => {
      throw new Error(
        `Maven could not fetch Apicurio ${APICURIO_VERSION}; HEADRACE_SCHEMA_REGISTRY_URL may name a registry that is there.\n${saidBy(error)}`,
      )
    })
    const archive = `apicurio-registry-app-${APICURIO_VERSION}-all.tar.gz`
    await run('tar', ['xzf', archive, '-C', unpacked], { env, cwd: gathering })
    await rename(unpacked, folder).catch((error: unknown) => {
      // Another process was first; its folder is as good.
      if (errorCode(error) !== 'ENOTEMPTY' && errorCode(error) !== 'EEXIST') throw error
    })
    return folder
  } finally {
    await rm(gathering, { recursive: true, force: true })
  }
}

/** Maven tells its errors on standard output. */
function saidBy(error: unknown): string {
  const { stdout = '', message = '' } = error as { stdout?: string; message?: string }
  return stdout.trim() === '' ? message : stdout.trim()
}
