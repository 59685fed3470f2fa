import { compileFilter } from '@headrace/core'
import { type Clock, limited, type Logger } from '@headrace/service'
import { answerFromResponses, type FilterMatch, type Store, type WaitRef } from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'

/**
 * A wait looks for its answer itself, once it is committed and open: what was stored before it is found by nobody else.
 * Whoever dies in the middle leaves waits that are not marked as checked, and a sweep does it again.
 */
export type SelfRead = (refs: readonly WaitRef[]) => Promise<void>

export interface SelfReadOptions {
  store: Store
  events: RunEvents
  matches: FilterMatch
}

export function createSelfRead({ store, events, matches }: SelfReadOptions): SelfRead {
  return async (refs) => {
    if (refs.length === 0) return
    events.answered(await answerFromResponses(store, refs, matches))
  }
}

/** An error in a filter is the same for every event of a topic; one line a second names it. */
const SAY_EVERY_MS = 1_000

/** Whether an event passes a wait's filter. One that cannot be evaluated on an event does not match it, and is said. */
export function createFilterMatch(
  log: Logger,
  clock: Clock,
  { filterErrors }: Pick<OrchestratorMetrics, 'filterErrors'>,
): FilterMatch {
  const said = limited(log, 'wait.filter', SAY_EVERY_MS, clock)
  return (filter, event) => {
    const compiled = compileFilter(filter)
    if (compiled.kind === 'invalid') return false
    return compiled.matches(event, (reason) => {
      filterErrors.inc()
      const { topic, stream, partition, sequence_id: sequenceId } = event
      said.warn(
        {
          event: 'wait.filter_failed',
          code: 'filter_failed',
          filter,
          topic,
          stream,
          partition,
          sequence_id: sequenceId,
          reason,
        },
        'a wait’s filter could not be evaluated on an event, which so does not answer it',
      )
    })
  }
}
