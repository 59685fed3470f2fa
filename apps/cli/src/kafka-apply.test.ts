import { type TopicConfigValue, type WantedTopic } from '@headrace/broker'
import { expect, test } from 'vitest'
import { corrections } from './kafka-apply.ts'
import { planOf } from './kafka-plan.ts'

const { topics } = planOf(
  { HEADRACE_KAFKA_REPLICATION_FACTOR: '3' },
  { stream: ['orders'], queue: [], externalTopic: [], principal: [] },
)
const topicOf = (name: string): WantedTopic => {
  const topic = topics.find((one) => one.name === name)
  if (topic === undefined) throw new Error(name)
  return topic
}
const responses = topicOf('headrace.responses')
const events = topicOf('headrace.events.orders')

/** What is there: as planned but for these. */
const thereWith = (topic: WantedTopic, other: Record<string, string>): Map<string, TopicConfigValue> =>
  new Map(Object.entries({ ...topic.config, ...other }).map(([name, value]) => [name, { value, own: true }]))

test('a topic as it is planned, its lists in any order, is left without a word', () => {
  const now = thereWith(responses, { 'cleanup.policy': 'delete,compact' })
  expect(corrections(responses, now)).toEqual({ changes: {}, left: [] })
})

test('what is wrong is set, all of it, and what is not there too', () => {
  const now = thereWith(responses, { 'cleanup.policy': 'delete', 'message.timestamp.type': 'CreateTime' })
  now.delete('max.message.bytes')
  expect(corrections(responses, now).changes).toEqual({
    'cleanup.policy': 'compact,delete',
    'message.timestamp.type': 'LogAppendTime',
    'max.message.bytes': '2097152',
  })
})

test.each([
  ['retention.ms', '-1'],
  ['retention.ms', '9999999999999'],
  ['max.message.bytes', '8388608'],
  ['min.insync.replicas', '3'],
])('more than planned is left, and told: %s=%s', (name, value) => {
  const { changes, left } = corrections(responses, thereWith(responses, { [name]: value }))
  expect(changes).toEqual({})
  expect(left).toEqual([expect.stringContaining(`left with ${name}=${value}`)])
})

test('less than planned is raised, but the retention of a stream is its own', () => {
  const less = { 'retention.ms': '60000' }
  expect(corrections(responses, thereWith(responses, less)).changes).toEqual({ 'retention.ms': '2592000000' })
  const { changes, left } = corrections(events, thereWith(events, less))
  expect(changes).toEqual({})
  expect(left).toEqual([expect.stringContaining('a stream')])
})
