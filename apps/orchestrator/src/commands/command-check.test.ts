import { type Command, limits } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { commandFault, fittingError } from './command-check.ts'

const ref = { run_id: '01234567-89ab-7def-8123-456789abcdef', epoch: 1 }
const step = (key: string): Command => ({
  kind: 'step',
  ...ref,
  key,
  step_kind: 'run',
  n: 0,
  seen: 0,
  output: 'null',
  error: null,
  attempts: 1,
  started_at: 0,
  finished_at: 0,
})

const publish = (key: string): Command => ({
  kind: 'publish',
  ...ref,
  key,
  topic: 'requests/1',
  event_type: null,
  data: '{}',
  event_key: null,
})

describe('a command is refused alone', () => {
  test.each(['a\u0000b', '\ud800'])('a step key that text columns cannot hold: %j', (key) => {
    expect(commandFault(step(key))).toMatchObject({ kind: 'refused', code: 'invalid_field' })
  })

  test('an output over its limit, measured in bytes', () => {
    const output = (characters: number): Command => ({
      kind: 'complete',
      ...ref,
      output: 'é'.repeat(characters),
    })
    expect(commandFault(output(limits.stepOutputBytesMax / 2))).toBeNull()
    expect(commandFault(output(limits.stepOutputBytesMax / 2 + 1))).toMatchObject({
      code: 'run_output_too_large',
    })
  })

  const wait = (filter: string | null, key = 'answer'): Command => ({
    kind: 'wait',
    ...ref,
    key,
    seen: 0,
    wait: { kind: 'event', topic: 'approvals/1', filter, since: 'run', timeout_ms: 1_000 },
  })

  test.each(['event.data.total >', 'nonsense(', 'event.data.a\u0000', '"\ud800" == event.id'])(
    'a filter that no event could be asked by: %j',
    (filter) => {
      expect(commandFault(wait(filter))).toMatchObject({ kind: 'refused', code: 'invalid_filter' })
    },
  )

  const child = (input: string, key = 'child'): Command[] => [
    { kind: 'invoke', ...ref, key, workflow: 'report', input },
    {
      kind: 'wait',
      ...ref,
      key,
      seen: 0,
      wait: { kind: 'run', workflow: 'report', input, timeout_ms: 1_000 },
    },
  ]

  test('a child run whose input is over its limit, measured in bytes', () => {
    for (const command of child(`"${'é'.repeat(limits.runInputBytesMax / 2)}"`))
      expect(commandFault(command)).toMatchObject({ kind: 'refused', code: 'run_input_too_large' })
  })

  test('a wait, a publish or an invoke whose key text columns cannot hold', () => {
    for (const command of child('null', 'a\u0000'))
      expect(commandFault(command)).toMatchObject({ code: 'invalid_field' })
    expect(commandFault(wait(null, 'a\u0000'))).toMatchObject({ code: 'invalid_field' })
    expect(commandFault(publish('a\ud800'))).toMatchObject({ code: 'invalid_field' })
  })

  test('nothing else', () => {
    expect(commandFault(wait('event.data.total > 50'))).toBeNull()
    expect(commandFault(wait(null))).toBeNull()
    expect(commandFault(publish('send'))).toBeNull()
    expect(child('{}').map(commandFault)).toEqual([null, null])
    const ask: Command = {
      kind: 'wait',
      ...ref,
      key: 'ask',
      seen: 0,
      wait: { kind: 'resume', timeout_ms: 1 },
    }
    expect(commandFault(ask)).toBeNull()
    expect(commandFault({ kind: 'suspend', ...ref, seen: 0 })).toBeNull()
    expect(commandFault({ kind: 'look', ...ref, seen: 0 })).toBeNull()
    expect(commandFault(step('charge 🚰'))).toBeNull()
    expect(commandFault({ kind: 'release', ...ref })).toBeNull()
    expect(commandFault({ kind: 'fail', ...ref, error: '{}' })).toBeNull()
    expect(commandFault({ kind: 'claim', ...ref, want_input: true })).toBeNull()
    expect(commandFault({ kind: 'steal', workflows: [], limit: 1 })).toBeNull()
  })
})

describe('a failure is taken whatever its size', () => {
  const error = { name: 'TypeError', message: 'no', code: 'x', stack: 'at …', step_key: 'charge' }

  test('as it is, where it fits', () => {
    expect(fittingError(JSON.stringify(error))).toBe(JSON.stringify(error))
  })

  test('without its stack, where that is too much', () => {
    const kept = fittingError(JSON.stringify({ ...error, stack: 'x'.repeat(50_000) }))
    expect(JSON.parse(kept)).toEqual({ ...error, stack: null })
  })

  test.each([
    JSON.stringify({ ...error, message: 'm'.repeat(50_000) }),
    'x'.repeat(50_000),
    `"${'x'.repeat(50_000)}"`,
  ])('cut, where even that is too much', (text) => {
    const kept = fittingError(text)
    expect(Buffer.byteLength(kept)).toBeLessThanOrEqual(limits.errorBytesMax)
    expect(JSON.parse(kept)).toMatchObject({
      stack: null,
      name: expect.any(String),
      message: expect.any(String),
    })
  })
})
