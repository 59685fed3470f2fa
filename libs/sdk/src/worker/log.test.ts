import { expect, test } from 'vitest'
import { createLog } from './log.ts'

test('a worker’s lines look like those of the platform’s own processes', () => {
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  log.warn({ event: 'step.retry', run_id: 'r' }, 'tried again later')
  log.debug({ event: 'quiet' }, 'not said')
  expect(lines.map((line): unknown => JSON.parse(line))).toEqual([
    {
      level: 'warn',
      app: 'worker',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      event: 'step.retry',
      run_id: 'r',
      msg: 'tried again later',
    },
  ])
})

test('a level that is none names the variable', () => {
  expect(() => createLog('loud')).toThrow('HEADRACE_LOG_LEVEL')
})
