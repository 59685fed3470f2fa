import { defaultRetryPolicy, type RetryPolicy } from '@headrace/core'
import { type Duration, durationMs } from '@headrace/schemas'

/**
 * How often a failed attempt is made again. Delays grow by `factor` from `initialDelay` to `maxDelay`; `jitter` is the
 * share of a delay that is random. A body that runs out of attempts throws `StepFailedError` into the workflow.
 */
export interface Retries {
  /** Attempts in all, the first included: 1 to 100; default 4. */
  maxAttempts?: number
  /** Seconds, or `'250ms'`; default 1 s. */
  initialDelay?: Duration
  /** 1 to 10; default 2. */
  factor?: number
  /** Default 60 s. A delay is waited for inside the worker; at most 1 h. */
  maxDelay?: Duration
  /** 0 to 1; default 0.5. */
  jitter?: number
}

/** A delay holds a slot of the worker, so it is bounded. */
const DELAY_MS_MAX = 3_600_000
const ATTEMPTS_MAX = 100
const FACTOR_MAX = 10

/** Throws TypeError with the place (`subject`) and the field. */
export function retryPolicyOf(
  retries: Retries | undefined,
  subject: string,
  base: Readonly<RetryPolicy> = defaultRetryPolicy,
): RetryPolicy {
  if (retries === undefined) return { ...base }
  const within = (field: keyof Retries, value: number, min: number, max: number): number => {
    if (Number.isFinite(value) && value >= min && value <= max) return value
    throw new TypeError(`${subject}: retries.${field} must be from ${min} to ${max}, not ${value}`)
  }
  const delay = (field: 'initialDelay' | 'maxDelay', fallback: number): number => {
    const given = retries[field]
    if (given === undefined) return fallback
    const ms = durationMs(given)
    if (ms === null || ms > DELAY_MS_MAX)
      throw new TypeError(
        `${subject}: retries.${field} must be seconds, or '250ms' to '1h', not ${JSON.stringify(given)}`,
      )
    return ms
  }
  const maxAttempts = within('maxAttempts', retries.maxAttempts ?? base.maxAttempts, 1, ATTEMPTS_MAX)
  if (!Number.isInteger(maxAttempts)) throw new TypeError(`${subject}: retries.maxAttempts must be whole`)
  return {
    maxAttempts,
    initialDelayMs: delay('initialDelay', base.initialDelayMs),
    factor: within('factor', retries.factor ?? base.factor, 1, FACTOR_MAX),
    maxDelayMs: delay('maxDelay', base.maxDelayMs),
    jitter: within('jitter', retries.jitter ?? base.jitter, 0, 1),
  }
}
