import { expect, test } from 'vitest'
import { z } from 'zod'
import { ConfigError, parseConfig } from './config.ts'
import { databaseSettings, kafkaSettings, listenSettings, processSettings } from './settings.ts'

const schema = z.object({
  ...kafkaSettings,
  ...databaseSettings,
  ...processSettings,
  ...listenSettings({ port: 8080, managementPort: 9080 }),
})
const least = {
  HEADRACE_KAFKA_BROKERS: 'localhost:9092',
  HEADRACE_DATABASE_URL: 'postgres://localhost/headrace',
}

function problemsOf(env: Record<string, string>): Record<string, string> {
  try {
    parseConfig(schema, env)
  } catch (error) {
    if (error instanceof ConfigError)
      return Object.fromEntries(error.problems.map((p) => [p.variable, p.message]))
    throw error
  }
  return {}
}

test('what is not set has its default', () => {
  expect(parseConfig(schema, least)).toEqual({
    HEADRACE_KAFKA_BROKERS: ['localhost:9092'],
    HEADRACE_PREFIX: 'headrace',
    HEADRACE_KAFKA_TOPICS: 'create',
    HEADRACE_KAFKA_REPLICATION_FACTOR: -1,
    HEADRACE_DATABASE_URL: 'postgres://localhost/headrace',
    HEADRACE_LOG_LEVEL: 'info',
    HEADRACE_DRAIN_TIMEOUT: 25_000,
    HEADRACE_HOST: '127.0.0.1',
    HEADRACE_PORT: 8080,
    HEADRACE_MANAGEMENT_PORT: 9080,
  })
})

test('an empty variable counts as absent', () => {
  expect(parseConfig(schema, { ...least, HEADRACE_PREFIX: '' }).HEADRACE_PREFIX).toBe('headrace')
  expect(problemsOf({ ...least, HEADRACE_DATABASE_URL: '' })).toEqual({
    HEADRACE_DATABASE_URL: 'must be set',
  })
})

test.each([
  ['HEADRACE_KAFKA_BROKERS', 'localhost', 'must be host:port, or several separated by commas'],
  ['HEADRACE_KAFKA_BROKERS', 'a:9092,b:0', 'must be host:port, or several separated by commas'],
  ['HEADRACE_KAFKA_TOPICS', 'maybe', 'must be create, verify or off'],
  ['HEADRACE_KAFKA_REPLICATION_FACTOR', '0', 'must be -1 (the brokers’ default) or at least 1'],
  ['HEADRACE_PREFIX', 'a/b', 'must be 1 to 64 letters, digits, dots, dashes or underscores'],
  ['HEADRACE_DATABASE_URL', 'mysql://x', 'must be a URL: postgres://… or postgresql://…'],
  ['HEADRACE_PORT', '65536', 'must be a whole number from 0 to 65535'],
  ['HEADRACE_DRAIN_TIMEOUT', 'soon', 'must be a duration such as 250ms, 25s, 5m or 7d, at most 366d'],
  ['HEADRACE_LOG_LEVEL', 'loud', 'must be one of trace, debug, info, warn, error, fatal, silent'],
])('%s=%s is refused with a message that names it', (name, value, message) => {
  expect(problemsOf({ ...least, [name]: value })).toEqual({ [name]: message })
})

test.each([
  ['250ms', 250],
  ['25s', 25_000],
  ['25', 25_000],
  ['1.5m', 90_000],
  ['7d', 604_800_000],
])('the duration %s is %i ms', (text, ms) => {
  expect(parseConfig(schema, { ...least, HEADRACE_DRAIN_TIMEOUT: text }).HEADRACE_DRAIN_TIMEOUT).toBe(ms)
})

test('a variable that nobody knows is an error, with the nearest name', () => {
  expect(problemsOf({ ...least, HEADRACE_PREFX: 'x' })).toEqual({
    HEADRACE_PREFX: 'there is no such setting; did you mean HEADRACE_PREFIX?',
  })
  expect(problemsOf({ ...least, HEADRACE_WHATEVER_THIS_IS: 'x' })).toEqual({
    HEADRACE_WHATEVER_THIS_IS: 'there is no such setting',
  })
})

test('settings of other apps, of tests, and those allowed by name are let pass', () => {
  const env = { ...least, HEADRACE_CRASH_POINT: 'x', HEADRACE_TEST_INFRA: 'local', HEADRACE_OTHER_THING: 'x' }
  expect(parseConfig(schema, env, { allowed: ['HEADRACE_OTHER_THING'] }).HEADRACE_PORT).toBe(8080)
})

test('the error lists every problem, and no value: it may be a secret', () => {
  const env = { HEADRACE_DATABASE_URL: 'hunter2', HEADRACE_PORT: 'x' }
  const error = (() => {
    try {
      return parseConfig(schema, env)
    } catch (thrown) {
      return thrown as ConfigError
    }
  })() as ConfigError
  expect(error.problems.map((p) => p.variable).sort()).toEqual([
    'HEADRACE_DATABASE_URL',
    'HEADRACE_KAFKA_BROKERS',
    'HEADRACE_PORT',
  ])
  expect(error.message).not.toContain('hunter2')
})
