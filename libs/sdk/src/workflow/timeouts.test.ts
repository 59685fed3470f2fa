import { expect, test } from 'vitest'
import type { Timeouts } from './timeouts.ts'
import { workflow } from './workflow.ts'

const timeoutsOf = (timeouts?: Timeouts): unknown =>
  workflow({ id: 'report', ...(timeouts ? { timeouts } : {}) }, () => null).definition.timeouts

test('time-outs are part of the definition, in ms; what is not given never ends a run', () => {
  expect(timeoutsOf()).toBeUndefined()
  expect(timeoutsOf({ start: '1h' })).toEqual({ start_ms: 3_600_000, run_ms: null })
  expect(timeoutsOf({ start: 30, run: '7d' })).toEqual({ start_ms: 30_000, run_ms: 604_800_000 })
})

test.each<[Timeouts, RegExp]>([
  [{ run: 'soon' as '1s' }, /"report": timeouts\.run must be seconds, or '1h', not "soon"/],
  [{ start: 0 }, /"report": timeouts\.start /],
  [{ run: '400d' }, /"report": timeouts\.run /],
])('a time-out that is none is refused by its name: %j', (timeouts, message) => {
  expect(() => timeoutsOf(timeouts)).toThrow(message)
})
