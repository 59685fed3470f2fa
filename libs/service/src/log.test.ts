import { expect, test } from 'vitest'
import { createLogger, limited } from './log.ts'
import type { Clock } from './clock.ts'

function capture() {
  const lines: Record<string, unknown>[] = []
  const stream = { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) }
  return { lines, log: createLogger({ name: 'gateway', level: 'info', stream }) }
}

test('a line is JSON with its level by name, the time, the app and the event', () => {
  const { lines, log } = capture()
  log.info({ event: 'run.claimed', run_id: 'r1' }, 'claimed')
  expect(lines).toEqual([
    {
      level: 'info',
      time: expect.stringMatching(/Z$/),
      app: 'gateway',
      event: 'run.claimed',
      run_id: 'r1',
      msg: 'claimed',
    },
  ])
})

test('lines below the level are not written', () => {
  const { lines, log } = capture()
  log.debug({ event: 'x' })
  expect(lines).toEqual([])
})

test('secrets are cut out by field name, however deep', () => {
  const { lines, log } = capture()
  log.info({
    event: 'x',
    password: 's3cret',
    headers: { authorization: 's3cret' },
    config: { db: { database_url: 's3cret' } },
  })
  expect(JSON.stringify(lines)).not.toContain('s3cret')
})

test('secrets are cut out by their shape, also in an error’s message and stack', () => {
  const { lines, log } = capture()
  const err = new Error(
    'cannot reach postgres://app:p4ss%40word@db:5432/x with Bearer abc.def and hr_live_k1_s3cret',
  )
  log.error({ event: 'x', err })
  const text = JSON.stringify(lines)
  for (const secret of ['p4ss', 'abc.def', 's3cret']) expect(text).not.toContain(secret)
  expect(text).toContain('postgres://app:[redacted]@db:5432/x')
  expect(text).toContain('hr_live_k1_[redacted]')
})

test('a limited log writes one line an interval for each key, and then says how many it left out', () => {
  const { lines, log } = capture()
  let now = 0
  const clock = { now: () => now } as Clock
  const say = (key: string) => limited(log, key, 1_000, clock).warn({ event: key })
  say('a')
  say('a')
  say('b')
  say('a')
  now = 1_000
  say('a')
  now = 2_000
  say('a')
  expect(lines.map(({ event, suppressed }) => [event, suppressed])).toEqual([
    ['a', undefined],
    ['b', undefined],
    ['a', 2],
    ['a', undefined],
  ])
})
