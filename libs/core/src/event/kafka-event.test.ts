import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeEvent, encodedBytes, encodeEvent, type NewEvent } from './kafka-event.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const event: NewEvent = {
  id: 'e-1',
  source: 'shop',
  topic: 'orders/created',
  eventType: 'created',
  data: { total: 99.99 },
  key: null,
  time: Date.UTC(2026, 0, 1),
  traceparent: null,
  dedup: false,
}
const logged = (encoded: ReturnType<typeof encodeEvent>) => ({
  partition: 2,
  offset: 41,
  timestamp: Date.UTC(2026, 0, 2),
  key: bytes(encoded.key),
  value: bytes(encoded.value),
  headers: encoded.headers,
})

const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`

describe('an event on Kafka', () => {
  test('is a CloudEvent in binary mode, keyed by its topic when it has no key', () => {
    expect(encodeEvent(event)).toEqual({
      key: 'orders/created',
      value: '{"total":99.99}',
      headers: {
        ce_specversion: '1.0',
        ce_id: 'e-1',
        ce_source: 'shop',
        ce_type: 'created',
        ce_subject: 'orders/created',
        ce_time: '2026-01-01T00:00:00.000Z',
        'content-type': 'application/json',
      },
    })
  })

  test('comes back as it was sent, whatever JSON it carries', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.option(fc.string({ minLength: 1 })),
        fc.boolean(),
        (data, key, dedup) => {
          const wellFormedKey = key?.toWellFormed() ?? null
          const sent = { ...event, data: JSON.parse(JSON.stringify(data)), key: wellFormedKey, dedup }
          const decoded = decodeEvent('orders', logged(encodeEvent(sent)))
          expect(decoded).toMatchObject({
            kind: 'event',
            event: { id: 'e-1', data: sent.data, key: wellFormedKey, dedup, sequenceId: 41 },
          })
        },
      ),
    )
  })

  test.each([
    ['not_an_event', { headers: {} }],
    ['invalid_topic', { headers: { ce_id: '1', ce_subject: 'orders//x' } }],
    ['invalid_topic', { headers: { ce_id: '1', ce_subject: 'users/x' } }],
    ['no_value', { value: null }],
    ['undecodable', { value: bytes('{"half":') }],
    ['undecodable', { value: Uint8Array.of(0xff, 0xfe) }],
    ['undecodable', { key: Uint8Array.of(0xff, 0xfe) }],
    ['json_too_deep', { value: bytes(nested(65)) }],
    ['json_too_deep', { value: bytes(nested(100_000)) }],
  ])('that cannot be read is told as %s, never thrown', (reason, change) => {
    expect(decodeEvent('orders', { ...logged(encodeEvent(event)), ...change })).toMatchObject({
      kind: 'unreadable',
      reason,
    })
  })

  test('may be as deep as the gateway takes it', () => {
    expect(decodeEvent('orders', { ...logged(encodeEvent(event)), value: bytes(nested(64)) })).toMatchObject({
      kind: 'event',
    })
  })

  test('keeps a byte order mark that is part of its id and key', () => {
    const marked = logged(encodeEvent({ ...event, id: '\ufeffe-1', key: '\ufeffk' }))
    const headers = Object.fromEntries(
      Object.entries(marked.headers).map(([name, value]) => [name, bytes(value)]),
    )
    expect(decodeEvent('orders', { ...marked, headers })).toMatchObject({
      event: { id: '\ufeffe-1', key: '\ufeffk' },
    })
  })

  test('counts key, value and headers against its limit', () => {
    expect(encodedBytes({ key: 'é', value: '"é"', headers: { a: 'b' } })).toBe(2 + 4 + 4)
  })
})
