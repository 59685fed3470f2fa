import type { TestProject } from 'vitest/node'
import { startInfra, type RunningInfra } from './shared-infra.ts'

/**
 * Vitest calls `setup` once for every project that names this file, and may load it anew each time. What is shared
 * is kept on the process, so that a whole `npm test` starts one Kafka and one Postgres.
 */
interface Share {
  users: number
  infra: Promise<RunningInfra>
}

const SHARE = Symbol.for('headrace.testing.infra')
const holder = globalThis as { [SHARE]?: Share }

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function startAndSay(): Promise<RunningInfra> {
  const infra = await startInfra(say)
  say(`Tests run on ${infra.reason}`)
  return infra
}

export async function setup(project: TestProject): Promise<void> {
  const share = (holder[SHARE] ??= { users: 0, infra: startAndSay() })
  share.users += 1
  const { brokers, adminUrl, folder, reason } = await share.infra
  project.provide('headraceInfra', { brokers, adminUrl, folder, reason })
}

export async function teardown(): Promise<void> {
  const share = holder[SHARE]
  if (share === undefined) return
  share.users -= 1
  if (share.users > 0) return
  delete holder[SHARE]
  await (await share.infra).stop()
}
