import { ConfigError, type ConfigProblem } from '@headrace/service'
import { describe, expect, test } from 'vitest'
import { parseGatewayConfig } from './config.ts'

const env = { HEADRACE_KAFKA_BROKERS: 'kafka:9092' }

function faultsOf(wrong: NodeJS.ProcessEnv): readonly ConfigProblem[] {
  try {
    parseGatewayConfig(wrong)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

describe('the settings of the gateway', () => {
  test('need only a Kafka', () => {
    expect(parseGatewayConfig(env)).toMatchObject({
      host: '127.0.0.1',
      port: 8080,
      managementPort: 9080,
      access: 'keys',
      prefix: 'headrace',
      orchestratorUrl: 'http://127.0.0.1:8082',
      streams: { autocreate: true, partitions: 4 },
    })
  })

  test('let every caller pass only when told so', () => {
    expect(parseGatewayConfig({ ...env, HEADRACE_AUTH: 'off' }).access).toBe('open')
    expect(parseGatewayConfig({ ...env, HEADRACE_AUTH: 'on' }).access).toBe('keys')
  })

  test('name every variable that is wrong', () => {
    const wrong = {
      HEADRACE_STREAM_PARTITIONS: '0',
      HEADRACE_ORCHESTRATOR_URL: 'x',
      HEADRACE_STREAM_AUTOCRATE: 'on',
    }
    const named = faultsOf(wrong).map(({ variable }) => variable)
    expect(new Set(named)).toEqual(new Set([...Object.keys(wrong), 'HEADRACE_KAFKA_BROKERS']))
  })
})
