import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { lockFolder, thenRelease } from './data-folder.ts'
import { findJava, hasMaven } from './java.ts'
import { keepPorts } from './kept-ports.ts'
import type { OnProgress } from './kafka-jars.ts'
import { poll } from './poll.ts'
import { APICURIO_VERSION, apicurioRunner, cachedApicurio, fetchApicurio } from './schema-registry-files.ts'
import { endOrphans, startServerProcess } from './server-process.ts'

export interface StartSchemaRegistryOptions {
  /** The data folder; the registry's part is its `registry`. Kept between starts, with the port. */
  dataDir: string
  /** The environment in which to look: `JAVA_HOME`, `PATH`, `XDG_CACHE_HOME`. */
  env: NodeJS.ProcessEnv
  onProgress: OnProgress
}

export interface LocalSchemaRegistry {
  /** Base of its Confluent API. */
  readonly url: string
  readonly port: number
  readonly reason: string
  readonly pid: number | null
  stop(): Promise<void>
  /** As by `kill -9`. */
  kill(): Promise<void>
}

/** Ready in 3 s on a laptop; ten times that and more for a machine that is busy with other things. */
const READY_DEADLINE_MS = 120_000
const ANSWER_MS_MAX = 5_000
const CONFLUENT_API = '/apis/ccompat/v7'

/**
 * A schema registry on this machine: Apicurio, fetched with Maven, on a JVM ≥ 17.
 * Rejects with DataFolderInUseError when another process works in this folder.
 */
export async function startSchemaRegistry(options: StartSchemaRegistryOptions): Promise<LocalSchemaRegistry> {
  const { env, onProgress } = options
  const java = await findJava(env)
  const cached = await cachedApicurio(env)
  if (java === null || (cached === null && !(await hasMaven(env))))
    throw new Error(
      'a schema registry on this machine needs a JVM (17 or newer) and Maven, which fetches Apicurio; or set HEADRACE_SCHEMA_REGISTRY_URL to one that is there',
    )
  const files = cached ?? (await fetchApicurio(env, onProgress))
  const dataDir = resolve(options.dataDir)
  await mkdir(join(dataDir, 'logs'), { recursive: true })
  const lock = await lockFolder(join(dataDir, 'registry'))
  try {
    await endOrphans({ program: 'java', folder: lock.path, stopSignal: 'SIGTERM' })
    const { port } = await keepPorts({ file: join(lock.path, 'ports.json'), names: ['port'] })
    const logFile = join(dataDir, 'logs', 'registry.log')
    const server = await startServerProcess({
      name: 'Apicurio',
      command: java.command,
      // The folder at the end, which Apicurio does not read, names whose process it is, should it be left behind.
      args: [...JVM, ...settings(port, lock.path), '-jar', apicurioRunner(files), lock.path],
      env,
      cwd: lock.path,
      logFile,
      stopSignal: 'SIGTERM',
    })
    const url = `http://127.0.0.1:${port}${CONFLUENT_API}`
    const ready = await poll(async () => {
      if (server.hasExited()) return 'exited' as const
      return (await answers(`${url}/subjects`)) ? ('ready' as const) : null
    }, READY_DEADLINE_MS)
    if (ready !== 'ready') {
      const words = await server.lastWords()
      await server.kill()
      throw new Error(`Apicurio did not get ready; the end of ${logFile}:\n${words}`)
    }
    return {
      url,
      port,
      reason: `Apicurio ${APICURIO_VERSION} on Java ${java.version}`,
      pid: server.pid,
      stop: thenRelease(lock, async () => await server.stop()),
      kill: thenRelease(lock, async () => await server.kill()),
    }
  } catch (error) {
    await lock.release()
    throw error
  }
}

const JVM = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
// Without the delay with which H2 writes, what was registered is still there after a kill.
const settings = (port: number, folder: string): string[] => [
  '-Dquarkus.http.host=127.0.0.1',
  `-Dquarkus.http.port=${port}`,
  `-Dquarkus.datasource.jdbc.url=jdbc:h2:file:${join(folder, 'schemas')};WRITE_DELAY=0`,
]

async function answers(url: string): Promise<boolean> {
  try {
    const { ok } = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    return ok
  } catch {
    return false
  }
}
