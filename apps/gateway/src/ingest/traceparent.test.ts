import { expect, test } from 'vitest'
import { parseTraceparent } from './traceparent.ts'

const good = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

test('a W3C traceparent goes on with the event; what is none is left out', () => {
  expect(parseTraceparent(good)).toBe(good)
  for (const bad of [
    undefined,
    '',
    'x',
    [good, good],
    good.toUpperCase(),
    good.replace('4bf92f3577b34da6a3ce929d0e0e4736', '0'.repeat(32)),
    good.replace('00f067aa0ba902b7', '0'.repeat(16)),
    `${good}-more`,
  ])
    expect(parseTraceparent(bad)).toBeNull()
})
