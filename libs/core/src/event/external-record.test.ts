import { bindingRuleSchema, type StreamBinding } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { compileFilter } from '../match/filter.ts'
import { decodeExternal } from './external-record.ts'
import { encodeEvent, type StreamRecord, toInputEvent, toWireEvent } from './kafka-event.ts'
import { decodeResponse, encodeResponse } from './response-record.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const NOT_UTF8 = Uint8Array.of(0xff, 0xfe)

function bound(rule: object = {}): StreamBinding {
  const parsed = bindingRuleSchema.parse({
    kafka_topic: 'shop.orders',
    topic: { const: 'orders/placed' },
    ...rule,
  })
  return { stream: 'orders', rule: parsed, revision: 1 }
}
const logged = (over: Partial<StreamRecord> = {}): StreamRecord => ({
  partition: 2,
  offset: 41,
  timestamp: Date.UTC(2026, 0, 2),
  key: bytes('k'),
  value: bytes('{"total":5}'),
  headers: {},
  ...over,
})
const read = (rule: object, over: Partial<StreamRecord> = {}) => decodeExternal(bound(rule), logged(over))
const eventOf = (rule: object, over: Partial<StreamRecord> = {}) => {
  const decoded = read(rule, over)
  if (decoded.kind !== 'event') throw new Error(JSON.stringify(decoded))
  return decoded.event
}

