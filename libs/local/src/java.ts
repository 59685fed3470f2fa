import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Kafka 4 does not run on less. */
const JAVA_VERSION_LEAST = 17

export interface Java {
  command: string
  version: number
}

/** The JVM of JAVA_HOME, else of the path, if it is new enough for Kafka. */
export async function findJava(env: NodeJS.ProcessEnv): Promise<Java | null> {
  const home = env['JAVA_HOME']
  const candidates = home === undefined || home === '' ? ['java'] : [join(home, 'bin', 'java'), 'java']
  for (const command of candidates) {
    const version = await javaVersion(command, env)
    if (version !== null && version >= JAVA_VERSION_LEAST) return { command, version }
  }
  return null
}

async function javaVersion(command: string, env: NodeJS.ProcessEnv): Promise<number | null> {
  try {
    const { stderr, stdout } = await run(command, ['-version'], { env })
    return parseJavaVersion(stderr + stdout)
  } catch {
    return null
  }
}

/** `openjdk version "17.0.15"` → 17, `java version "1.8.0_292"` → 8. */
export function parseJavaVersion(text: string): number | null {
  const match = /version "(?:1\.)?([0-9]+)/.exec(text)
  return match?.[1] === undefined ? null : Number(match[1])
}

/** Maven's command. */
export const MAVEN = 'mvn'

/** Whether Maven is on the path. */
export async function hasMaven(env: NodeJS.ProcessEnv): Promise<boolean> {
  return await run(MAVEN, ['--version'], { env }).then(
    () => true,
    () => false,
  )
}
