import { describe, expect, it } from 'vitest'
import { parseTriggerServiceConfig } from './config.ts'

const needed = {
  HEADRACE_KAFKA_BROKERS: 'a:9092,b:9092',
  HEADRACE_DATABASE_URL: 'postgres://u:p@db/headrace',
}

describe('the settings of the trigger service', () => {
  it('need Kafka and Postgres, and have defaults for the rest', () => {
    expect(parseTriggerServiceConfig(needed)).toMatchObject({
      host: '127.0.0.1',
      managementPort: 9081,
      prefix: 'headrace',
      kafka: { brokers: ['a:9092', 'b:9092'], topics: 'create' },
      progressEveryMs: 3_000,
    })
  })

  it('name each variable that is missing or wrong', () => {
    const parse = () => parseTriggerServiceConfig({ HEADRACE_FLUSH_PROGRESS_INTERVAL: 'soon' })
    expect(parse).toThrow('HEADRACE_KAFKA_BROKERS: must be set')
    expect(parse).toThrow('HEADRACE_DATABASE_URL: must be set')
    expect(parse).toThrow('HEADRACE_FLUSH_PROGRESS_INTERVAL: must be a duration')
  })
})
