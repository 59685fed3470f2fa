import { ConfigError } from './config.ts'
import { installCrashPoint } from './crash-point.ts'
import { codeOf } from './duty.ts'
import type { Logger } from './log.ts'
import { PortTakenError } from './port-taken.ts'
import { scrubSecrets } from './secrets.ts'
import type { StopOutcome } from './service.ts'

/** What a process ends with. */
export const EXIT_CODES = {
  /** Asked to stop, and did; also when what was left had to be aborted at the drain deadline. */
  stopped: 0,
  /** Could not start, or met an error that nobody caught. */
  failed: 1,
  /** The settings are wrong: starting it again changes nothing. */
  config: 2,
} as const

/** 128 + the signal's number, as a shell reports it: for a second signal, which ends the process at once. */
const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const

/** Any long time: the timer does nothing but exist. */
const KEEP_ALIVE_MS = 3_600_000

/**
 * npm passes the terminal's Ctrl-C on to a process that the terminal has sent it to already: the same signal so soon
 * after the first is that echo, not an impatient person.
 */
const ECHO_MS = 500

/** What `runMain` needs of a running thing; a `RunningService` is one. */
export interface Stoppable {
  stop(reason?: string): Promise<StopOutcome>
  readonly stopped: Promise<StopOutcome>
}

export interface MainOptions {
  /** Starts whatever this process is. `signal` is aborted when it is told to stop before the start is through. */
  start: (signal: AbortSignal) => Promise<Stoppable>
  /** For errors that nobody caught; until there is one they go to stderr. */
  log?: () => Logger | null
}

/**
 * The whole life of a process: crash point armed, start, SIGTERM or SIGINT → `stop()` → exit 0; a second signal
 * exits at once. A wrong setting or a taken port is one line on stderr, not a stack. Never returns normally:
 * it ends the process.
 */
export async function runMain({ start, log = () => null }: MainOptions): Promise<never> {
  const starting = new AbortController()
  let running: Stoppable | null = null
  let signalledAtMs: number | null = null
  const fail = (error: unknown): never => exitFailed(error, log())

  process.on('uncaughtException', fail)
  process.on('unhandledRejection', fail)
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (signalledAtMs !== null) {
        if (performance.now() - signalledAtMs > ECHO_MS) process.exit(SIGNAL_EXIT_CODES[name])
        return
      }
      signalledAtMs = performance.now()
      if (running === null) starting.abort(new Error(`${name} while starting`))
      else running.stop(name).catch(fail)
    })
  }
  // A service may for a moment have nothing open that keeps Node alive; it ends when it is stopped, not then.
  setInterval(() => undefined, KEEP_ALIVE_MS)
  try {
    installCrashPoint(process.env)
    running = await start(starting.signal)
    if (starting.signal.aborted) await running.stop('told to while starting')
    await running.stopped
  } catch (error) {
    if (!starting.signal.aborted) return fail(error)
  }
  return process.exit(EXIT_CODES.stopped)
}

function exitFailed(error: unknown, log: Logger | null): never {
  if (error instanceof ConfigError || error instanceof PortTakenError) {
    process.stderr.write(`${scrubSecrets(error.message)}\n`)
    process.exit(error instanceof ConfigError ? EXIT_CODES.config : EXIT_CODES.failed)
  }
  if (log !== null)
    log.fatal({ event: 'process.failed', code: codeOf(error), err: error }, 'the process failed')
  else {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    process.stderr.write(`${scrubSecrets(text)}\n`)
  }
  process.exit(EXIT_CODES.failed)
}
