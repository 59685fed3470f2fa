import type { ProduceOutcome } from '@headrace/broker'
import { describe, expect, test } from 'vitest'
import { parseEvents } from '../ingest/parse-events.ts'
import { prepareEvents } from '../ingest/prepare-events.ts'
import { eventOutcome } from './event-outcome.ts'
import { publishAnswer } from './publish-answer.ts'

const events = (...ids: (string | null)[]) =>
  prepareEvents(
    parseEvents(
      JSON.stringify({
        events: ids.map((id) => ({ topic: 'orders/created', data: 1, ...(id === null ? {} : { id }) })),
      }),
    ),
    { keyId: 'local', idempotencyKey: null, traceparent: null, now: 0 },
  )
const written: ProduceOutcome = { status: 'written', partition: 2, offset: 7, timestamp: 0 }
const unknown: ProduceOutcome = { status: 'unknown', code: 'kafka_no_answer', message: 'no answer' }
const refused = (code: string): ProduceOutcome => ({ status: 'refused', code, message: 'm', retryable: true })

const answerTo = (ids: (string | null)[], outcomes: ProduceOutcome[]) =>
  publishAnswer(
    events(...ids).map((event, index) => eventOutcome(event, outcomes[index]!)),
    { requestId: 'req-1', warnings: [] },
  )

describe('P1: what a publisher is told', () => {
  test('200 only when all were written', () => {
    expect(answerTo(['a', 'b'], [written, written])).toEqual({
      status: 200,
      body: {
        events: ['a', 'b'].map((id) => ({
          id,
          topic: 'orders/created',
          stream: 'orders',
          partition: 2,
          sequence_id: 7,
          created_at: '1970-01-01T00:00:00.000Z',
        })),
        warnings: [],
      },
    })
  })

  test('207 when some were, in the order sent, each failure with its problem', () => {
    expect(answerTo(['a', null, 'c'], [written, unknown, refused('not_attempted')])).toMatchObject({
      status: 207,
      body: {
        events: [
          { id: 'a', sequence_id: 7 },
          { problem: { code: 'unknown', status: 503, retryable: true, request_id: 'req-1' } },
          { id: 'c', problem: { code: 'not_attempted' } },
        ],
      },
    })
  })

  test('an id with a failure only where the caller gave it', () => {
    const answer = answerTo(['a', null], [unknown, unknown])
    expect(answer).toMatchObject({ status: 503, problem: { code: 'unknown' }, events: [{ id: 'a' }, {}] })
    expect(answer.status === 503 && answer.events[1]).not.toHaveProperty('id')
  })

  test.each([
    ['unknown', [refused('kafka_unreachable'), unknown, refused('not_attempted')]],
    ['kafka_unavailable', [refused('not_attempted'), refused('kafka_unreachable')]],
    ['kafka_unavailable', [refused('leader_not_available')]],
    ['kafka_unavailable', [refused('deadline_exceeded')]],
    ['refused_by_kafka', [refused('policy_violation'), refused('kafka_unreachable')]],
    ['refused_by_kafka', [refused('unknown_topic')]],
    ['shutting_down', [refused('producer_closed')]],
  ])('503 under %s when none was: the gravest code speaks for all', (code, outcomes) => {
    const answer = answerTo(
      outcomes.map(() => null),
      outcomes,
    )
    expect(answer).toMatchObject({ status: 503, problem: { code, retryAfterSeconds: 1 } })
  })
})
