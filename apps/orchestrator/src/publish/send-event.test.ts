import { expect, test } from 'vitest'
import { fateOf } from './send-event.ts'

const refusal = (code: string, retryable: boolean) =>
  fateOf({ status: 'refused', code, message: 'no', retryable })

test('what may pass later, or may be written already, is sent again under the same id', () => {
  for (const code of [
    'kafka_unreachable',
    'leader_not_available',
    'deadline_exceeded',
    'not_enough_replicas',
  ])
    expect(refusal(code, true)).toMatchObject({ kind: 'again', problem: { code: 'kafka_unavailable' } })
  expect(fateOf({ status: 'unknown', code: 'request_timed_out', message: 'silence' })).toMatchObject({
    kind: 'again',
    problem: { code: 'kafka_unavailable' },
  })
  expect(refusal('unknown_topic', false)).toMatchObject({
    kind: 'again',
    problem: { code: 'refused_by_kafka' },
  })
  expect(refusal('producer_closed', true)).toMatchObject({
    kind: 'again',
    problem: { code: 'shutting_down' },
  })
})

test('what will never pass fails the step', () => {
  expect(refusal('message_too_large', false)).toMatchObject({ reply: { code: 'event_too_large' } })
  expect(refusal('topic_authorization_failed', false)).toMatchObject({
    kind: 'reply',
    reply: { kind: 'refused', code: 'refused_by_kafka' },
  })
})
