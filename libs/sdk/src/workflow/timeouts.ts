import { type Duration, durationMs, type WorkflowDefinition } from '@headrace/schemas'

/** A run that takes longer ends as `timed_out`, wherever it is: in the hands of a worker, waiting, or paused. */
export interface Timeouts {
  /** From its creation, or the end of its `delay`, until a worker takes it: seconds, or `'1h'`; at most 366 days. */
  start?: Duration
  /** From then on to its end, waits and pauses included: seconds, or `'7d'`; at most 366 days. */
  run?: Duration
}

/** Throws TypeError with the place (`subject`) and the field. */
export function timeoutsOf(
  timeouts: Timeouts | undefined,
  subject: string,
): Pick<WorkflowDefinition, 'timeouts'> {
  if (timeouts === undefined) return {}
  const msOf = (field: keyof Timeouts): number | null => {
    const given = timeouts[field]
    if (given === undefined) return null
    const ms = durationMs(given)
    if (ms === null)
      throw new TypeError(
        `${subject}: timeouts.${field} must be seconds, or '1h', not ${JSON.stringify(given)}`,
      )
    return ms
  }
  return { timeouts: { start_ms: msOf('start'), run_ms: msOf('run') } }
}
