import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, rename, stat } from 'node:fs/promises'
import { basename, sep } from 'node:path'
import { isAlive, listProcesses } from './process-table.ts'
import { poll } from './poll.ts'

export interface ServerProcessOptions {
  /** What it is called in messages: `Kafka`. */
  name: string
  command: string
  args: string[]
  env: NodeJS.ProcessEnv
  cwd: string
  /** Gets stdout and stderr, appended. */
  logFile: string
  /** The user to run as, where it is not our own. */
  user?: { uid: number; gid: number }
  /** Asks for an orderly stop. */
  stopSignal: NodeJS.Signals
}

/** A server that we started, in a process group of its own: the terminal's Ctrl-C is not for it, the order of stopping is ours. */
export interface ServerProcess {
  readonly pid: number
  /** Resolves when it has ended, for whatever reason. */
  readonly exited: Promise<string>
  hasExited(): boolean
  /** An orderly stop; SIGKILL if that takes longer than 15 s. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** What it said last, for an error message. */
  lastWords(): Promise<string>
}

const STOP_DEADLINE_MS = 15_000
/** SIGKILL is not negotiable, but the kernel may be busy. */
const KILL_DEADLINE_MS = 10_000
/** A log is moved aside at the next start once it is larger. */
const LOG_BYTES_MAX = 10 * 1024 * 1024
const LAST_WORDS_LINES = 15

export async function startServerProcess(options: ServerProcessOptions): Promise<ServerProcess> {
  const { name, command, args, env, cwd, logFile, user, stopSignal } = options
  const size = await stat(logFile).then(
    (found) => found.size,
    () => 0,
  )
  if (size > LOG_BYTES_MAX) await rename(logFile, `${logFile}.1`)
  const log = await open(logFile, 'a')
  try {
    const child = spawn(command, args, {
      cwd,
      env,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      ...user,
    })
    await once(child, 'spawn')
    const { pid } = child
    if (pid === undefined) throw new Error(`${name} could not be started`)
    let ended = false
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => {
        ended = true
        resolve(signal === null ? `exit code ${code}` : `signal ${signal}`)
      })
    })
    const end = async (signal: NodeJS.Signals, deadlineMs: number): Promise<boolean> => {
      if (!ended) child.kill(signal)
      return (await poll(() => (ended ? true : null), deadlineMs)) !== null
    }
    return {
      pid,
      exited,
      hasExited: () => ended,
      stop: async () => {
        if (!(await end(stopSignal, STOP_DEADLINE_MS))) await end('SIGKILL', KILL_DEADLINE_MS)
      },
      kill: async () => {
        await end('SIGKILL', KILL_DEADLINE_MS)
      },
      lastWords: async () => await tail(logFile),
    }
  } finally {
    await log.close()
  }
}

async function tail(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.trimEnd().split('\n').slice(-LAST_WORDS_LINES).join('\n')
}

export interface OrphanSearch {
  /** The program, by the last part of its path: `java`, `postgres`. */
  program: string
  /** Our folder: the command line must name it, or something in it. */
  folder: string
  stopSignal: NodeJS.Signals
}

/**
 * Ends servers that an earlier process of ours left behind on this very folder (it was killed with -9). The proof
 * that one is ours is its own command line: the program, and a path in this folder. Call it with the folder locked.
 * Returns the pids that were ended.
 */
export async function endOrphans({ program, folder, stopSignal }: OrphanSearch): Promise<number[]> {
  const orphans = (await listProcesses()).filter(
    ({ pid, args, commandLine }) =>
      pid !== process.pid && basename(args[0] ?? '') === program && namesFolder(args, commandLine, folder),
  )
  await Promise.all(
    orphans.map(async ({ pid }) => {
      if (!(await endByPid(pid, stopSignal, STOP_DEADLINE_MS)))
        await endByPid(pid, 'SIGKILL', KILL_DEADLINE_MS)
    }),
  )
  return orphans.map(({ pid }) => pid)
}

/** Whether an argument is the folder or lies in it. Without exact arguments, whether an argument may start there. */
export function namesFolder(args: string[], commandLine: string, folder: string): boolean {
  const inside = folder + sep
  if (process.platform === 'linux') return args.some((arg) => arg === folder || arg.startsWith(inside))
  return commandLine.includes(` ${inside}`) || `${commandLine} `.includes(` ${folder} `)
}

async function endByPid(pid: number, signal: NodeJS.Signals, deadlineMs: number): Promise<boolean> {
  try {
    process.kill(pid, signal)
  } catch {
    return true // Gone already.
  }
  return (await poll(async () => ((await isAlive(pid)) ? null : true), deadlineMs)) !== null
}
