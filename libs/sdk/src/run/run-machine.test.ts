import { limits, type StepKind } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { RunMachine, type StoredResult } from './run-machine.ts'

const stored = (key: string, step_kind: StepKind, seen: number, n = 0): StoredResult => ({
  key,
  step_kind,
  seen,
  n,
})
const begun = (wake = 0, ...steps: StoredResult[]): RunMachine => new RunMachine({ wake, steps })
const handAll = (machine: RunMachine): string[] => {
  const keys: string[] = []
  for (let key = machine.handOut(); key !== null; key = machine.handOut()) keys.push(key)
  return keys
}
/** A wait that the orchestrator knows. */
const park = (machine: RunMachine, key: string): void => {
  expect(machine.call(key, 'event')).toEqual({ kind: 'start' })
  machine.registered(key)
}

describe('results are handed out in the order in which they happened', () => {
  test('by seen, answers first, then n, however they are called', () => {
    const machine = begun(
      2,
      stored('late', 'run', 2, 1),
      stored('second', 'event', 2),
      stored('between', 'run', 1, 0),
      stored('first', 'time', 1),
    )
    for (const [key, kind] of [
      ['late', 'run'],
      ['between', 'run'],
      ['second', 'event'],
      ['first', 'time'],
    ] as const)
      expect(machine.call(key, kind)).toEqual({ kind: 'replay' })
    expect(handAll(machine)).toEqual(['first', 'between', 'second', 'late'])
  })

  test('a body that ends before the worker hears of an answer came before it, one that ends after it after', () => {
    const machine = begun()
    park(machine, 'wait')
    machine.call('before', 'run')
    machine.call('after', 'run')
    expect(machine.ended('before')).toEqual({ n: 0, seen: 0 })
    machine.answered(1, [stored('wait', 'event', 1)])
    expect(machine.ended('after')).toEqual({ n: 1, seen: 1 })
    expect(handAll(machine)).toEqual(['before', 'wait', 'after'])
  })

  test('answers of one reply by their wakes, whichever wait was called first', () => {
    const machine = begun()
    park(machine, 'a')
    park(machine, 'b')
    machine.answered(2, [stored('b', 'event', 1), stored('a', 'event', 2)])
    expect(handAll(machine)).toEqual(['b', 'a'])
  })

  test('new results come after all that is stored', () => {
    const machine = begun(3, stored('answer', 'event', 3), stored('step', 'run', 1, 7))
    machine.call('new', 'run')
    expect(machine.ended('new')).toEqual({ n: 8, seen: 3 })
  })
})

describe('an answer', () => {
  test('that comes twice is taken once', () => {
    const machine = begun()
    park(machine, 'a')
    const answer = [stored('a', 'event', 1)]
    expect(machine.answered(1, answer)).toEqual(answer)
    expect(machine.answered(1, answer)).toEqual([])
    expect(handAll(machine)).toEqual(['a'])
  })

  test('to a wait that this replay has not called yet is there when it does', () => {
    const machine = begun(0, stored('step', 'run', 0, 0))
    machine.call('step', 'run')
    machine.answered(1, [stored('wait', 'event', 1)])
    expect(handAll(machine)).toEqual(['step'])
    expect(machine.call('wait', 'event')).toEqual({ kind: 'replay' })
    expect(handAll(machine)).toEqual(['wait'])
  })

  test('may come before its wait is registered again, also while that must wait', () => {
    const machine = begun()
    machine.call('id', 'value')
    const { n } = machine.ended('id')
    machine.handOut()
    expect(machine.call('wait', 'event')).toEqual({ kind: 'wait' })
    machine.answered(1, [stored('wait', 'event', 1)])
    expect(machine.acked(n)).toEqual([])
    expect(handAll(machine)).toEqual(['wait'])
  })
})

