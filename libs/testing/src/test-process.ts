import { spawn, type ChildProcess } from 'node:child_process'
import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { atFileEnd, onFailureSay } from './file-end.ts'
import { neutralEnvironment } from './shared-infra.ts'

const run = promisify(execFile)

/** The repository's own folder, from where its programs are started. */
export const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url))

export interface ProcessExit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface StartProcessOptions {
  /** What it is called when its output is shown. */
  name: string
  /** Node itself unless said. */
  command?: string
  args: string[]
  /** Over the test run's environment, from which all `HEADRACE_*` are taken out first. */
  env?: Record<string, string | undefined>
  /** The repository's folder unless said. */
  cwd?: string
}

export interface TestProcess {
  readonly name: string
  readonly pid: number
  readonly stdout: readonly string[]
  readonly stderr: readonly string[]
  /**
   * The first line of stdout or stderr, from the start on, that contains the text or matches the pattern. Rejects
   * with the output when the process ends without one, or at the deadline (60 s).
   */
  waitForLine(wanted: string | RegExp, options?: { deadlineMs?: number }): Promise<string>
  readonly exit: Promise<ProcessExit>
  /** Sends the signal (SIGKILL unless said) and resolves when it has ended. */
  kill(signal?: NodeJS.Signals): Promise<ProcessExit>
  /** SIGKILL for it and everything that it started, servers in their own process groups too. */
  killTree(): Promise<void>
}

const LINE_DEADLINE_MS = 60_000
/** Kept for each stream; a test that needs more should look at something else than output. */
const LINES_MAX = 50_000
/** Shown of each process after a failed test. */
const LINES_SHOWN = 60

/** A real process. Killed, with all that it started, at the end of the file; its output is shown if a test fails. */
export async function startProcess(options: StartProcessOptions): Promise<TestProcess> {
  const { name, command = process.execPath, args, env = {}, cwd = REPOSITORY } = options
  const child = spawn(command, args, {
    cwd,
    // Its own group: a Ctrl-C on the test run is not for it, we end it.
    detached: true,
    // Our processes start a dozen times a file; most of that is compiling the same sources.
    env: { ...neutralEnvironment(), NODE_COMPILE_CACHE: join(tmpdir(), 'headrace-compile-cache'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = new Output(child)
  const exit = new Promise<ProcessExit>((resolve, reject) => {
    child.once('error', reject)
    // 'close' and not 'exit': by then every line has been read.
    child.once('close', (code, signal) => {
      output.end()
      resolve({ code, signal })
    })
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', reject)
  })
  const { pid } = child
  if (pid === undefined) throw new Error(`${name} could not be started`)

  const started: TestProcess = {
    name,
    pid,
    stdout: output.stdout,
    stderr: output.stderr,
    exit,
    waitForLine: async (wanted, { deadlineMs = LINE_DEADLINE_MS } = {}) =>
      await output.waitFor(wanted, deadlineMs, () => show(started)),
    kill: async (signal = 'SIGKILL') => {
      child.kill(signal)
      return await exit
    },
    killTree: async () => {
      await killTree(pid)
      await exit
    },
  }
  atFileEnd(`process ${name}`, async () => await started.killTree())
  onFailureSay(() => show(started))
  return started
}

/** The `headrace` command from source: `startHeadrace(['gateway'], { HEADRACE_KAFKA_BROKERS: … })`. */
export async function startHeadrace(
  args: string[],
  env: Record<string, string | undefined> = {},
): Promise<TestProcess> {
  const source = ['--conditions=@headrace/source', 'apps/cli/src/main.ts']
  return await startProcess({ name: `headrace ${args[0] ?? ''}`, args: [...source, ...args], env })
}

/** What the process said last, for people. */
function show({ name, pid, stdout, stderr }: TestProcess): string {
  const lines = [...stdout.slice(-LINES_SHOWN), ...stderr.slice(-LINES_SHOWN).map((line) => `! ${line}`)]
  return `--- ${name} (pid ${pid}) said last:\n${lines.join('\n')}\n---\n`
}

interface Waiting {
  wanted: string | RegExp
  found: (line: string) => void
  ended: () => void
}

class Output {
  readonly stdout: string[] = []
  readonly stderr: string[] = []
  readonly #waiting = new Set<Waiting>()
  #ended = false

  constructor(child: ChildProcess) {
    for (const name of ['stdout', 'stderr'] as const) {
      const stream = child[name]
      if (stream !== null)
        createInterface({ input: stream }).on('line', (line) => this.#hear(this[name], line))
    }
  }

  #hear(lines: string[], line: string): void {
    lines.push(line)
    if (lines.length > LINES_MAX) lines.shift()
    for (const waiting of this.#waiting) if (matches(line, waiting.wanted)) waiting.found(line)
  }

  end(): void {
    this.#ended = true
    for (const waiting of this.#waiting) waiting.ended()
  }

  async waitFor(wanted: string | RegExp, deadlineMs: number, show: () => string): Promise<string> {
    const before = [...this.stdout, ...this.stderr].find((line) => matches(line, wanted))
    if (before !== undefined) return before
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const fail = (why: string): void =>
      reject(new Error(`${why} before a line ${wanted} was seen\n${show()}`))
    const waiting: Waiting = { wanted, found: resolve, ended: () => fail('the process ended') }
    const timer = setTimeout(() => fail(`${deadlineMs} ms passed`), deadlineMs)
    this.#waiting.add(waiting)
    if (this.#ended) waiting.ended()
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(waiting)
    }
  }
}

function matches(line: string, wanted: string | RegExp): boolean {
  return typeof wanted === 'string' ? line.includes(wanted) : wanted.test(line)
}

async function killTree(root: number): Promise<void> {
  // The parent first, so that it starts no more; its children are known before, while they still name it.
  const pids = [root, ...(await descendants(root))]
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Gone already.
    }
  }
}

async function descendants(root: number): Promise<number[]> {
  const { stdout } = await run('ps', ['-axo', 'pid=,ppid='])
  const parents = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
  const found: number[] = []
  for (let level = [root]; level.length > 0;) {
    level = parents.flatMap(([pid, ppid]) =>
      pid !== undefined && ppid !== undefined && level.includes(ppid) ? [pid] : [],
    )
    found.push(...level)
  }
  return found
}
