import { describe, expect, it } from 'vitest'
import {
  configTopic,
  deadLettersTopic,
  eventsTopic,
  responsesTopic,
  streamOfTopic,
  tasksTopic,
} from './topic-plan.ts'

const day = 86_400_000
const all = [
  eventsTopic('p', 'orders'),
  tasksTopic('p', 'default'),
  responsesTopic('p'),
  deadLettersTopic('p'),
  configTopic('p'),
]

describe('the plan of our topics', () => {
  it('names them under the prefix', () => {
    expect(all.map(({ name }) => name)).toEqual([
      'p.events.orders',
      'p.tasks.default',
      'p.responses',
      'p.dead-letters',
      'p.config',
    ])
  })

  it('stamps every record with the clock of the broker and takes batches of 2 MiB', () => {
    for (const { config } of all) {
      expect(config).toMatchObject({
        'message.timestamp.type': 'LogAppendTime',
        'max.message.bytes': '2097152',
      })
    }
  })

  it('keeps each kind as long as it is needed', () => {
    expect(all.map(({ config }) => [config['cleanup.policy'], config['retention.ms']])).toEqual([
      ['delete', String(7 * day)],
      ['delete', String(7 * day)],
      ['compact,delete', String(30 * day)],
      ['delete', String(30 * day)],
      ['compact', undefined],
    ])
    expect(responsesTopic('p').config['min.compaction.lag.ms']).toBe(String(day))
  })

  it('tells the stream of an events topic, and of nothing else', () => {
    expect(streamOfTopic('p', 'p.events.orders')).toBe('orders')
    expect(streamOfTopic('p', 'p.events.')).toBeNull()
    expect(streamOfTopic('p', 'p.tasks.orders')).toBeNull()
    expect(streamOfTopic('p', 'q.events.orders')).toBeNull()
  })
})
