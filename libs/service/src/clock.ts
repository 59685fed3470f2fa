import { setTimeout as delay } from 'node:timers/promises'

/** The one source of time. Passed in everywhere, so that a test can move it. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now(): number
  /** Resolves after `ms`; rejects with the signal's reason as soon as it is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Calls `fn` every `ms` until the returned function is called. `fn` must not throw. */
  every(ms: number, fn: () => void): () => void
}

/** Node's timers overflow to 1 ms above this (24.8 days); longer sleeps are cut in pieces. */
const TIMER_MS_MAX = 2_147_483_647

export const systemClock: Clock = {
  now: () => Date.now(),
  async sleep(ms, signal) {
    let leftMs = Math.max(0, ms)
    try {
      do {
        const pieceMs = Math.min(leftMs, TIMER_MS_MAX)
        await delay(pieceMs, undefined, { signal })
        leftMs -= pieceMs
      } while (leftMs > 0)
    } catch (error) {
      // Node wraps the reason in an AbortError; callers tell a stop from a fault by the reason itself.
      if (signal.aborted) throw signal.reason
      throw error
    }
  },
  every(ms, fn) {
    const timer = setInterval(fn, Math.min(ms, TIMER_MS_MAX))
    return () => clearInterval(timer)
  },
}
