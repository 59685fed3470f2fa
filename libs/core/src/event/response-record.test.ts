import { asEventId, type EventRecord } from '@headrace/schemas'
import { describe, expect, it } from 'vitest'
import type { StreamRecord } from './kafka-event.ts'
import { decodeResponse, encodeResponse } from './response-record.ts'

const event: EventRecord = {
  id: asEventId('e1'),
  source: 'shop',
  topic: 'orders/created',
  eventType: 'order',
  data: { total: 12, note: 'a\u0000b' },
  key: 'customer-7',
  createdAt: 1_754_000_000_123,
  stream: 'orders',
  partition: 3,
  sequenceId: 4_711,
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  dedup: true,
}

/** As the response topic holds it, at a place of its own. */
function stored(copied: EventRecord, over: Record<string, string | undefined> = {}): StreamRecord {
  const { key, value, headers } = encodeResponse(copied, 2)
  const all = Object.entries({ ...headers, ...over }).filter(([, text]) => text !== undefined)
  return {
    partition: 0,
    offset: 9,
    timestamp: 1_754_000_009_999,
    key: Buffer.from(key),
    value: Buffer.from(value),
    headers: Object.fromEntries(all.map(([name, text]) => [name, Buffer.from(text ?? '')])),
  }
}

describe('a response', () => {
  it('tells the event as it stands in its stream, whatever place the copy has', () => {
    const decoded = decodeResponse(stored(event))
    expect(decoded).toEqual({
      kind: 'response',
      response: { event, incarnation: 2, data: JSON.stringify(event.data) },
    })
  })

  it('is keyed by the event’s topic, so that a topic’s copies share a partition', () => {
    expect(encodeResponse(event, 1).key).toBe('orders/created')
    expect(encodeResponse({ ...event, key: null }, 1).key).toBe('orders/created')
  })

  it('keeps what an event does not have absent', () => {
    const bare: EventRecord = { ...event, key: null, eventType: null, traceparent: null, dedup: false }
    expect(decodeResponse(stored(bare))).toMatchObject({ response: { event: bare } })
  })

  it.each(['', '\uFEFFodd', 'ключ/1', 'a\u0000b'])('keeps the key %j as it is', (key) => {
    expect(decodeResponse(stored({ ...event, key }))).toMatchObject({ response: { event: { key } } })
  })

  it.each([
    ['without a position', { 'headrace-position': undefined }],
    ['with half a position', { 'headrace-position': 'orders/1/2' }],
    ['with a name for a number', { 'headrace-position': 'orders/1/two/3' }],
    ['with a negative offset', { 'headrace-position': 'orders/1/2/-3' }],
    ['with an incarnation of none', { 'headrace-position': 'orders/0/2/3' }],
    ['with a partition no integer holds', { 'headrace-position': 'orders/1/2147483648/3' }],
    ['with an offset no double holds', { 'headrace-position': 'orders/1/2/9007199254740993' }],
    ['without a log time', { 'headrace-log-time': undefined }],
    ['with a log time beyond all dates', { 'headrace-log-time': '9007199254740991' }],
  ])('%s is unreadable, never a reason to stop', (_, over) => {
    expect(decodeResponse(stored(event, over))).toMatchObject({
      kind: 'unreadable',
      reason: 'not_a_response',
    })
  })

  it('of another stream than its topic’s is unreadable', () => {
    const decoded = decodeResponse(stored(event, { 'headrace-position': 'users/1/2/3' }))
    expect(decoded).toMatchObject({ kind: 'unreadable', reason: 'invalid_topic' })
  })

  it('with a value that is no JSON is unreadable', () => {
    const decoded = decodeResponse({ ...stored(event), value: Buffer.from([0xff]) })
    expect(decoded).toMatchObject({ kind: 'unreadable', reason: 'undecodable' })
  })
})
