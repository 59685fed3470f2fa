import { limits, parseOrProblem, parseRunId, ProblemError, resumeStepSchema } from '@headrace/schemas'
import { listWaits, type Resumed, resumeWait, type WaitRecord } from '@headrace/store'
import type { ApiContext } from '../context.ts'

/**
 * Answers a step that waits to be resumed (`ctx.step.suspend`): the first data counts, and the same data again is answered
 * as the first time. Throws the problems of the body, `run_not_found`, `wait_not_found`, also while the run has not come to
 * the step yet, and `wait_settled` where it was resumed with other data or is over.
 */
export async function resumeStep(
  { store, events, log }: Pick<ApiContext, 'store' | 'events' | 'log'>,
  { id, key }: { id: string; key: string },
  requestBody: unknown,
): Promise<WaitRecord> {
  const data = dataOf(requestBody)
  const runId = parseRunId(id)
  if (runId === null) throw runNotFound(id)
  // A key that cannot be stored names no step.
  const resumed = isStorable(key) ? await resumeWait(store, { runId, key, data }) : NOTHING
  if (resumed.status === 'resumed') {
    events.answered(resumed.answered)
    log.info({ event: 'step.resumed', run_id: runId, step_key: key }, 'a step was resumed')
  } else if (resumed.status !== 'as_before') throw refusalOf(resumed, { id, key })
  const { waits } = await listWaits(store, { runId, key }, { limit: 1, cursor: null })
  const [wait] = waits
  if (wait === undefined) throw new Error(`the resumed step ${key} of run ${runId} is gone`)
  return wait
}

const NOTHING: Resumed = { status: 'wait_not_found', kind: null }

const SETTLED = {
  answered: 'was resumed with other data before',
  timed_out: 'has timed out',
  cancelled: 'is over: its run has ended',
}

function refusalOf(
  resumed: Exclude<Resumed, { status: 'resumed' | 'as_before' }>,
  { id, key }: { id: string; key: string },
): ProblemError {
  if (resumed.status === 'run_not_found') return runNotFound(id)
  const step = `The step ${JSON.stringify(key.slice(0, limits.stepKeyCharactersMax))} of run ${id}`
  if (resumed.status === 'settled') return new ProblemError('wait_settled', `${step} ${SETTLED[resumed.as]}`)
  return new ProblemError(
    'wait_not_found',
    resumed.kind === null
      ? `${step} does not wait to be resumed, or the run has not come to it yet`
      : `${step} is a wait of kind ${resumed.kind}, which nobody can resume`,
  )
}

const runNotFound = (id: string): ProblemError =>
  new ProblemError('run_not_found', `There is no run ${JSON.stringify(id.slice(0, 100))} (any more)`)

const isStorable = (key: string): boolean => key.isWellFormed() && !key.includes('\u0000')

function dataOf(requestBody: unknown): string {
  const { data = null } = parseOrProblem(resumeStepSchema, requestBody)
  const text = JSON.stringify(data)
  const bytes = Buffer.byteLength(text)
  if (bytes <= limits.stepOutputBytesMax) return text
  const detail = `has ${bytes} bytes as JSON, the most is ${limits.stepOutputBytesMax}`
  throw ProblemError.fromFaults([{ pointer: '/data', code: 'body_too_large', detail }])
}
