import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, startProcess } from '@headrace/testing'
import { round } from './statistics.ts'

export interface StartingRow {
  first_start_seconds: number
  second_start_seconds: number
  ctrl_c_seconds: number
}

/** `npm start` to the end of its banner, on an empty data folder and again on the same; and Ctrl-C to its exit. */
export async function measureStarting(): Promise<StartingRow> {
  const folder = await mkdtemp(join(tmpdir(), 'headrace-start-'))
  const start = async (): Promise<{ ready: number; stop: number }> => {
    const port = await freePort()
    const beginMs = performance.now()
    const args = ['start', '--', '--port', String(Math.min(port, 60_000)), '--data-dir', folder]
    const npm = await startProcess({ name: 'npm start', command: 'npm', args })
    await npm.waitForLine(/^ {2}-d '/, { deadlineMs: 300_000 })
    const readyMs = performance.now()
    process.kill(-npm.pid, 'SIGINT')
    await npm.exit
    return { ready: (readyMs - beginMs) / 1_000, stop: (performance.now() - readyMs) / 1_000 }
  }
  const first = await start()
  const second = await start()
  await rm(folder, { recursive: true, force: true })
  return {
    first_start_seconds: round(first.ready),
    second_start_seconds: round(second.ready),
    ctrl_c_seconds: round(second.stop),
  }
}
