import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import type { ServerClock } from '@headrace/store'

/**
 * Does what is due at a time: answers waits for one, lets delayed runs go, times runs out. Any number of instances do, each
 * statement guarded; what is due is found by a look a second, so that no timer hangs on the memory of an instance, and by an alarm at the next due time, so that it is on time too.
 */
export interface Timers {
  start(): void
  stop(): Promise<void>
  /** Something that is due then came to be here (ms since 1970, by Postgres's clock). Losing it costs a second. */
  expect(dueMs: number): void
  /** Does what is due, now. */
  doDue(): Promise<void>
}

export interface TimersOptions {
  /** Of the duty that looks. */
  name: string
  /** Does at most so much of what is due; tells how much it was, and when the next is. */
  act: (limit: number) => Promise<{ done: number; nextDueMs: number | null }>
  serverClock: Pick<ServerClock, 'now'>
  log: Logger
  clock: Clock
  metrics?: Metrics
}

/** The most that a timer is late when the instance that knew of it is gone. */
const LOOK_EVERY_MS = 1_000
/** An estimate of Postgres's clock that is a little ahead must not become a loop. */
const ALARM_MS_LEAST = 10
/** Timers of one statement: keeps its locks short. */
const TIMERS_MAX = 1_000

export function createTimers({ name, act, serverClock, ...shared }: TimersOptions): Timers {
  const { clock } = shared
  const stopping = new AbortController()
  let alarm: { atMs: number; off: AbortController } | null = null

  async function look(): Promise<'again' | null> {
    const { done, nextDueMs } = await act(TIMERS_MAX)
    if (done >= TIMERS_MAX) return 'again'
    if (nextDueMs !== null) expect(nextDueMs)
    return null
  }

  const duty: Duty = createDuty({ name, everyMs: LOOK_EVERY_MS, runOnce: look, ...shared })

  /** One alarm, the earliest; later times are read again by the look that it causes. */
  function expect(dueMs: number): void {
    const inMs = Math.max(ALARM_MS_LEAST, dueMs - serverClock.now())
    // Looks, which are not quite regular, come before it and ask again.
    if (inMs >= 2 * LOOK_EVERY_MS || stopping.signal.aborted) return
    const atMs = clock.now() + inMs
    if (alarm !== null && alarm.atMs <= atMs) return
    alarm?.off.abort()
    const off = new AbortController()
    const mine = { atMs, off }
    alarm = mine
    ring(mine, inMs).catch(() => undefined)
  }

  /** Rejects when it was put forward, or stopped. */
  async function ring(mine: NonNullable<typeof alarm>, inMs: number): Promise<void> {
    await clock.sleep(inMs, AbortSignal.any([mine.off.signal, stopping.signal]))
    if (alarm === mine) alarm = null
    duty.poke()
  }

  return {
    start: () => duty.start(),
    async stop() {
      stopping.abort()
      await duty.stop()
    },
    expect,
    async doDue() {
      await duty.runOnce()
    },
  }
}
