import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Clock, Logger } from '@headrace/service'
import { workerLine } from './worker-lines.ts'

export interface WorkerProcessOptions {
  file: string
  dataDir: string
  env: NodeJS.ProcessEnv
  write: (line: string) => void
  log: Logger
  clock: Clock
}

export interface WorkerProcess {
  /** SIGTERM, which lets runs reach their next step boundary; SIGKILL when the deadline is aborted. */
  stop(deadline: AbortSignal): Promise<void>
}

/** First pause before a worker that ended is started again; doubled each time up to the longest. */
const restartFirstMs = 1_000
const restartMaxMs = 30_000
/** Who lived for so long did not die of its start: the next pause is the first again. */
const healthyAfterMs = 60_000

/**
 * The user's worker program, in a process (group) of its own, so that the order of stopping is ours. It is started
 * again when it ends by itself: a mistake in a workflow must not need a new Kafka. Its command line carries the data
 * folder, by which a later start knows it as an orphan of this one.
 */
export function startWorkerProcess(options: WorkerProcessOptions): WorkerProcess {
  const { file, dataDir, env, write, log, clock } = options
  const stopping = new AbortController()
  let child: ChildProcess | null = null

  async function runOnce(): Promise<string> {
    const { promise: ended, resolve } = Promise.withResolvers<string>()
    child = spawn(process.execPath, ['--conditions=@headrace/source', file, dataDir], {
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => write(workerLine(line)))
    }
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? `code ${code}`))
    if (stopping.signal.aborted) child.kill('SIGTERM')
    return await ended
  }

  async function keepRunning(): Promise<void> {
    for (let pauseMs = restartFirstMs; ; pauseMs = Math.min(pauseMs * 2, restartMaxMs)) {
      const startedAtMs = clock.now()
      const how = await runOnce()
      if (stopping.signal.aborted) return
      if (clock.now() - startedAtMs >= healthyAfterMs) pauseMs = restartFirstMs
      log.error(
        { event: 'dev.worker_ended', code: 'worker_ended', how },
        `the worker ended (${how}); started again in ${pauseMs / 1_000} s`,
      )
      await clock.sleep(pauseMs, stopping.signal).catch(() => undefined)
      if (stopping.signal.aborted) return
    }
  }
  const running = keepRunning()

  return {
    async stop(deadline) {
      stopping.abort()
      child?.kill('SIGTERM')
      const kill = (): boolean => child?.kill('SIGKILL') ?? false
      deadline.addEventListener('abort', kill, { once: true })
      await running
      deadline.removeEventListener('abort', kill)
    },
  }
}
