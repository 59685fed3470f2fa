import { isEnded } from '@headrace/core'
import { ProblemError } from '@headrace/schemas'
import {
  cancelRuns,
  getRun,
  newRunIds,
  pauseRuns,
  resumeRuns,
  retryOf,
  retryRuns,
  type RunRecord,
} from '@headrace/store'
import type { ApiContext } from '../context.ts'

type SteerContext = Pick<ApiContext, 'store' | 'serverClock' | 'events'>

export type SteerAction = 'cancel' | 'pause' | 'resume' | 'retry'

/**
 * Does it to those of the runs to which it applies, and tells what follows from it; returns how many those were. Decided in
 * Postgres at once; whoever has a run in hand learns of it by its next command or heartbeat. May be repeated.
 */
export async function steerRuns(
  { store, serverClock, events }: SteerContext,
  action: SteerAction,
  runIds: readonly string[],
): Promise<number> {
  switch (action) {
    case 'cancel': {
      const ended = await cancelRuns(store, runIds)
      events.ended(ended)
      return ended.length
    }
    case 'pause':
      return (await pauseRuns(store, runIds)).length
    case 'resume': {
      const { resumed, queued, held } = await resumeRuns(store, runIds)
      events.queued(queued)
      events.held(held)
      return resumed.length
    }
    case 'retry':
      break
  }
  const newIds = newRunIds(runIds.length, serverClock.now())
  const retries = runIds.map((runId, at) => ({ runId, newRunId: newIds[at] ?? '' }))
  const retried = await retryRuns(store, retries)
  events.queued(retried.filter(({ held }) => held === null).map(({ seed }) => seed))
  events.held(retried.flatMap(({ held }) => held ?? []))
  return retried.length
}

/**
 * One run, as it is then. What is so already is no error: a request whose answer was lost may be sent again. Throws
 * `run_ended` where the run has ended (another way).
 */
export async function steerRun(
  context: SteerContext,
  action: Exclude<SteerAction, 'retry'>,
  run: RunRecord,
): Promise<RunRecord> {
  const moved = await steerRuns(context, action, [run.id])
  const now = (await getRun(context.store, run.id)) ?? run
  if (moved > 0 || !isEnded(now.status) || (action === 'cancel' && now.status === 'cancelled')) return now
  throw new ProblemError('run_ended', `The run ${run.id} has ended: it is ${now.status}`)
}

/**
 * The run that retries this one: a new one, or the one that was started before, whatever became of it. Throws
 * `run_not_retryable`, and `workflow_not_found` where nobody has the code any more.
 */
export async function retryRun(
  context: SteerContext,
  run: RunRecord,
): Promise<{ run: RunRecord; existing: boolean }> {
  const { store } = context
  const started = await steerRuns(context, 'retry', [run.id])
  const newRunId = await retryOf(store, run.id)
  if (newRunId === null) throw refusal((await getRun(store, run.id)) ?? run)
  const retry = await getRun(store, newRunId)
  if (retry !== null) return { run: retry, existing: started === 0 }
  throw new ProblemError(
    'run_not_retryable',
    `The run ${run.id} was retried as ${newRunId}, which is not kept any more`,
  )
}

function refusal({ id, status, workflow }: RunRecord): ProblemError {
  if (!isEnded(status))
    return new ProblemError(
      'run_not_retryable',
      `The run ${id} has not ended: it is ${status}; cancel it first`,
    )
  if (status === 'completed')
    return new ProblemError('run_not_retryable', `The run ${id} is completed: start a new one`)
  return new ProblemError(
    'workflow_not_found',
    `There is no workflow ${workflow} any more: start a worker that has it, then send the request again`,
  )
}