describe('a wait is registered', () => {
  test('only when every result that was handed out before its call is stored', () => {
    const machine = begun()
    machine.call('id', 'value')
    const { n } = machine.ended('id')
    machine.handOut()
    expect(machine.call('wait', 'event')).toEqual({ kind: 'wait' })
    expect(machine.acked(n)).toEqual(['wait'])
  })

  test('with the wake that the code had been handed, not with what has come since', () => {
    const machine = begun()
    park(machine, 'a')
    park(machine, 'b')
    machine.answered(2, [stored('a', 'event', 1), stored('b', 'event', 2)])
    machine.handOut()
    machine.call('c', 'event')
    expect(machine.receivedBefore('c')).toBe(1)
    machine.handOut()
    machine.call('d', 'event')
    expect(machine.receivedBefore('d')).toBe(2)
  })

  test('while fewer than 100 are open, by what the code has seen', () => {
    const machine = begun()
    for (let n = 0; n < limits.openWaitsPerRunMax; n += 1) machine.call(`wait-${n}`, 'time')
    expect(machine.call('one more', 'event')).toEqual({ kind: 'too_many_waits' })
    machine.answered(1, [stored('wait-0', 'time', 1)])
    expect(machine.call('one more', 'event')).toEqual({ kind: 'too_many_waits' })
    machine.handOut()
    expect(machine.call('one more', 'event')).toEqual({ kind: 'start' })
  })
})

describe('a run may park', () => {
  test('when nothing but answers can move it', () => {
    const machine = begun()
    expect(machine.mayPark).toBe(false)
    expect(machine.call('wait', 'event')).toEqual({ kind: 'start' })
    expect(machine.mayPark).toBe(false)
    machine.registered('wait')
    expect(machine.mayPark).toBe(true)
    machine.call('body', 'run')
    expect(machine.mayPark).toBe(false)
    const { n } = machine.ended('body')
    expect(machine.mayPark).toBe(false)
    machine.handOut()
    expect(machine.mayPark).toBe(false)
    machine.acked(n)
    expect(machine.mayPark).toBe(true)
    machine.answered(1, [stored('wait', 'event', 1)])
    expect(machine.mayPark).toBe(false)
  })

  test('not while a wait is refused and the code has not seen it', () => {
    const machine = begun()
    park(machine, 'a')
    machine.call('b', 'event')
    expect(machine.refused('b')).toBe(true)
    expect(machine.refused('a')).toBe(false)
    expect(machine.mayPark).toBe(false)
    expect(handAll(machine)).toEqual(['b'])
    expect(machine.mayPark).toBe(true)
  })
})

describe('a run', () => {
  test('may end when each publish that was called has a result', () => {
    const machine = begun()
    expect(machine.mayEnd).toBe(true)
    machine.call('send', 'publish')
    expect(machine.mayEnd).toBe(false)
    machine.ended('send')
    expect(machine.mayEnd).toBe(true)
  })

  test('replays until the last that was stored is handed out, answers included', () => {
    const machine = begun(1, stored('step', 'run', 0, 0), stored('wait', 'event', 1))
    machine.call('step', 'run')
    machine.call('wait', 'event')
    machine.handOut()
    expect(machine.replaying).toBe(true)
    machine.handOut()
    expect(machine.replaying).toBe(false)
    // What comes while it goes on is no replay.
    park(machine, 'next')
    machine.answered(2, [stored('next', 'event', 2)])
    expect(machine.replaying).toBe(false)
  })

  test('whose code begins again keeps its results and answers, and calls open waits again', () => {
    const machine = begun()
    machine.call('step', 'run')
    machine.ended('step')
    park(machine, 'answered')
    park(machine, 'open')
    machine.answered(1, [stored('answered', 'event', 1)])
    handAll(machine)
    machine.restart()
    expect(machine.replaying).toBe(true)
    expect(machine.mayPark).toBe(false)
    expect(machine.call('answered', 'event')).toEqual({ kind: 'replay' })
    expect(machine.call('step', 'run')).toEqual({ kind: 'replay' })
    expect(machine.call('open', 'event')).toMatchObject({ kind: 'start' })
    expect(machine.receivedBefore('open')).toBe(0)
    expect(handAll(machine)).toEqual(['step', 'answered'])
  })
})
