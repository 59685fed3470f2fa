import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { type Store, sweepEndedWaits, uncheckedWaits, type WaitRef } from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { Looks } from './looks.ts'

export interface WaitSweepsOptions {
  store: Store
  looks: Looks
  counts: OrchestratorMetrics
  log: Logger
  clock: Clock
  metrics: Metrics
}

const UNCHECKED_EVERY_MS = 1_000
/** A registration takes milliseconds: what is older was left behind by an instance that died. */
const UNCHECKED_MS = 5_000
/** Waits of one look: the responses of each are read. */
const UNCHECKED_MAX = 500
/** They answer nobody and cost a row each; nobody waits for their end. */
const ENDED_EVERY_MS = 60_000
const ENDED_MAX = 1_000

/**
 * What a death leaves behind: waits that were committed and have not looked for their answer, and open waits of runs that
 * have ended, since neither an end nor a cancel touches waits (they lock in the other order).
 */
export function waitSweeps({ store, looks, counts, ...shared }: WaitSweepsOptions): Duty[] {
  return [
    createDuty({
      ...shared,
      name: 'waits.unchecked',
      everyMs: UNCHECKED_EVERY_MS,
      runOnce: async () => {
        const refs = await uncheckedWaits(store, { olderThanMs: UNCHECKED_MS, limit: UNCHECKED_MAX })
        const left = looks.idle(refs)
        if (left.length === 0) return null
        counts.sweptWaits.inc({ kind: 'unchecked' }, left.length)
        await looks.begin(left)
        return refs.length >= UNCHECKED_MAX ? 'again' : null
      },
    }),
    createDuty({
      ...shared,
      name: 'waits.ended',
      everyMs: ENDED_EVERY_MS,
      runOnce: async (signal) => {
        let after: WaitRef | null = null
        do {
          const page: Awaited<ReturnType<typeof sweepEndedWaits>> = await sweepEndedWaits(store, {
            after,
            limit: ENDED_MAX,
          })
          counts.sweptWaits.inc({ kind: 'ended' }, page.cancelled)
          after = page.next
        } while (after !== null && !signal.aborted)
      },
    }),
  ]
}
