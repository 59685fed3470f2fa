import { describe, expect, test } from 'vitest'
import { durationMs, ProblemError, parseOrProblem, publishEventSchema, startRunSchema } from './index.ts'

const faults = (value: unknown) => {
  try {
    parseOrProblem(publishEventSchema, value)
  } catch (error) {
    if (error instanceof ProblemError)
      return { code: error.code, at: error.errors?.map((fault) => [fault.pointer, fault.code]) }
    throw error
  }
  return null
}

describe('a request that does not fit its schema', () => {
  test.each([
    [{ topic: 'orders/created' }, 'required', '/data'],
    [{ data: 1 }, 'required', '/topic'],
    [{ topic: 'orders/created', data: 1, evnt_type: 'x' }, 'unknown_field', '/evnt_type'],
    [{ topic: 7, data: 1 }, 'invalid_field', '/topic'],
    [{ topic: 'a//b', data: 1 }, 'invalid_topic', '/topic'],
    [{ topic: 'a', data: 1, id: 'x\u0000' }, 'contains_nul', '/id'],
    [{ topic: 'a', data: 1, key: '\ud800' }, 'invalid_field', '/key'],
    [{ topic: 'a', data: 1, key: 'é'.repeat(513) }, 'invalid_field', '/key'],
    [{ topic: 'a', data: 1, source: 'headrace:run' }, 'reserved_source', '/source'],
    [{ topic: 'a', data: 1, event_type: '' }, 'invalid_field', '/event_type'],
    [[], 'invalid_field', ''],
    [null, 'invalid_field', ''],
  ])('%j: %s at %j', (value, code, pointer) => {
    expect(faults(value)).toEqual({ code, at: [[pointer, code]] })
  })

  test('with faults of several kinds names all of them under invalid_request', () => {
    expect(faults({ topic: '/', data: 1, x: 1 })).toEqual({
      code: 'invalid_request',
      at: expect.arrayContaining([
        ['/topic', 'invalid_topic'],
        ['/x', 'unknown_field'],
      ]),
    })
  })

  test('data may be null, and is kept', () => {
    expect(parseOrProblem(publishEventSchema, { topic: 'a', data: null })).toEqual({ topic: 'a', data: null })
  })

  test('tags hold no NUL', () => {
    expect(() => parseOrProblem(startRunSchema, { workflow: 'w', tags: { a: '\u0000' } })).toThrow(
      /tags\/a.*NUL/,
    )
  })
})

test.each([
  [5, 5_000],
  ['5m', 300_000],
  ['250ms', 250],
  ['1.5h', 5_400_000],
  ['2w', 1_209_600_000],
  [-1, null],
  ['5', null],
  ['5 m', null],
  [Number.NaN, null],
])('the duration %j is %s ms', (duration, ms) => {
  expect(durationMs(duration)).toBe(ms)
})
