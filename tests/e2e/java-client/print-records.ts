import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cachedKafkaJars, fetchKafkaJars } from '@headrace/local'

const run = promisify(execFile)

const program = fileURLToPath(new URL('PrintRecords.java', import.meta.url))
/** A JVM that starts and compiles, on a machine that has other things to do. */
const PRINT_MS_MAX = 120_000

export interface JavaRecord {
  partition: number
  offset: number
  timestampType: string
  timestamp: number
  key: string | null
  value: string | null
  headers: Record<string, string | null>
}

/** Kafka's own jars; null where there is no JVM to run them, or no Maven to get them with. */
export async function javaClientJars(): Promise<string | null> {
  const has = async (command: string): Promise<boolean> =>
    await run(command, ['-version']).then(
      () => true,
      () => false,
    )
  if (!(await has('java'))) return null
  const cached = await cachedKafkaJars(process.env)
  if (cached !== null || !(await has('mvn'))) return cached
  return await fetchKafkaJars(process.env, () => {})
}

/** Every record of a topic as Kafka's own client reads it, each partition's in order. */
export async function printRecords(params: {
  jars: string
  brokers: readonly string[]
  topic: string
}): Promise<JavaRecord[]> {
  const { jars, brokers, topic } = params
  const args = ['-cp', join(jars, '*'), program, brokers.join(','), topic]
  const { stdout } = await run('java', args, { timeout: PRINT_MS_MAX, maxBuffer: 64 * 1024 * 1024 })
  return stdout.split('\n').flatMap((line) => (line.includes('\t') ? [recordOf(line.split('\t'))] : []))
}

function recordOf(fields: readonly string[]): JavaRecord {
  const [partition, offset, timestampType = '', timestamp, key = '-', value = '-', ...headers] = fields
  return {
    partition: Number(partition),
    offset: Number(offset),
    timestampType,
    timestamp: Number(timestamp),
    key: textOf(key),
    value: textOf(value),
    headers: Object.fromEntries(
      headers.map((header) => {
        const [name = '', text = ''] = header.split('=')
        return [textOf(name) ?? '', textOf(text)]
      }),
    ),
  }
}

const textOf = (base64: string): string | null =>
  base64 === '-' ? null : Buffer.from(base64, 'base64').toString('utf8')