describe('a record of an external stream', () => {
  test('is an event at its own place, named by it unless the rule names an id', () => {
    expect(eventOf({})).toMatchObject({
      id: '2-41',
      source: 'kafka:shop.orders',
      topic: 'orders/placed',
      eventType: null,
      data: { total: 5 },
      key: 'k',
      createdAt: Date.UTC(2026, 0, 2),
      stream: 'orders',
      partition: 2,
      sequenceId: 41,
      dedup: false,
    })
  })

  test.each([
    ['a header', { topic: { header: 'name' } }, { headers: { name: bytes('orders/paid') } }],
    [
      'a header behind a prefix',
      { topic: { header: 'name', prefix: 'orders/' } },
      { headers: { name: 'paid' } },
    ],
    ['a pointer', { topic: { pointer: '/meta/~0t~1' } }, { value: bytes('{"meta":{"~t/":"orders/paid"}}') }],
    [
      'a text value itself',
      { topic: { pointer: '' }, value_format: 'string' },
      { value: bytes('orders/paid') },
    ],
  ])('has the topic that %s names', (_what, rule, over) => {
    expect(eventOf(rule, over).topic).toBe('orders/paid')
  })

  test('has the id and the type that the rule names, and repeats of its id are known', () => {
    const rule = { id: { pointer: '/no' }, event_type: { header: 'type' } }
    expect(eventOf(rule, { value: bytes('{"no":7}'), headers: { type: 'x' } })).toMatchObject({
      id: '7',
      eventType: 'x',
      dedup: true,
    })
    expect(eventOf(rule, { value: bytes('{"no":7}') }).eventType).toBeNull()
    expect(eventOf({ event_type: { const: 'placed' } }).eventType).toBe('placed')
  })

  test.each([
    ['auto', bytes('[1]'), [1]],
    ['auto', bytes('plain'), 'plain'],
    ['auto', NOT_UTF8, '//4='],
    ['json', bytes('\ufeff{"a":1}'), { a: 1 }],
    ['string', bytes('{"a":1}'), '{"a":1}'],
    ['binary', bytes('{}'), 'e30='],
  ])('of the format %s is data as documented', (format, value, data) => {
    expect(eventOf({ value_format: format }, { value }).data).toEqual(data)
  })

  test('loses no digit: a number that a double cannot hold is its text', () => {
    const value = bytes('{"long":9007199254740993,"fine":9007199254740992,"big":1e400,"small":1.5e2}')
    expect(eventOf({}, { value }).data).toEqual({
      long: '9007199254740993',
      fine: 9007199254740992,
      big: '1e400',
      small: 150,
    })
  })

  test('keeps its headers, and bytes that are no UTF-8 as base64', () => {
    const event = eventOf({}, { key: NOT_UTF8, headers: { a: bytes('1'), b: NOT_UTF8, ['__proto__']: 'p' } })
    expect(event.key).toBeNull()
    expect(event.external?.keyBase64).toBe('//4=')
    expect(Object.entries(event.external?.headers ?? {})).toEqual([
      ['a', '1'],
      ['__proto__', 'p'],
    ])
    expect(event.external?.headersBase64).toEqual({ b: '//4=' })
    expect(eventOf({ key_format: 'binary' }).external?.keyBase64).toBe('aw==')
    expect(eventOf({}, { key: null })).toMatchObject({ key: null, external: { keyBase64: null } })
  })

  test('without a value is a tombstone, or nothing at all', () => {
    expect(eventOf({}, { value: null })).toMatchObject({ data: null, external: { tombstone: true } })
    expect(read({ tombstones: 'skip' }, { value: null }).kind).toBe('skipped')
  })

  test.each([
    ['undecodable', { value_format: 'json' }, { value: bytes('{"half":') }],
    ['undecodable', { value_format: 'json' }, { value: NOT_UTF8 }],
    ['undecodable', { value_format: 'string' }, { value: NOT_UTF8 }],
    ['no_topic', { topic: { header: 'name' } }, {}],
    ['no_topic', { topic: { header: 'toString' } }, {}],
    ['no_topic', { topic: { pointer: '/type' } }, { value: null }],
    ['no_topic', { topic: { pointer: '/total/x' } }, {}],
    ['invalid_topic', { topic: { header: 'name' } }, { headers: { name: 'users/x' } }],
    ['invalid_topic', { topic: { header: 'name' } }, { headers: { name: 'orders//' } }],
    ['no_id', { id: { pointer: '/constructor' } }, {}],
    ['json_too_deep', {}, { value: bytes(`${'['.repeat(65)}${']'.repeat(65)}`) }],
    ['json_too_deep', {}, { value: bytes(`${'['.repeat(100_000)}${']'.repeat(100_000)}`) }],
    ['invalid_time', {}, { timestamp: -1 }],
    ['invalid_time', {}, { timestamp: Number.MAX_SAFE_INTEGER }],
  ])('that cannot be mapped is told as %s, never thrown', (reason, rule, over) => {
    expect(read(rule, over)).toMatchObject({ kind: 'unreadable', reason })
  })

  test('that Headrace wrote is read as its own', () => {
    const own = encodeEvent({
      id: 'e',
      source: 'shop',
      topic: 'orders/mine',
      eventType: null,
      data: 1,
      key: null,
      time: 0,
      traceparent: null,
      dedup: true,
    })
    const record = { key: bytes(own.key), value: bytes(own.value), headers: own.headers }
    const marked = { ...record, headers: { ...own.headers, 'headrace-stream': 'orders' } }
    expect(eventOf({}, marked)).toMatchObject({ id: 'e', topic: 'orders/mine' })
    expect(eventOf({}, marked).external).toBeUndefined()
    expect(eventOf({}, record).topic).toBe('orders/placed')
  })

  test('is the same to handlers, to filters and to waits', () => {
    const event = eventOf({}, { value: null, key: NOT_UTF8, headers: { region: 'eu', raw: NOT_UTF8 } })
    const facts = {
      headers: { region: 'eu' },
      headers_base64: { raw: '//4=' },
      key_base64: '//4=',
      tombstone: true,
    }
    expect(toWireEvent(event)).toMatchObject(facts)
    expect(toInputEvent(event)).toMatchObject(facts)
    const filter = compileFilter(`event.tombstone && event.headers.region == 'eu' && event.key_base64 != ''`)
    expect(filter.kind === 'ok' && filter.ask(toWireEvent(event))).toEqual({ kind: 'passes' })
    const { key, value, headers } = encodeResponse(event, 3)
    const response = decodeResponse({ ...logged(), key: bytes(key), value: bytes(value), headers })
    expect(response).toMatchObject({ kind: 'response', response: { incarnation: 3, data: 'null' } })
    expect(response.kind === 'response' && toWireEvent(response.response.event)).toEqual(toWireEvent(event))
  })
})
