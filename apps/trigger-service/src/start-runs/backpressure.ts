import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import type { BackpressureChange } from '@headrace/store'

/** So far a burst may go beyond the limit: what all lanes start in a second. */
const COUNT_EVERY_MS = 1_000
/** Share of the limit at which triggers go on, so that they do not stop and go with every run. */
const GO_ON_AT = 0.8

export interface BackpressureParts {
  queuedRunsMax: number
  set: (limits: { above: number; until: number }) => Promise<readonly BackpressureChange[]>
  /** Something changed: the list of triggers is worth reading again. */
  onChanged: () => void
  log: Logger
  clock: Clock
  metrics: Metrics
}

/**
 * Past so many queued runs of a workflow its triggers wait, and their events stay on Kafka. Kept in Postgres, so that all
 * instances, and the API, see the same; no cursor is touched.
 */
export function createBackpressure({ queuedRunsMax, set, onChanged, ...parts }: BackpressureParts): Duty {
  const { log } = parts
  return createDuty({
    ...parts,
    name: 'trigger-service.backpressure',
    everyMs: COUNT_EVERY_MS,
    runOnce: async () => {
      const changes = await set({ above: queuedRunsMax, until: Math.floor(queuedRunsMax * GO_ON_AT) })
      for (const { workflow, runs, backpressured } of changes)
        log.warn(
          { event: 'workflow.backpressure', code: 'queued_runs', workflow, queued: runs, backpressured },
          backpressured
            ? 'too many runs of a workflow are queued; its triggers wait'
            : 'enough runs of a workflow were taken; its triggers go on',
        )
      if (changes.length > 0) onChanged()
    },
  })
}
