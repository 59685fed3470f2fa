import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { commandsRequestSchema, parseCommandsRequest, ProblemError } from './index.ts'

const run = { run_id: '0193a5c0-1111-7abc-9000-0123456789ab', epoch: 1 }
const step = {
  kind: 'step',
  ...run,
  key: 'a',
  step_kind: 'run',
  n: 0,
  seen: 0,
  output: '1',
  error: null,
  attempts: 1,
  started_at: 1.5,
  finished_at: 2,
}
const usual = [step, { kind: 'complete', ...run, output: '{}' }, { kind: 'claim', ...run, want_input: true }]
const requestOf = (...commands: unknown[]) => ({ worker_id: 'w1', commands })

/** What the schema alone says: the value it makes, or null. */
const judged = (value: unknown): unknown => {
  const parsed = commandsRequestSchema.safeParse(value)
  return parsed.success ? parsed.data : null
}
const taken = (value: unknown): unknown => {
  try {
    return parseCommandsRequest(value)
  } catch (error) {
    if (error instanceof ProblemError) return null
    throw error
  }
}

describe('the glance takes nothing that the schema would not', () => {
  test('what is usual goes through as it came', () => {
    const request = requestOf(...usual)
    expect(parseCommandsRequest(request)).toBe(request)
    expect(judged(request)).toEqual(request)
  })

  const odd: unknown[] = [
    undefined,
    null,
    true,
    '',
    'run',
    'x'.repeat(101),
    'x'.repeat(201),
    0,
    -1,
    1.5,
    2 ** 31,
    2 ** 53,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    [],
    {},
    '0193A5C0-1111-7ABC-9000-0123456789AB',
    '0193a5c0-1111-4abc-9000-0123456789ab',
    '0193a5c0-1111-7abc-c000-0123456789ab',
    '0193a5c0-1111-7abc-9000-0123456789ab\n',
  ]
  const cases = usual.flatMap((command) =>
    [...Object.keys(step), 'output', 'want_input', 'more'].flatMap((field) =>
      [...odd, 'absent'].map((value): [string, unknown] => {
        const { [field as 'kind']: _, ...rest } = command
        const changed = value === 'absent' ? rest : { ...rest, [field]: value }
        return [`${command.kind} ${field} ${JSON.stringify(value)?.slice(0, 30)}`, changed]
      }),
    ),
  )
  test('field by field', () => {
    const differing = cases.filter(([, command]) => {
      const request = requestOf(step, command)
      return !isDeepStrictEqual(taken(request), judged(request))
    })
    expect(differing.map(([name]) => name)).toEqual([])
  })

  test('a prototype among the fields, and a request that is none', () => {
    const poisoned: unknown = JSON.parse(JSON.stringify(step).replace('"key"', '"__proto__":{"a":1},"key"'))
    for (const value of [
      requestOf(poisoned),
      requestOf(),
      { ...requestOf(step), more: 1 },
      { worker_id: 'w1' },
      { worker_id: '', commands: [step] },
      { worker_id: 'w1', commands: { 0: step, length: 1 } },
      [requestOf(step)],
      null,
    ])
      expect(taken(value)).toEqual(judged(value))
  })

  test('any values in any fields', () => {
    const field = fc.constantFrom(...Object.keys(step), 'want_input')
    fc.assert(
      fc.property(fc.constantFrom(...usual), fc.dictionary(field, fc.jsonValue()), (command, changes) => {
        const request = requestOf({ ...command, ...changes })
        expect(taken(request)).toEqual(judged(request))
      }),
      { numRuns: 2_000 },
    )
  })
})
