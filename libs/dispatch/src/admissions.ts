import { checkpoint, crashPoint } from '@headrace/core'
import { type Clock, createDuty, type Logger, type Metrics } from '@headrace/service'
import { admitRuns, type ConcurrencyKey, keysWithRoom, type Store, type TaskSeed } from '@headrace/store'

/**
 * Lets in the runs that a concurrency rule holds: after each commit that brought some, or that ended one.
 *
 * A1  a commit comes first, then its keys are asked for: an admission that began before it is waited for, and one that
 *     begins after it sees it, so no place stays empty because two looked past each other
 * A2  nobody waits for it: what is lost with this process is found by a sweep, of any instance
 * A3  one transaction at a time here, with all keys that gathered meanwhile
 */
export interface Admissions {
  /** These keys may have room, or new runs, by a commit of this instance's. */
  admit(keys: readonly ConcurrencyKey[]): void
  start(): void
  /** Lets in what is left first. */
  stop(): Promise<void>
}

export interface AdmissionsOptions {
  store: Store
  /** Sends the tasks of runs that were let in; not awaited. */
  queued: (seeds: TaskSeed[]) => void
  /** Looks for keys with room too; one of the apps is enough. */
  sweeps: boolean
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** The most that a run waits longer for its place when who was about to let it in has died. */
const SWEEP_EVERY_MS = 1_000
/** Keys of one look of the sweep, some ms; the next goes on behind them. */
const SWEEP_KEYS_MAX = 1_000
/** Keys of one transaction: it holds all their locks. */
const KEYS_MAX = 100
/** Beyond it Postgres has been away for long: the sweep finds the others. */
const WAITING_MAX = 10_000

export function createAdmissions({ store, queued, sweeps, ...shared }: AdmissionsOptions): Admissions {
  const waiting = new Map<string, ConcurrencyKey>()

  function enter(keys: readonly ConcurrencyKey[]): void {
    for (const key of keys) {
      if (waiting.size >= WAITING_MAX) return
      waiting.set(`${key.workflow}/${key.key}`, key)
    }
  }

  async function letIn(): Promise<'again' | null> {
    const entries = [...waiting].slice(0, KEYS_MAX)
    if (entries.length === 0) return null
    for (const [name] of entries) waiting.delete(name)
    const keys = entries.map(([, key]) => key)
    try {
      const admitted = await admitRuns(store, keys)
      crashPoint('admit.after-commit-before-dispatch')
      const held = checkpoint('admit.after-commit-before-dispatch')
      if (held) await held
      queued(admitted.queued)
      enter(admitted.more)
    } catch (error) {
      enter(keys)
      throw error
    }
    return waiting.size > 0 ? 'again' : null
  }

  let after: ConcurrencyKey | null = null
  async function sweep(): Promise<void> {
    const { keys, next } = await keysWithRoom(store, { after, limit: SWEEP_KEYS_MAX })
    after = next
    admit(keys)
  }

  const admitting = createDuty({
    ...shared,
    name: 'concurrency.admit',
    everyMs: SWEEP_EVERY_MS,
    runOnce: letIn,
  })
  const sweeping = createDuty({
    ...shared,
    name: 'concurrency.sweep',
    everyMs: SWEEP_EVERY_MS,
    runOnce: sweep,
  })

  function admit(keys: readonly ConcurrencyKey[]): void {
    if (keys.length === 0) return
    enter(keys)
    admitting.poke()
  }

  return {
    admit,
    start() {
      admitting.start()
      if (sweeps) sweeping.start()
    },
    async stop() {
      await Promise.all([admitting.stop(), sweeping.stop()])
      try {
        while (waiting.size > 0) await letIn()
      } catch {
        // Postgres is away: A2.
      }
    },
  }
}
