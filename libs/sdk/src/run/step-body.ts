import { decideRetry, type RetryPolicy } from '@headrace/core'
import { limits } from '@headrace/schemas'
import { HeadraceError } from '../errors/headrace-error.ts'
import { LimitExceededError, StepOutputError } from '../errors/step-error.ts'
import { storedErrorOf } from '../errors/stored-error.ts'
import type { StepAttempt } from '../workflow/context.ts'
import type { LazyAbort } from './lazy-abort.ts'
import { jsonText, NotJsonError } from './json-text.ts'
import type { Outcome } from './step-outcome.ts'

export interface BodyParams {
  key: string
  body: (attempt: StepAttempt) => unknown
  policy: Readonly<RetryPolicy>
  abort: LazyAbort
  /** True when the body may not be tried again now; the run is being given back. */
  interrupted: () => boolean
  /** Waits between attempts; resolves early when the run is being given back. */
  pause: (delayMs: number) => Promise<void>
  random: () => number
  onRetry: (error: unknown, attempt: number, delayMs: number) => void
  /** Where it is given, a body that runs out of attempts has no result. */
  onExhausted?: (error: unknown) => void
}

/** Runs a body until it succeeds or gives up; null when it was interrupted between two attempts. */
export async function runBody(params: BodyParams): Promise<Outcome | null> {
  const { key, body, policy, abort } = params
  for (let attempts = 1; ; attempts += 1) {
    try {
      const output = outputText(key, await body(attemptOf(attempts, abort)))
      return { output, error: null, attempts }
    } catch (error) {
      const decision = decideRetry({ policy, attempts, ...retryWishOf(error), random: params.random() })
      if (decision.kind === 'give_up' && decision.reason === 'attempts_exhausted' && params.onExhausted) {
        params.onExhausted(error)
        return null
      }
      if (decision.kind === 'give_up')
        return { output: null, error: JSON.stringify(storedErrorOf(error, key)), attempts }
      params.onRetry(error, attempts, decision.delayMs)
      await params.pause(decision.delayMs)
      if (params.interrupted()) return null
    }
  }
}

/** What a body gets. The signal is made when it is asked for. */
function attemptOf(number: number, abort: LazyAbort): StepAttempt {
  return {
    number,
    get signal() {
      return abort.signal
    },
  }
}

/** The result as JSON text, within the limit. Throws StepOutputError or LimitExceededError. */
export function outputText(key: string | null, value: unknown): string {
  const text = resultText(value)
  const bytes = Buffer.byteLength(text)
  if (bytes <= limits.stepOutputBytesMax) return text
  const what = key === null ? 'the result of the workflow' : `the result of step "${key}"`
  throw new LimitExceededError({
    limit: 'stepOutputBytesMax',
    message: `${what} is ${bytes} bytes of JSON; at most ${limits.stepOutputBytesMax} are kept. Store it elsewhere and return its address`,
  })
}

function resultText(value: unknown): string {
  try {
    return jsonText(value)
  } catch (error) {
    throw error instanceof NotJsonError ? new StepOutputError(error) : error
  }
}

/** What an error says about another attempt. Also foreign errors may carry `retryable: false`. */
export function retryWishOf(error: unknown): { retryable: boolean; retryAfterMs: number | null } {
  if (typeof error !== 'object' || error === null) return { retryable: true, retryAfterMs: null }
  const retryable = !('retryable' in error && error.retryable === false)
  const asked = error instanceof HeadraceError && 'retryAfterMs' in error ? error.retryAfterMs : null
  return { retryable, retryAfterMs: typeof asked === 'number' ? asked : null }
}
