import { expect, test } from 'vitest'
import { workerLine } from './worker-lines.ts'

const time = '2026-11-23T12:00:00.123Z'
const json = (entry: object): string => JSON.stringify({ level: 'info', app: 'worker', time, ...entry })

test('a line of a run says what happened, its fields, and which run it was', () => {
  expect(
    workerLine(
      json({
        event: 'run.log',
        order_id: '123',
        sequence_id: 7,
        run_id: 'r1',
        workflow: 'on_order',
        epoch: 1,
        msg: 'an order came in',
      }),
    ),
  ).toBe('12:00:00.123 worker an order came in  order_id=123 sequence_id=7  on_order r1')
})

test('a warning says so, and stays on its line', () => {
  const entry = {
    level: 'warn',
    event: 'step.retry',
    error: 'no\n  way',
    workflows: ['a', 'b'],
    msg: 'again',
  }
  expect(workerLine(json(entry))).toBe('12:00:00.123 worker warn: again  error="no\\n  way" workflows=a,b')
})

test.each(['hello', '{ not json', '{"a":1}', '[1]'])(
  'what is no line of a log is shown as it came: %s',
  (line) => {
    expect(workerLine(line)).toBe(`worker ${line}`)
  },
)
