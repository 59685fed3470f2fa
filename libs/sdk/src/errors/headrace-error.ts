/**
 * The base of every error of this SDK. `code` is stable and meant for programs, `retryable` says whether the same
 * thing may succeed when it is tried again; a step's retries obey it.
 *
 * What is thrown by a step is stored as name, message and stack (at most 16 KiB together) and thrown again on replay:
 * `instanceof` a class of this file works both times, `instanceof` a class of your own works neither time.
 */
export abstract class HeadraceError extends Error {
  abstract readonly code: string
  abstract readonly retryable: boolean

  /** What a stored copy must carry beside name, message and stack. */
  details(): Record<string, unknown> {
    return {}
  }
}

/** Options of an error: what led to it. */
export interface CauseOption {
  cause?: unknown
}

/** `new Error(message, { cause: undefined })` shows a cause that is none. */
export const causeOf = (options: CauseOption | undefined): ErrorOptions | undefined =>
  options?.cause === undefined ? undefined : { cause: options.cause }
