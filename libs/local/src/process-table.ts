import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A process that runs now, as far as its command line tells. */
export interface RunningProcess {
  pid: number
  /** On Linux the exact arguments; elsewhere `ps` gives one line, which is split at spaces. */
  args: string[]
  /** The whole command line, for a search that must survive spaces in paths. */
  commandLine: string
}

/** Large enough for the command lines of every process of a busy machine. */
const PS_OUTPUT_BYTES_MAX = 16 * 1024 * 1024

/** All processes whose command line we may see. */
export async function listProcesses(): Promise<RunningProcess[]> {
  if (process.platform !== 'linux') return await listByPs()
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))
  const found = await Promise.all(pids.map(async (pid) => await readLinuxProcess(Number(pid))))
  return found.filter((entry) => entry !== null)
}

async function readLinuxProcess(pid: number): Promise<RunningProcess | null> {
  try {
    const raw = await readFile(`/proc/${pid}/cmdline`, 'utf8')
    const args = raw.split('\0').filter((part, i, all) => part !== '' || i < all.length - 1)
    return { pid, args, commandLine: args.join(' ') }
  } catch {
    return null // It ended while we looked.
  }
}

async function listByPs(): Promise<RunningProcess[]> {
  const { stdout } = await run('ps', ['-axww', '-o', 'pid=,command='], { maxBuffer: PS_OUTPUT_BYTES_MAX })
  return stdout.split('\n').flatMap((line) => {
    const match = /^\s*([0-9]+)\s+(.*)$/.exec(line)
    const commandLine = match?.[2]
    return commandLine === undefined
      ? []
      : [{ pid: Number(match?.[1]), args: commandLine.split(' '), commandLine }]
  })
}

/**
 * What tells this process from a later one with the same pid: its start time (and, on Linux, the boot).
 * `null` when there is no such process.
 */
export async function processIdentity(pid: number): Promise<string | null> {
  try {
    if (process.platform === 'linux') {
      const [stat, boot] = await Promise.all([
        readFile(`/proc/${pid}/stat`, 'utf8'),
        readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      ])
      // The second field, the name, may hold spaces and parentheses: count from the last one.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      const [state, startTicks] = [fields[0], fields[19]]
      return state === 'Z' ? null : `${boot.trim()}:${startTicks}`
    }
    const { stdout } = await run('ps', ['-o', 'lstart=', '-p', String(pid)])
    return stdout.trim() === '' ? null : stdout.trim()
  } catch {
    return null
  }
}

/** Whether a process of that id runs (a zombie does not). */
export async function isAlive(pid: number): Promise<boolean> {
  return (await processIdentity(pid)) !== null
}
