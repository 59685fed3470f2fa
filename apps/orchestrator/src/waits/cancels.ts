import { compileCancelFilter, crashPoint } from '@headrace/core'
import { type Clock, createDuty, type Duty, limited, type Logger, type Metrics } from '@headrace/service'
import {
  cancelByResponses,
  cancelFromResponses,
  type CancelMatch,
  type EndedRun,
  type ResponseInHand,
  type Store,
  uncheckedCancels,
  type WaitRef,
} from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'

/**
 * Events that cancel runs, by the rules of their workflows (`cancelOn`). Each rule is a wait of the run, started with it.
 *
 * C1  an event that is stored after the wait was committed is found by whoever stored it, as for all waits
 * C2  one that was stored before is found by the wait's own look, which begins within half a second, of any instance
 * C3  a run that was cancelled is told of like any that ended; what a death leaves out is found by the sweeps of rooms
 *     and of children
 */
export interface Cancels {
  /** These responses were committed just now; `refs`: open waits on their topics. */
  came(refs: readonly WaitRef[], inHand: readonly ResponseInHand[]): Promise<void>
  /** C2, once. */
  look(): Promise<'again' | null>
}

export interface CancelsOptions {
  store: Store
  events: Pick<RunEvents, 'ended'>
  counts: Pick<OrchestratorMetrics, 'filterErrors'>
  log: Logger
  clock: Clock
}

/** Waits of one look, which reads the responses of each of their topics once. */
const LOOK_MAX = 1_000
/** An error in an `if` is the same for every event of a topic; one line a second names it. */
const SAY_EVERY_MS = 1_000
/** How late a run is cancelled by what came before it was there. While no run is new, one look at an index. */
const LOOK_EVERY_MS = 500

export function createCancels({ store, events, counts, log, clock }: CancelsOptions): Cancels {
  const said = limited(log, 'cancel.filter', SAY_EVERY_MS, clock)

  const matches: CancelMatch = (filter, event, firstEvent) => {
    const compiled = compileCancelFilter(filter)
    if (compiled.kind === 'invalid') return false
    return compiled.matches(event, firstEvent, (reason) => {
      counts.filterErrors.inc()
      const { topic, stream, partition, sequence_id: sequenceId } = event
      said.warn(
        {
          event: 'cancel.filter_failed',
          code: 'filter_failed',
          filter,
          topic,
          stream,
          partition,
          sequence_id: sequenceId,
          reason,
        },
        'the if of a cancelOn could not be evaluated on an event, which so does not cancel the run',
      )
    })
  }

  function cancelled(runs: EndedRun[]): void {
    if (runs.length === 0) return
    crashPoint('cancel.after-commit')
    for (const { runId, workflow } of runs)
      log.info({ event: 'run.cancelled_by_event', run_id: runId, workflow }, 'an event cancelled a run')
    events.ended(runs)
  }

  return {
    async came(refs, inHand) {
      if (refs.length > 0) cancelled(await cancelByResponses(store, refs, matches, inHand))
    },
    async look() {
      const refs = await uncheckedCancels(store, { limit: LOOK_MAX })
      if (refs.length === 0) return null
      cancelled(await cancelFromResponses(store, refs, matches))
      return refs.length < LOOK_MAX ? null : 'again'
    },
  }
}

/** C2 of {@link Cancels}. */
export const cancelLooks = (
  cancels: Pick<Cancels, 'look'>,
  shared: { log: Logger; clock: Clock; metrics: Metrics },
): Duty =>
  createDuty({
    ...shared,
    name: 'waits.cancel',
    everyMs: LOOK_EVERY_MS,
    runOnce: async () => await cancels.look(),
  })
