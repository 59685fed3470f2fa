import type { ClaimedRun } from '@headrace/schemas'
import type { RunHost } from './run-host.ts'
import type { RunStats } from './run-stats.ts'
import type { RunTrace } from './run-trace.ts'

/** How a run left this worker's hands. */
export type RunEnd = 'completed' | 'failed' | 'released' | 'paused' | 'suspended' | 'lost'

interface Noted {
  claimed: ClaimedRun
  host: RunHost
  trace: Pick<RunTrace, 'traceId'>
}

/** A line of the worker's log about a run. */
export function note(
  { claimed, host, trace }: Noted,
  level: 'warn' | 'error',
  event: string,
  fields: object,
  message: string,
): void {
  const { run_id, workflow, epoch } = claimed
  host.log[level]({ event, run_id, workflow, epoch, ...traceField(trace), ...fields }, message)
}

/** What ties a line to its trace. */
export const traceField = ({ traceId }: Pick<RunTrace, 'traceId'>): { trace_id?: string } =>
  traceId === null ? {} : { trace_id: traceId }

/** An attempt failed and is made again. */
export function noteRetry(
  noted: Noted,
  retry: { event: 'step.retry' | 'handler.retry'; key: string | null; attempt: number; delayMs: number },
  error: unknown,
): void {
  noted.host.statsOf(noted.claimed.workflow).stepRetries += 1
  const message = error instanceof Error ? error.message : String(error)
  const { event, key, attempt, delayMs } = retry
  const fields = { step_key: key, attempt, delay_ms: delayMs, error: message }
  note(noted, 'warn', event, fields, 'tried again later')
}

export function countEnd(stats: RunStats, end: RunEnd): void {
  if (end === 'completed') stats.runsCompleted += 1
  else if (end === 'failed') stats.runsFailed += 1
  else if (end === 'released') stats.runsReleased += 1
  else if (end === 'paused') stats.runsPaused += 1
  else if (end === 'suspended') stats.runsSuspended += 1
  else stats.runsLost += 1
}
