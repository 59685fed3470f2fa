import { expect, test } from 'vitest'
import { decodeDeadLetter, ridingHeaders } from './dead-letter-record.ts'

const bytes = (headers: Record<string, string>): Record<string, Buffer> =>
  Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)]))

test('a dead letter says what it is about, and keeps the headers of what was set aside apart', () => {
  const headers = bytes({
    reason: 'undecodable',
    detail: 'no JSON',
    stream: 'orders',
    kafka_topic: 'p.events.orders',
    partition: '2',
    offset: '7',
    record_key: 'k',
    ce_id: 'a',
  })
  expect(decodeDeadLetter(1, { offset: 5, timestamp: 9, value: Buffer.from('{'), headers })).toEqual({
    partition: 1,
    offset: 5,
    timestamp: 9,
    reason: 'undecodable',
    detail: 'no JSON',
    source: { stream: 'orders', kafkaTopic: 'p.events.orders', partition: 2, offset: 7 },
    incarnation: null,
    triggerId: null,
    runId: null,
    truncated: false,
    recordKey: Buffer.from('k'),
    value: Buffer.from('{'),
    headers: bytes({ ce_id: 'a' }),
  })
})

test('a record’s own headers cannot make it look like a window, or like a run', () => {
  expect(ridingHeaders({ trigger_id: 't', run_id: 'r', truncated: '1', ce_id: 'a' })).toEqual({ ce_id: 'a' })
})

test('what a foreign hand wrote to the topic is read with what it says', () => {
  const letter = decodeDeadLetter(0, {
    offset: 0,
    timestamp: 0,
    value: null,
    headers: bytes({ partition: '-1', offset: 'x' }),
  })
  expect(letter).toMatchObject({ reason: 'unknown', detail: '', source: null, value: null })
})
