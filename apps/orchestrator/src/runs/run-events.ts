import type { Admissions, Dispatcher } from '@headrace/dispatch'
import { FIRST_EPOCH, RETRY_EPOCH } from '@headrace/core'
import type { ClaimedRun } from '@headrace/schemas'
import type { Activity } from '@headrace/service'
import {
  type Answered,
  type ConcurrencyKey,
  type EndedRun,
  runIdTime,
  type TaskSeed,
  type WaitRef,
} from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'

/** What follows from a commit: told after the fact, never awaited. Losing it costs latency or a count, never a run. */
export interface RunEvents {
  claimed(runs: readonly ClaimedRun[]): void
  /** These runs are queued (again): their workers are told. */
  queued(seeds: readonly TaskSeed[]): void
  /** Runs of these keys came and wait to be let in. */
  held(keys: readonly ConcurrencyKey[]): void
  /** These waits were answered or have timed out; the parked runs among theirs are queued again. */
  answered(outcome: Answered): void
  ended(runs: readonly EndedRun[]): void
}

export interface RunEventsOptions {
  dispatcher: Pick<Dispatcher, 'dispatch'>
  admissions: Pick<Admissions, 'admit'>
  metrics: OrchestratorMetrics
  activity: Activity
  /** Wakes the callers that wait for these runs. */
  wake: (runIds: string[]) => void
  /** The steps that started these runs have their answer. */
  childrenEnded: (parents: WaitRef[]) => void
  onError: (error: unknown) => void
}

/** Runs that were answered here and not claimed yet; beyond it the oldest are not measured. */
const RESUMING_MAX = 10_000

export function createRunEvents({
  dispatcher,
  admissions,
  metrics,
  activity,
  wake,
  childrenEnded,
  onError,
}: RunEventsOptions): RunEvents {
  /** When each was queued by an answer (ms of this process), by run and epoch. */
  const resuming = new Map<string, number>()

  function queued(seeds: readonly TaskSeed[]): void {
    if (seeds.length > 0) dispatcher.dispatch(seeds).catch(onError)
  }

  function resumed({ run_id: runId, epoch, workflow }: ClaimedRun): void {
    const name = `${runId}/${epoch}`
    const answeredAtMs = resuming.get(name)
    if (answeredAtMs === undefined) return
    resuming.delete(name)
    metrics.resumeSeconds.observe({ workflow }, (performance.now() - answeredAtMs) / 1_000)
  }

  return {
    claimed(runs) {
      for (const run of runs) {
        // A later epoch goes on with a run that was counted when it began.
        if (run.epoch > (run.attempt > 1 ? RETRY_EPOCH : FIRST_EPOCH)) {
          resumed(run)
          continue
        }
        const { workflow, queue } = run
        metrics.runsStarted.inc({ workflow, queue })
        // Both by Postgres's clock: the id carries the time it was made.
        metrics.queueWaitSeconds.observe(
          { workflow, queue },
          Math.max(0, run.started_at - runIdTime(run.run_id)) / 1_000,
        )
        if (run.trigger !== null && run.attempt === 1)
          metrics.eventToStartSeconds.observe(
            { workflow, queue },
            Math.max(0, run.started_at - run.since) / 1_000,
          )
        activity.runStarted?.({ runId: run.run_id, workflow })
      }
    },
    queued,
    held: (keys) => admissions.admit(keys),
    answered({ answers, queued: seeds }) {
      countAnswers(metrics, answers)
      for (const { runId, epoch } of seeds) {
        const [oldest] = resuming.size >= RESUMING_MAX ? resuming.keys() : []
        if (oldest !== undefined) resuming.delete(oldest)
        resuming.set(`${runId}/${epoch}`, performance.now())
      }
      queued(seeds)
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
      admissions.admit(
        runs.flatMap(({ workflow, concurrencyKey: key }) => (key === null ? [] : [{ workflow, key }])),
      )
      childrenEnded(runs.flatMap(({ parent }) => parent ?? []))
    },
  }
}

function countAnswers(metrics: OrchestratorMetrics, answers: Answered['answers']): void {
  for (const { kind, status, unverified, logTimeMs, createdAtMs, answeredAtMs } of answers) {
    metrics.answers.inc({ kind, outcome: unverified ? 'unverified' : status })
    if (status === 'timed_out') metrics.waitTimeouts.inc({ kind })
    metrics.waitSeconds.observe({ kind }, Math.max(0, answeredAtMs - createdAtMs) / 1_000)
    if (logTimeMs !== null) metrics.answerSeconds.observe(Math.max(0, answeredAtMs - logTimeMs) / 1_000)
  }
}
