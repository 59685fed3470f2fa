import { randomUUID } from 'node:crypto'
import { type Clock, createDuty, type Duty, limited, type Logger, type Metrics } from '@headrace/service'
import type { AskOrchestrator } from './ask-orchestrator.ts'

const EVERY_MS = 5_000
/** An orchestrator that is away is said once a minute, not at each try. */
const SAY_EVERY_MS = 60_000

export interface AnnounceParts {
  ask: AskOrchestrator
  version: string
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** Tells the orchestrator every 5 s that this instance lives, for `GET /v1/status`. Nothing else depends on it. */
export function createAnnounceInstance({ ask, version, log, clock, metrics }: AnnounceParts): Duty<void> {
  const id = `gateway-${randomUUID()}`
  const warned = limited(log, 'orchestrator.unreachable', SAY_EVERY_MS, clock)
  return createDuty({
    name: 'announce-instance',
    everyMs: EVERY_MS,
    log,
    clock,
    metrics,
    async runOnce(signal) {
      const taken = await ask.post('/v1/instances', { id, component: 'gateway', version }, signal)
      if (!taken && !signal.aborted)
        warned.warn(
          { event: 'orchestrator.unreachable', code: 'orchestrator_unavailable' },
          'the orchestrator does not answer; events are accepted all the same',
        )
    },
  })
}
