import type { Dispatcher } from '@headrace/dispatch'
import type { ClaimedRun } from '@headrace/schemas'
import type { Activity } from '@headrace/service'
import { type EndedRun, runIdTime, type TaskSeed } from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'

/** What follows from a commit: told after the fact, never awaited. Losing it costs latency or a count, never a run. */
export interface RunEvents {
  claimed(runs: readonly ClaimedRun[]): void
  /** These runs are queued (again): their workers are told. */
  queued(seeds: readonly TaskSeed[]): void
  ended(runs: readonly EndedRun[]): void
}

export interface RunEventsOptions {
  dispatcher: Pick<Dispatcher, 'dispatch'>
  metrics: OrchestratorMetrics
  activity: Activity
  /** Wakes the callers that wait for these runs. */
  wake: (runIds: string[]) => void
  onError: (error: unknown) => void
}

export function createRunEvents({
  dispatcher,
  metrics,
  activity,
  wake,
  onError,
}: RunEventsOptions): RunEvents {
  return {
    claimed(runs) {
      for (const run of runs) {
        // A later epoch goes on with a run that was counted when it began.
        if (run.epoch > 1) continue
        const { workflow } = run
        metrics.runsStarted.inc({ workflow })
        // Both by Postgres's clock: the id carries the time it was made.
        metrics.queueWaitSeconds.observe(
          { workflow },
          Math.max(0, run.started_at - runIdTime(run.run_id)) / 1_000,
        )
        activity.runStarted?.({ runId: run.run_id, workflow })
      }
    },
    queued(seeds) {
      if (seeds.length > 0) dispatcher.dispatch(seeds).catch(onError)
    },
    ended(runs) {
      if (runs.length === 0) return
      for (const { runId, workflow, queue, status, createdAt, finishedAt } of runs) {
        const ms = finishedAt - createdAt
        metrics.runsFinished.inc({ workflow, queue, status })
        metrics.runSeconds.observe({ workflow, queue }, ms / 1_000)
        activity.runEnded?.({ runId, workflow, status, ms })
      }
      wake(runs.map(({ runId }) => runId))
    },
  }
}
