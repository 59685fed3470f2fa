/**
 * When is a failed attempt made again?
 *
 * Exponential with jitter: attempt k waits `initialDelayMs × factor^(k-1)`, at most `maxDelayMs`, of which the share
 * `jitter` is random, so that a thousand runs that failed together do not come back together.
 */
export interface RetryPolicy {
  /** Attempts in all, the first included; 1 = no retry. */
  maxAttempts: number
  initialDelayMs: number
  factor: number
  maxDelayMs: number
  /** 0 = exact delays, 1 = anything between nothing and the full delay. */
  jitter: number
}

/** Four attempts within about seven seconds: outlives a restart of what it calls, and still fails while somebody looks. */
export const defaultRetryPolicy: Readonly<RetryPolicy> = {
  maxAttempts: 4,
  initialDelayMs: 1_000,
  factor: 2,
  maxDelayMs: 60_000,
  jitter: 0.5,
}

export type RetryDecision =
  { kind: 'retry'; delayMs: number } | { kind: 'give_up'; reason: 'not_retryable' | 'attempts_exhausted' }

export interface FailedAttempt {
  policy: Readonly<RetryPolicy>
  /** Attempts made so far, this one included. */
  attempts: number
  /** False when the error says that another attempt cannot help. */
  retryable: boolean
  /** The delay that the error asks for; it is kept to the letter, without jitter. */
  retryAfterMs: number | null
  /** A number from 0 (included) to 1 (not included). */
  random: number
}

export function decideRetry({
  policy,
  attempts,
  retryable,
  retryAfterMs,
  random,
}: FailedAttempt): RetryDecision {
  if (!retryable) return { kind: 'give_up', reason: 'not_retryable' }
  if (attempts >= policy.maxAttempts) return { kind: 'give_up', reason: 'attempts_exhausted' }
  return { kind: 'retry', delayMs: retryAfterMs ?? backoffMs(policy, attempts, random) }
}

/** The delay after attempt number `attempts` (from 1), in whole ms. */
export function backoffMs(
  policy: Omit<Readonly<RetryPolicy>, 'maxAttempts'>,
  attempts: number,
  random: number,
): number {
  // factor^n overflows to Infinity for a long outage; min() brings it back to the cap.
  const full = Math.min(policy.initialDelayMs * policy.factor ** (attempts - 1), policy.maxDelayMs)
  return Math.round(full * (1 - policy.jitter * random))
}
