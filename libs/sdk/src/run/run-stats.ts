/** Upper bounds of `step_seconds`, in seconds. */
export const STEP_SECONDS_BOUNDS = [0.005, 0.025, 0.1, 0.5, 1, 5, 30, 300]

/** Counted of one workflow since the worker began; shown by `/metrics`. */
export interface RunStats {
  runsStarted: number
  runsCompleted: number
  runsFailed: number
  runsReleased: number
  runsSuspended: number
  runsLost: number
  runsPaused: number
  stepsStored: number
  stepsFailed: number
  stepRetries: number
  /** Bodies that ran though another result stands under their key. */
  stepsRerun: number
  /** How long bodies took with all their attempts: how many up to each bound, beyond the last, and their sum. */
  stepSeconds: { counts: number[]; sum: number }
}

export function noStats(): RunStats {
  return {
    runsStarted: 0,
    runsCompleted: 0,
    runsFailed: 0,
    runsReleased: 0,
    runsSuspended: 0,
    runsLost: 0,
    runsPaused: 0,
    stepsStored: 0,
    stepsFailed: 0,
    stepRetries: 0,
    stepsRerun: 0,
    stepSeconds: { counts: Array.from({ length: STEP_SECONDS_BOUNDS.length + 1 }, () => 0), sum: 0 },
  }
}

export function countStepSeconds({ stepSeconds }: RunStats, seconds: number): void {
  const bound = STEP_SECONDS_BOUNDS.findIndex((upTo) => seconds <= upTo)
  const at = bound < 0 ? STEP_SECONDS_BOUNDS.length : bound
  stepSeconds.counts[at] = (stepSeconds.counts[at] ?? 0) + 1
  stepSeconds.sum += seconds
}
