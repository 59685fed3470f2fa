import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { SharedInfra } from './shared-infra.ts'

/** Vitest loads this module anew for each test file, and so this is the file's own. */
const filePrefix = `t${randomBytes(4).toString('hex')}`

/** The run's Kafka, and a prefix for names on it that no other test file has. */
export async function infra(): Promise<{ brokers: string[]; prefix: string }> {
  const { brokers } = await sharedInfra()
  return { brokers, prefix: filePrefix }
}

export async function sharedInfra(): Promise<SharedInfra> {
  const { inject } = await import('vitest')
  const shared: SharedInfra | undefined = inject('headraceInfra')
  if (shared === undefined) {
    throw new Error('this project has no globalSetup of libs/testing (see vitest.config.ts)')
  }
  return shared
}

/** A folder of the test's own, below the run's. Removed with the run. */
export async function testFolder(name: string): Promise<string> {
  const { folder } = await sharedInfra()
  const made = join(folder, `${name}-${filePrefix}-${randomBytes(3).toString('hex')}`)
  await mkdir(made, { recursive: true, mode: 0o755 })
  return made
}
