import { systemClock, type Clock } from './clock.ts'
import { codeOf } from './duty.ts'
import { createHealth, type Health } from './health.ts'
import type { Logger } from './log.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { version } from './version.ts'

/**
 * The life of one service: starting → running → draining → stopped.
 *
 * I1  what was acquired is released in reverse order, each thing once, also when the start fails half-way
 * I2  stopping drains first: releases run one after the other while `signal` is still live
 * I3  at the drain deadline `signal` (and each release's own signal) is aborted, so that whatever still waits ends
 * I4  `stop()` may be called any number of times; all calls resolve when the stop is complete
 * I5  a release that throws is logged; those behind it still run
 * I6  it is not ready before its start is through, whatever checks there are by then
 */
export interface ServiceContext {
  /**
   * The root of the service's AbortSignal tree. Aborted when it is told to stop before its start is through, at the drain
   * deadline, else when everything is released.
   */
  signal: AbortSignal
  log: Logger
  clock: Clock
  health: Health
  metrics: Metrics
  /** Registers a release, to be called in reverse order. `deadline` is aborted when there is no more time to drain. */
  onStop: (release: (deadline: AbortSignal) => Promise<void> | void, name?: string) => void
}

export interface ServiceOptions<Handle = void> {
  name: string
  log: Logger
  /** Brings the service up; what it returns is the running service's `handle`. A rejection releases what was acquired. */
  start(context: ServiceContext): Promise<Handle>
  clock?: Clock
  metrics?: Metrics
  health?: Health
  /** Aborted by whoever wants it to stop before its start is through: the start rejects, what it acquired is released. */
  signal?: AbortSignal | undefined
  /** How long releases may take before `signal` is aborted. */
  drainTimeoutMs?: number
}

export type StopOutcome = 'drained' | 'aborted'

export interface RunningService<Handle = void> {
  readonly name: string
  readonly handle: Handle
  readonly health: Health
  readonly metrics: Metrics
  /** Aborted once the service has stopped (or had to be aborted). */
  readonly signal: AbortSignal
  stop(reason?: string): Promise<StopOutcome>
  /** Resolves when the stop is complete, whoever asked for it. */
  readonly stopped: Promise<StopOutcome>
}

/** Below the 30 s that Kubernetes gives by default. */
export const DRAIN_TIMEOUT_DEFAULT_MS = 25_000
/** After the abort each release has this long to notice; then it is left behind and said so. */
const ABORT_GRACE_MS = 2_000

interface Release {
  name: string
  release: (deadline: AbortSignal) => Promise<void> | void
}

/** Starts a service. Rejects with the start's error, after releasing what was already up. */
export async function runService<Handle = void>(
  options: ServiceOptions<Handle>,
): Promise<RunningService<Handle>> {
  const { name, log, clock = systemClock, health = createHealth(), metrics = createMetrics() } = options
  metrics
    .gauge({ name: 'build_info', help: '1; what runs is in the labels.', labels: ['version'] })
    .set({ version }, 1)
  const root = new AbortController()
  const releases: Release[] = []
  const context: ServiceContext = {
    signal: options.signal === undefined ? root.signal : AbortSignal.any([root.signal, options.signal]),
    log,
    clock,
    health,
    metrics,
    onStop: (release, label) => {
      releases.push({ name: label ?? `release ${releases.length + 1}`, release })
    },
  }
  const drainTimeoutMs = options.drainTimeoutMs ?? DRAIN_TIMEOUT_DEFAULT_MS
  const releaseEverything = (): Promise<StopOutcome> =>
    releaseAll({ releases, root, log, clock, drainTimeoutMs })

  // I6
  const starting = health.check('start')
  let handle: Handle
  try {
    handle = await options.start(context)
  } catch (error) {
    // Told to stop: then in order, with the time that this takes.
    if (options.signal?.aborted !== true) root.abort(error)
    await releaseEverything()
    throw error
  }
  starting.remove()
  log.info({ event: 'service.started', service: name }, `${name} started`)

  const { promise: stopped, resolve } = Promise.withResolvers<StopOutcome>()
  let stopping = false
  return {
    name,
    handle,
    health,
    metrics,
    signal: root.signal,
    stopped,
    async stop(reason = 'asked to') {
      if (!stopping) {
        stopping = true
        health.drain()
        log.info({ event: 'service.stopping', service: name, reason }, `${name} is stopping: ${reason}`)
        const outcome = await releaseEverything()
        log.info({ event: 'service.stopped', service: name, outcome }, `${name} stopped (${outcome})`)
        resolve(outcome)
      }
      return await stopped
    },
  }
}

interface ReleaseAll {
  releases: Release[]
  root: AbortController
  log: Logger
  clock: Clock
  drainTimeoutMs: number
}

async function releaseAll({ releases, root, log, clock, drainTimeoutMs }: ReleaseAll): Promise<StopOutcome> {
  const done = new AbortController()
  const deadline = abortAtDeadline(done.signal)
  for (let next = releases.pop(); next !== undefined; next = releases.pop()) {
    await releaseOne(next, root.signal, log, clock)
  }
  done.abort()
  const outcome = await deadline
  root.abort(new ServiceStoppedError())
  return outcome

  async function abortAtDeadline(finished: AbortSignal): Promise<StopOutcome> {
    try {
      await clock.sleep(drainTimeoutMs, AbortSignal.any([finished, root.signal]))
    } catch {
      return 'drained'
    }
    log.warn(
      { event: 'service.drain_timeout', code: 'drain_timeout', timeout_ms: drainTimeoutMs },
      'not drained in time; aborting what is left',
    )
    root.abort(new DrainTimeoutError(drainTimeoutMs))
    return 'aborted'
  }
}

async function releaseOne(
  { name, release }: Release,
  deadline: AbortSignal,
  log: Logger,
  clock: Clock,
): Promise<void> {
  const finished = new AbortController()
  await Promise.race([run(), abandon()])

  async function run(): Promise<void> {
    try {
      await release(deadline)
    } catch (error) {
      log.error(
        { event: 'service.release_failed', release: name, code: codeOf(error), err: error },
        `${name} failed to stop`,
      )
    } finally {
      finished.abort()
    }
  }

  async function abandon(): Promise<void> {
    await aborted(AbortSignal.any([deadline, finished.signal]))
    try {
      await clock.sleep(ABORT_GRACE_MS, finished.signal)
    } catch {
      return
    }
    log.error(
      { event: 'service.release_abandoned', release: name, code: 'release_abandoned' },
      `${name} did not stop`,
    )
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

/** The reason of `signal` when the service could not be drained in time. */
export class DrainTimeoutError extends Error {
  readonly code = 'drain_timeout'
  override readonly name = 'DrainTimeoutError'
  constructor(timeoutMs: number) {
    super(`not drained within ${timeoutMs} ms`)
  }
}

/** The reason of `signal` after an orderly stop. */
export class ServiceStoppedError extends Error {
  readonly code = 'service_stopped'
  override readonly name = 'ServiceStoppedError'
  constructor() {
    super('the service has stopped')
  }
}
