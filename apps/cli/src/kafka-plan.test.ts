import { describe, expect, test } from 'vitest'
import { planOf, planText } from './kafka-plan.ts'

const options = { stream: ['orders'], queue: [], externalTopic: [], principal: [] }
const env = {
  HEADRACE_PREFIX: 'shop',
  HEADRACE_KAFKA_REPLICATION_FACTOR: '3',
  HEADRACE_STREAM_PARTITIONS: '12',
}

describe('the plan of what Headrace needs of Kafka', () => {
  test('has every topic with its partitions, copies and settings', () => {
    const { topics, groups } = planOf(env, options)
    expect(topics.map(({ name, partitions }) => `${name} ${partitions}`)).toEqual([
      'shop.events.orders 12',
      'shop.responses 4',
      'shop.tasks.default 4',
      'shop.dead-letters 12',
      'shop.config 1',
    ])
    expect(topics[0]?.config).toMatchObject({
      'message.timestamp.type': 'LogAppendTime',
      'min.insync.replicas': '2',
    })
    expect(groups).toEqual(['shop.trigger-service', 'shop.orchestrator', 'shop.workers.default'])
  })

  test('is commands to be copied', () => {
    const lines = planText(planOf(env, { ...options, principal: ['worker=User:CN=work'] })).split('\n')
    expect(lines).toContainEqual(
      expect.stringContaining('--topic shop.events.orders --partitions 12 --replication-factor 3 --config'),
    )
    expect(lines).toContainEqual(
      expect.stringContaining(
        `--add --allow-principal 'User:CN=work' --operation Read --topic shop.tasks.default`,
      ),
    )
    expect(lines).toContainEqual(
      expect.stringContaining('--topic shop.events. --resource-pattern-type prefixed'),
    )
  })

  test.each(['verify', 'off'])(
    'grants nobody to make or change topics with HEADRACE_KAFKA_TOPICS=%s',
    (mode) => {
      const { acls } = planOf({ ...env, HEADRACE_KAFKA_TOPICS: mode }, options)
      const granted = new Set(acls.flatMap(({ operations }) => operations))
      expect(granted).toEqual(new Set(['Read', 'Write', 'DescribeConfigs']))
    },
  )

  test('lets external topics be read, never written', () => {
    const { topics, acls } = planOf(env, { ...options, externalTopic: ['prod.orders'] })
    const granted = acls.filter(({ name }) => name === 'prod.orders').flatMap(({ operations }) => operations)
    expect(new Set(granted)).toEqual(new Set(['Read', 'DescribeConfigs']))
    expect(topics.map(({ name }) => name)).not.toContain('prod.orders')
  })

  test('refuses a principal of nobody', () => {
    expect(() => planOf(env, { ...options, principal: ['console=User:x'] })).toThrow(
      '--principal: console=User:x',
    )
  })
})
