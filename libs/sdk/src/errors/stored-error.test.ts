import { limits } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { ApiError } from './api-error.ts'
import type { HeadraceError } from './headrace-error.ts'
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
import { reviveError, storedErrorOf } from './stored-error.ts'

const error = { name: 'E', message: 'm', code: null, stack: null, step_key: null }
const all: HeadraceError[] = [
  new NonRetryableError('no'),
  new RetryAfterError('later', '5m'),
  new StepFailedError({ stepKey: 'a', attempts: 2, cause: new Error('x') }),
  new WaitTimeoutError({ stepKey: 'a', topic: 'a/b', timeoutMs: 300_000, unverified: true }),
  new WaitTimeoutError({ stepKey: 'a', topic: null, timeoutMs: 300_000 }),
  new ChildRunError({ stepKey: 'a', runId: 'r', status: 'failed', error }),
  new StepOutputError({ path: '/a', detail: 'is a bigint' }),
  new LimitExceededError({ limit: 'stepsPerRunMax', message: 'too many' }),
  new SchemaValidationError('the input', [{ path: '/a', message: 'must be number' }]),
  new DuplicateStepKeyError('a'),
  new ReplayMismatchError({ stepKey: 'a', storedKind: 'run', calledKind: 'value' }),
  new RunCancelledError({ runId: 'r', detail: 'cancelled' }),
  new RunFailedError({ runId: 'r', status: 'failed', error }),
  new RunNotEndedError({ runId: 'r', status: 'running' }),
  new ApiError({
    message: 'm',
    status: 429,
    code: 'overloaded',
    retryable: true,
    retryAfterMs: 5,
    requestId: 'q',
  }),
]

describe('a stored error', () => {
  test.each(all.map((one) => [one.name, one] as const))('%s comes back as itself', (_name, thrown) => {
    const stored = JSON.parse(JSON.stringify(storedErrorOf(thrown, 'a'))) as ReturnType<typeof storedErrorOf>
    const revived = reviveError(stored) as HeadraceError
    expect(revived).toBeInstanceOf(thrown.constructor)
    expect(revived.details()).toEqual(thrown.details())
    for (const field of ['name', 'message', 'stack', 'code', 'retryable'] as const)
      expect(revived[field]).toBe(thrown[field])
  })

  test('of a class of the user’s is an Error with its name, message, code and stack', () => {
    const thrown = Object.assign(new TypeError('x'), { code: 'ECONNREFUSED' })
    const revived = reviveError(storedErrorOf(thrown, null))
    expect(revived).toBeInstanceOf(Error)
    expect(revived).toMatchObject({
      name: 'TypeError',
      message: 'x',
      code: 'ECONNREFUSED',
      stack: thrown.stack,
    })
  })

  test.each([
    ['just text', 'just text'],
    [{ a: 1 }, '{"a":1}'],
    [null, 'null'],
    [undefined, 'undefined'],
  ])('made of %j, which is no Error, has a message', (thrown, message) => {
    expect(storedErrorOf(thrown, 'k')).toMatchObject({ name: 'Error', message, step_key: 'k' })
  })

  test.each(['x', '\u0000', '"', '€'])('is at most 16 KiB, the stack cut first (%j)', (character) => {
    const long = new Error(`begins ${character.repeat(100_000)}`)
    const stored = storedErrorOf(long, 'k')
    expect(Buffer.byteLength(JSON.stringify(stored))).toBeLessThanOrEqual(limits.errorBytesMax)
    expect(stored.message.startsWith('begins ')).toBe(true)
    const deep = Object.assign(new Error('short'), { stack: character.repeat(100_000) })
    expect(storedErrorOf(deep, null).message).toBe('short')
  })

  test('that cannot be read is still an error', () => {
    const hostile = Object.defineProperty(new Error('x'), 'message', {
      get() {
        throw new Error('no')
      },
    })
    expect(storedErrorOf(hostile, null).message).toBe('an error that cannot be read')
  })
})
