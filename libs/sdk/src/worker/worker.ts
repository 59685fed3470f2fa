import { randomUUID } from 'node:crypto'
import { writeSync } from 'node:fs'
import type { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { armCrashPoint } from '@headrace/core'
import { protocolHeader, protocolVersion } from '@headrace/schemas'
import type { RunHost } from '../run/run-host.ts'
import { noStats, type RunStats } from '../run/run-stats.ts'
import { startHealthServer } from './health-server.ts'
import { HttpExchange } from './http-exchange.ts'
import { register } from './registration.ts'
import { type SessionLoss, WorkerSession } from './session.ts'
import { type WorkerOptions, type WorkerSettings, workerSettings } from './settings.ts'

const lossReasons: Record<SessionLoss, string> = {
  unknown_worker: 'it was declared dead',
  no_answer: 'no orchestrator answered within the lease',
  key_refused: 'its API key was refused for as long as the lease is',
  heartbeat_died: 'its heartbeat has ended',
}
/** After a stop by signal: time for the program's own last lines, then a body that hangs no longer keeps the process. */
const EXIT_GRACE_MS = 2_000

/**
 * Takes runs of its workflows and executes them. Any number of workers of one queue share its runs; a worker with
 * nothing to do costs a heartbeat every two seconds.
 *
 * ```ts
 * const worker = new Worker({ workflows: [onOrderCreated, report], health: { port: 9464 } })
 * await worker.run() // until SIGTERM or SIGINT
 * ```
 *
 * It needs `HEADRACE_URL`, the gateway; addresses of Kafka and the orchestrator come with the registration. When it
 * loses them it goes on trying; what it had in hand is then recovered elsewhere.
 */
export class Worker {
  readonly #settings: WorkerSettings
  readonly #exchange: HttpExchange
  readonly #headers: Record<string, string>
  readonly #stats = new Map<string, RunStats>()
  readonly #stopping = new AbortController()
  readonly #hurry = new AbortController()
  #session: WorkerSession | null = null
  #health: Server | null = null
  #life: Promise<void> | null = null

  /** Throws TypeError that names the option or the variable when a setting is missing or malformed. */
  constructor(options: WorkerOptions) {
    this.#settings = workerSettings(options, process.env)
    this.#headers = { [protocolHeader]: protocolVersion }
    if (this.#settings.apiKey !== null) this.#headers['authorization'] = `Bearer ${this.#settings.apiKey}`
    this.#exchange = new HttpExchange(this.#headers)
  }

  /**
   * Works until `stop`, SIGTERM or SIGINT, then resolves: no new run is taken, each run in hand goes on to its next step
   * boundary and is given back; past `drainTimeout`, `ctx.signal` is aborted and it is given back at once. A second
   * signal does that right away. Rejects when the registration is refused for good (at its start, a wrong key; a
   * workflow id that belongs to another app) with an `ApiError`.
   */
  async run(): Promise<void> {
    armCrashPoint(process.env['HEADRACE_CRASH_POINT'], (name) => {
      // Past stream buffers: a test counts this line, and nothing after it will run.
      writeSync(2, `HEADRACE_CRASH_POINT ${name}\n`)
      process.kill(process.pid, 'SIGKILL')
    })
    let signals = 0
    const onSignal = (): void => {
      signals += 1
      this.#stopping.abort()
      if (signals > 1) this.#hurry.abort()
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
    try {
      await this.start()
      await this.#life
    } finally {
      process.off('SIGTERM', onSignal)
      process.off('SIGINT', onSignal)
      if (signals > 0) setTimeout(() => process.exit(), EXIT_GRACE_MS).unref()
    }
  }

  /** Begins to work and resolves at once, without signal handlers: for a process that has more to do. Ends by `stop`. */
  async start(): Promise<void> {
    if (this.#life !== null) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#life = promise
    // Without a caller of `run` nobody awaits it; `stop` tells.
    promise.catch(() => {})
    try {
      await this.#openHealth()
    } catch (error) {
      reject(error)
      throw error
    }
    this.#live().then(resolve, reject)
  }

  /**
   * As on SIGTERM; resolves when everything is given back and left. May be called twice. Rejects with what ended the
   * worker, if it had ended by itself.
   */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#life
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Registered, member of its group, and heard by an orchestrator: what `/readyz` says. */
  get ready(): boolean {
    return this.#session?.isReady ?? false
  }

  async #openHealth(): Promise<void> {
    const { health, concurrency, queue, build, runnable } = this.#settings
    if (health === null) return
    this.#health = await startHealthServer({
      ...health,
      queue,
      build,
      // Of all, so that a counter is there before its first count.
      stats: () => new Map([...runnable.keys()].map((id) => [id, this.#statsOf(id)])),
      ready: () => this.ready,
      gauges: () => ({
        concurrency,
        running: this.#session?.running ?? 0,
        partitions: this.#session?.partitions.length ?? 0,
        loopDelaySeconds: (this.#session?.loopDelayMs ?? 0) / 1_000,
      }),
    })
  }

  #statsOf(workflow: string): RunStats {
    const stats = this.#stats.get(workflow) ?? noStats()
    this.#stats.set(workflow, stats)
    return stats
  }

  /** Session after session, until it is stopped. */
  async #live(): Promise<void> {
    const { signal } = this.#stopping
    const { eventTypes, log } = this.#settings
    if (eventTypes.unregistered.length > 0)
      log.warn(
        { event: 'worker.events_unregistered', events: eventTypes.unregistered },
        'events of these kinds are checked by this program alone',
      )
    let replaces: string | null = null
    try {
      while (!signal.aborted) {
        const session = await this.#open(replaces)
        if (session === null) return
        replaces = session.workerId
        this.#session = session
        const loss = await Promise.race([session.lost, aborted(signal)])
        if (loss === null) await session.stop({ drainMs: this.#settings.drainMs, hurry: this.#hurry.signal })
        else await this.#leave(session, loss)
        this.#session = null
      }
    } finally {
      this.#health?.close()
      this.#health?.closeAllConnections()
      this.#exchange.close()
      this.#settings.log.info({ event: 'worker.stopped' }, 'the worker has stopped')
    }
  }

  async #open(replaces: string | null): Promise<WorkerSession | null> {
    const { log, app, build, queue, workflows } = this.#settings
    const reply = await register({
      settings: this.#settings,
      exchange: this.#exchange,
      log,
      signal: this.#stopping.signal,
      replaces,
    })
    if (reply === null) return null
    const session = new WorkerSession({
      settings: this.#settings,
      reply,
      headers: this.#headers,
      host: this.#host(),
    })
    log.info(
      {
        event: 'worker.registered',
        worker_id: reply.worker_id,
        worker_app: app,
        build,
        queue,
        workflows: [...workflows.keys()],
      },
      'the worker is registered',
    )
    return session
  }

  async #leave(session: WorkerSession, loss: SessionLoss): Promise<void> {
    this.#settings.log.warn(
      { event: 'worker.lost', code: loss, worker_id: session.workerId },
      `${lossReasons[loss]}; what was in hand is dropped, and the worker registers again`,
    )
    await session.close()
  }

  #host(): Omit<RunHost, 'send'> {
    return {
      now: () => Date.now(),
      delay: async (ms, signal) => {
        await delay(ms, null, { signal }).catch(() => {})
      },
      random: () => Math.random(),
      uuid: () => randomUUID(),
      build: this.#settings.build,
      log: this.#settings.log,
      statsOf: (workflow) => this.#statsOf(workflow),
    }
  }
}

async function aborted(signal: AbortSignal): Promise<null> {
  if (signal.aborted) return null
  return await new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(null), { once: true })
  })
}
