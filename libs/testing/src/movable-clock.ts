import type { Clock } from '@headrace/service'

/** A clock that stands still until a test moves it. */
export interface MovableClock extends Clock {
  /** Moves on by `ms`; what falls due on the way happens in order, each at its own time. */
  advance(ms: number): Promise<void>
  /** How many sleeps and intervals are pending. */
  readonly pending: number
  /** Resolves when at least `count` sleeps or intervals are pending: the code under test has come to rest. */
  resting(count?: number): Promise<void>
}

interface Timer {
  atMs: number
  /** Null for a sleep, which happens once. */
  everyMs: number | null
  fire: () => void
}

/** `start` is milliseconds since the epoch, or a date. */
export function movableClock(start: number | string | Date = '2026-01-01T00:00:00.000Z'): MovableClock {
  let nowMs = new Date(start).getTime()
  const timers = new Set<Timer>()
  const watchers = new Set<{ count: number; resolve: () => void }>()

  function add(timer: Timer): void {
    timers.add(timer)
    for (const watcher of watchers) if (timers.size >= watcher.count) watcher.resolve()
  }

  function nextDue(untilMs: number): Timer | null {
    let next: Timer | null = null
    for (const timer of timers) {
      if (timer.atMs <= untilMs && (next === null || timer.atMs < next.atMs)) next = timer
    }
    return next
  }

  return {
    now: () => nowMs,
    get pending() {
      return timers.size
    },
    async sleep(ms, signal) {
      signal.throwIfAborted()
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const timer: Timer = { atMs: nowMs + Math.max(0, ms), everyMs: null, fire: resolve }
      const abort = (): void => {
        timers.delete(timer)
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', abort, { once: true })
      add(timer)
      try {
        await promise
      } finally {
        signal.removeEventListener('abort', abort)
      }
    },
    every(ms, fn) {
      const everyMs = Math.max(1, ms)
      const timer: Timer = { atMs: nowMs + everyMs, everyMs, fire: fn }
      add(timer)
      return () => {
        timers.delete(timer)
      }
    },
    async advance(ms) {
      const untilMs = nowMs + ms
      for (let due = nextDue(untilMs); due !== null; due = nextDue(untilMs)) {
        nowMs = Math.max(nowMs, due.atMs)
        if (due.everyMs === null) timers.delete(due)
        else due.atMs += due.everyMs
        due.fire()
        await settled()
      }
      nowMs = untilMs
      await settled()
    },
    async resting(count = 1) {
      if (timers.size >= count) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const watcher = { count, resolve }
      watchers.add(watcher)
      await promise
      watchers.delete(watcher)
    },
  }
}

/** Lets everything that was woken run on to where it waits again. */
async function settled(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve))
}
