import { parseRunId, ProblemError, type WireRun } from '@headrace/schemas'
import { getRun, notTakenReasons, type RunRecord } from '@headrace/store'
import type { ApiContext } from '../context.ts'
import { wireRun } from './wire-run.ts'

/** Throws `run_not_found`. */
export async function existingRun({ store }: ApiContext, id: string): Promise<RunRecord> {
  const runId = parseRunId(id)
  const run = runId === null ? null : await getRun(store, runId)
  if (run !== null) return run
  throw new ProblemError('run_not_found', `There is no run ${JSON.stringify(id.slice(0, 100))} (any more)`)
}

/** Runs as the API shows them. */
export async function wireRuns(
  { store }: ApiContext,
  runs: readonly RunRecord[],
  payloads: boolean,
): Promise<WireRun[]> {
  const queued = runs.filter(({ status, blockedReason }) => status === 'queued' && blockedReason === null)
  const notTaken = await notTakenReasons(
    store,
    queued.map(({ id }) => id),
  )
  return runs.map((run) => wireRun(run, { notTaken: notTaken.get(run.id) ?? null, payloads }))
}
