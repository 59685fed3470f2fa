import { LOST_MAX } from '@headrace/core'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import {
  beatInstance,
  dropOldDecisions,
  dropOldInstances,
  dropOldWorkers,
  dropOrTrimPartitions,
  ensurePartitions,
  getRun,
  type LostRun,
  recoverDeadWorkers,
  type Store,
  sweepAudit,
  sweepDecisions,
} from '@headrace/store'
import type { OrchestratorConfig } from '../config.ts'
import type { OrchestratorMetrics } from '../metrics.ts'
import type { RunEvents } from '../runs/run-events.ts'
import { type DeadLetter, type DeadLetters, sourceOf } from './dead-letters.ts'

/**
 * What any number of orchestrators do again and again, each statement guarded so that two at once do no harm:
 * say that this instance lives, take runs back from dead workers, make partitions ahead, let old ones go.
 */
export interface RecoverDutiesOptions {
  store: Store
  instanceId: string
  version: string
  events: RunEvents
  deadLetters: DeadLetters
  counts: OrchestratorMetrics
  retention: OrchestratorConfig['retention']
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** As workers do. Who misses it for 8 s may not judge workers. */
const BEAT_EVERY_MS = 2_000
/** A dead worker is noticed at most this much later than its 8 s. */
const RECOVER_EVERY_MS = 1_000
/** Finds what a recovery that was cut short left behind, however long ago; it looks at every worker of the day. */
const RECOVER_ALL_EVERY_MS = 60_000
/** Partitions are made days ahead: an hour is soon enough after a failure. */
const PARTITIONS_EVERY_MS = 3_600_000
/** Deleting by small batches keeps each short; more often finds nothing. */
const RETENTION_EVERY_MS = 600_000

export function recoverDuties(options: RecoverDutiesOptions): Duty[] {
  const { store, instanceId, version, retention } = options
  const duty = (name: string, everyMs: number, runOnce: () => Promise<unknown>): Duty =>
    createDuty({ name, everyMs, runOnce, log: options.log, clock: options.clock, metrics: options.metrics })
  return [
    duty('instance.beat', BEAT_EVERY_MS, async () => {
      await beatInstance(store, { id: instanceId, component: 'orchestrator', version })
    }),
    duty('runs.recover', RECOVER_EVERY_MS, async () => await recover(options, { everyDeath: false })),
    duty('runs.recover_all', RECOVER_ALL_EVERY_MS, async () => await recover(options, { everyDeath: true })),
    duty('partitions.ahead', PARTITIONS_EVERY_MS, async () => await ensurePartitions(store)),
    duty('retention', RETENTION_EVERY_MS, async () => {
      await dropOldWorkers(store)
      await dropOldInstances(store)
      await dropOldDecisions(store)
      const decisions = await sweepDecisions(store, retention.decisionsMs)
      const audit = await sweepAudit(store, retention.decisionsMs)
      const runs = await dropOrTrimPartitions(store, retention)
      return decisions.more || audit.more || runs.more ? 'again' : null
    }),
  ]
}

/** What one statement took back is told before the next one may fail: it is found only once. */
async function recover(
  { store, instanceId, events, deadLetters, counts, log, clock }: RecoverDutiesOptions,
  how: { everyDeath: boolean },
): Promise<'again' | null> {
  const { dead, left, requeued, failed, more } = await recoverDeadWorkers(store, instanceId, how)
  for (const workerId of left) log.info({ event: 'worker.left', worker_id: workerId }, 'a worker has left')
  for (const workerId of dead) {
    counts.leaseExpired.inc()
    log.warn(
      { event: 'worker.dead', code: 'worker_lost', worker_id: workerId },
      'no heartbeat for 8 s: its runs go back',
    )
  }
  counts.sweepsRecovered.inc({ kind: 'worker_lost' }, requeued.length + failed.length)
  if (requeued.length > 0)
    log.info({ event: 'runs.recovered', runs: requeued.length }, 'runs of dead workers are queued again')
  events.queued(requeued)
  deadLetters.add(await Promise.all(failed.map(async (run) => await letterOf(store, run))))
  events.ended(
    failed.map(({ runId, workflow, queue, createdAt, parent, concurrencyKey }) => ({
      runId,
      workflow,
      queue,
      status: 'failed',
      createdAt,
      startedAt: createdAt,
      finishedAt: clock.now(),
      parent,
      concurrencyKey,
    })),
  )
  for (const run of failed) {
    log.error(
      {
        event: 'run.given_up',
        code: 'worker_lost',
        run_id: run.runId,
        workflow: run.workflow,
        worker_id: run.workerId,
      },
      `the run lost ${LOST_MAX} workers and has failed`,
    )
  }
  return more ? 'again' : null
}

async function letterOf(store: Store, { runId, workflow, trigger }: LostRun): Promise<DeadLetter> {
  // A read that fails costs the letter its payload, not the letter: the run is failed already, and not found again.
  const run = await getRun(store, runId).catch(() => null)
  return {
    reason: 'worker_lost',
    detail: `${LOST_MAX} workers stopped answering while they ran this run of ${workflow}; its last stored step tells where`,
    runId,
    source: sourceOf(trigger),
    triggerId: trigger?.id ?? null,
    payload: run?.input ?? null,
  }
}
