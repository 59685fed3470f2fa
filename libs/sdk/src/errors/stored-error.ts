import { limits, type WireError } from '@headrace/schemas'
import { ApiError, type ApiErrorParams } from './api-error.ts'
import { HeadraceError } from './headrace-error.ts'
import {
  DuplicateStepKeyError,
  ReplayMismatchError,
  RunCancelledError,
  RunFailedError,
  RunNotEndedError,
} from './run-error.ts'
import {
  ChildRunError,
  LimitExceededError,
  NonRetryableError,
  RetryAfterError,
  SchemaValidationError,
  StepFailedError,
  StepOutputError,
  WaitTimeoutError,
} from './step-error.ts'

/**
 * An error as a step stores it: the wire's five fields, and what an error of this SDK needs to become itself again.
 * The first throw hands out the revived copy too, so that code never sees one error now and another on replay.
 */
export interface StoredError extends WireError {
  revive?: { class: string; details: Record<string, unknown> }
}

/** What is thrown need not be an Error; what is stored always is. Never throws, whatever a getter of it does. */
export function storedErrorOf(thrown: unknown, stepKey: string | null): StoredError {
  try {
    return cut(read(thrown, stepKey))
  } catch {
    return {
      name: 'Error',
      message: 'an error that cannot be read',
      code: null,
      stack: null,
      step_key: stepKey,
    }
  }
}

function read(thrown: unknown, stepKey: string | null): StoredError {
  if (!(thrown instanceof Error))
    return { name: 'Error', message: shown(thrown), code: null, stack: null, step_key: stepKey }
  const code: unknown = 'code' in thrown ? thrown.code : null
  const stored: StoredError = {
    name: thrown.name,
    message: thrown.message,
    code: typeof code === 'string' ? code : null,
    stack: typeof thrown.stack === 'string' ? thrown.stack : null,
    step_key: stepKey,
  }
  const className = classOf(thrown)
  if (thrown instanceof HeadraceError && className !== null)
    stored.revive = { class: className, details: thrown.details() }
  return stored
}

function shown(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown
  return (typeof thrown === 'object' ? JSON.stringify(thrown) : null) ?? String(thrown)
}

/** The stack is cut first, then the details, then the message: the message is what people look for. */
function cut(stored: StoredError): StoredError {
  const over = (): number => Buffer.byteLength(JSON.stringify(stored)) - limits.errorBytesMax
  stored.name = stored.name.slice(0, 200)
  if (stored.code !== null) stored.code = stored.code.slice(0, 200)
  for (const field of ['stack', 'message'] as const) {
    // JSON may take six bytes for a character, so cutting by characters takes more than one round.
    for (let excess = over(); excess > 0 && (stored[field]?.length ?? 0) > 0; excess = over()) {
      const text = stored[field] ?? ''
      stored[field] = text.slice(0, Math.max(0, text.length - Math.max(16, Math.ceil(excess / 6))))
    }
    if (over() > 0) delete stored.revive
  }
  return stored
}

/** The five fields the API shows. */
export function wireErrorOf({ name, message, code, stack, step_key }: StoredError): WireError {
  return { name, message, code, stack, step_key }
}

/** The stored error as something to throw: of its own class when that is one of this SDK's. */
export function reviveError(stored: StoredError): Error {
  const error = construct(stored)
  error.message = stored.message
  error.name = stored.name
  // A stack of the place where it was revived would name the wrong code.
  error.stack = stored.stack ?? `${stored.name}: ${stored.message}`
  if (stored.code !== null && !('code' in error)) Object.assign(error, { code: stored.code })
  return error
}

type Details = Record<string, unknown>
const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const number = (value: unknown): number => (typeof value === 'number' ? value : 0)

const classes = {
  NonRetryableError: [NonRetryableError, (message: string) => new NonRetryableError(message)],
  RetryAfterError: [
    RetryAfterError,
    (message: string, details: Details) =>
      new RetryAfterError(message, number(details['retryAfterMs']) / 1_000),
  ],
  StepFailedError: [
    StepFailedError,
    (message: string, details: Details) =>
      new StepFailedError({
        stepKey: text(details['stepKey']),
        attempts: number(details['attempts']),
        cause: new Error(message),
      }),
  ],
  WaitTimeoutError: [
    WaitTimeoutError,
    (_message: string, details: Details) =>
      new WaitTimeoutError(details as ConstructorParameters<typeof WaitTimeoutError>[0]),
  ],
  ChildRunError: [
    ChildRunError,
    (_message: string, details: Details) =>
      new ChildRunError(details as unknown as ConstructorParameters<typeof ChildRunError>[0]),
  ],
  StepOutputError: [
    StepOutputError,
    (message: string, details: Details) =>
      new StepOutputError({ path: text(details['path']), detail: message }),
  ],
  LimitExceededError: [
    LimitExceededError,
    (message: string, details: Details) => new LimitExceededError({ limit: text(details['limit']), message }),
  ],
  SchemaValidationError: [
    SchemaValidationError,
    (message: string, details: Details) =>
      new SchemaValidationError(message, (details['issues'] ?? []) as SchemaValidationError['issues']),
  ],
  DuplicateStepKeyError: [
    DuplicateStepKeyError,
    (_message: string, details: Details) => new DuplicateStepKeyError(text(details['stepKey'])),
  ],
  ReplayMismatchError: [
    ReplayMismatchError,
    (_message: string, details: Details) =>
      new ReplayMismatchError(details as ConstructorParameters<typeof ReplayMismatchError>[0]),
  ],
  RunCancelledError: [
    RunCancelledError,
    (message: string, details: Details) =>
      new RunCancelledError({ runId: text(details['runId']), detail: message }),
  ],
  RunFailedError: [
    RunFailedError,
    (_message: string, details: Details) =>
      new RunFailedError(details as unknown as ConstructorParameters<typeof RunFailedError>[0]),
  ],
  RunNotEndedError: [
    RunNotEndedError,
    (_message: string, details: Details) =>
      new RunNotEndedError(details as unknown as ConstructorParameters<typeof RunNotEndedError>[0]),
  ],
  ApiError: [
    ApiError,
    (message: string, details: Details) => new ApiError({ ...details, message } as unknown as ApiErrorParams),
  ],
} as const satisfies Record<
  string,
  readonly [abstract new (...args: never[]) => Error, (message: string, details: Details) => Error]
>

const classOf = (error: Error): string | null =>
  Object.entries(classes).find(([, [Class]]) => error instanceof Class)?.[0] ?? null

function construct({ message, revive }: StoredError): Error {
  if (revive === undefined || !Object.hasOwn(classes, revive.class)) return new Error(message)
  return classes[revive.class as keyof typeof classes][1](message, revive.details)
}
