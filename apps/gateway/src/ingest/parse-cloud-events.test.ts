import { ProblemError } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { parseBinaryEvent, parseEventBatch, parseStructuredEvent } from './parse-cloud-events.ts'

/** The example of the JSON format's specification, with the topic that Headrace asks for. */
const example = {
  specversion: '1.0',
  type: 'com.example.someevent',
  source: '/mycontext',
  id: 'C234-1234-1234',
  subject: 'orders/created',
}
const headersOf = (attributes: Record<string, string>): string[] =>
  Object.entries(attributes).flatMap(([name, value]) => [`Ce-${name}`, value])

const structured = (over: object) => parseStructuredEvent(JSON.stringify({ ...example, ...over })).events[0]!
function binary(over: Record<string, string>, body: string | Buffer = '', contentType: string | null = null) {
  const rawHeaders = ['Host', 'x', ...headersOf({ ...example, ...over })]
  return parseBinaryEvent(Buffer.from(body), { rawHeaders, contentType }).events[0]!
}

function faultsOf(work: () => unknown): [pointer: string, code: string][] {
  try {
    work()
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    return error.errors === null
      ? [['', error.code]]
      : error.errors.map(({ pointer, code }) => [pointer, code])
  }
  return []
}

test('subject is the topic, type the event type, partitionkey the key; what else there is stands in headers', () => {
  const incoming = structured({
    time: '2018-04-05t17:31:00.123+02:00',
    comexampleextension1: 'value',
    comexampleothervalue: 5,
    flag: true,
    unset: null,
    partitionkey: 'k1',
    dataschema: 'https://example.com/schema#v1',
    datacontenttype: 'application/json',
    data: { appinfoA: 'abc', appinfoB: 123 },
  })
  expect(incoming).toEqual({
    event: {
      topic: 'orders/created',
      event_type: 'com.example.someevent',
      source: '/mycontext',
      id: 'C234-1234-1234',
      key: 'k1',
      data: { appinfoA: 'abc', appinfoB: 123 },
    },
    headers: {
      ce_time: '2018-04-05T17:31:00.123+02:00',
      ce_comexampleextension1: 'value',
      ce_comexampleothervalue: '5',
      ce_flag: 'true',
      ce_partitionkey: 'k1',
      ce_dataschema: 'https://example.com/schema#v1',
    },
    traceparent: null,
  })
})

test('the same event says the same in binary mode', () => {
  const more = { time: '2018-04-05T17:31:00Z', partitionkey: 'k1', dataschema: 'urn:a:b', ext: 'v' }
  expect(binary(more, '{"a":1}', 'application/json; charset=utf-8')).toEqual(
    structured({ ...more, datacontenttype: 'application/json', data: { a: 1 } }),
  )
})

const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
test('the trace of the event itself is kept as such', () => {
  expect(structured({ traceparent: trace })).toMatchObject({
    traceparent: trace,
    headers: { ce_traceparent: trace },
  })
  expect(structured({ traceparent: 'none' }).traceparent).toBe(null)
})

describe('a header value', () => {
  test.each([
    ['Euro%20%E2%82%AC%20%F0%9F%98%80', 'Euro € 😀'],
    ['%e2%82%ac', '€'],
    ['%41%7E', 'A~'],
    ['100%2525', '100%25'],
    ['"in quotes, \\"%20\\\\"', 'in quotes, " \\'],
    ['as it is', 'as it is'],
    ['a+b', 'a+b'],
  ])('%s is read as %s', (sent, meant) => {
    expect(binary({ ext: sent }).headers).toEqual({ ce_ext: meant })
  })

  test.each(['%C0%A0', '%E2%82', '%', '%zz', '100%', '%ED%A0%80', 'caf\u00e9'])('%s is refused', (sent) => {
    expect(faultsOf(() => binary({ ext: sent }))).toEqual([['ce-ext', 'invalid_header']])
  })
})

describe('data', () => {
  test.each<[string, object, unknown, string | null]>([
    ['of JSON is what it is', { data: [1, null] }, [1, null], null],
    ['may be null', { data: null }, null, null],
    ['may be missing', {}, null, null],
    ['of a +json type is JSON', { datacontenttype: 'application/vnd.a+json', data: 'x' }, 'x', null],
    [
      'that is text is a string, and says its type',
      { datacontenttype: 'text/xml', data: '<much wow="xml"/>' },
      '<much wow="xml"/>',
      'text/xml',
    ],
    [
      'in Base64 that is JSON becomes JSON',
      { data_base64: Buffer.from('{"a":"é"}').toString('base64') },
      { a: 'é' },
      null,
    ],
    [
      'in Base64 that is text becomes text',
      { datacontenttype: 'text/plain;charset=UTF-8', data_base64: 'w6k=' },
      'é',
      'text/plain;charset=UTF-8',
    ],
    [
      'in Base64 stays so where it is neither',
      { datacontenttype: 'application/vnd.apache.thrift.binary', data_base64: '/wA=' },
      '/wA=',
      'application/vnd.apache.thrift.binary;base64',
    ],
  ])('%s', (_what, over, data, type) => {
    const incoming = structured(over)
    expect([incoming.event.data, incoming.headers?.['headrace-data-type'] ?? null]).toEqual([data, type])
  })

  test.each<[string, string | Buffer, string | null, unknown, string | undefined]>([
    ['nothing is null', '', null, null, undefined],
    ['JSON without a type', '{"a":1}', null, { a: 1 }, undefined],
    ['text', 'é', 'text/plain', 'é', 'text/plain'],
    [
      'text of another charset',
      Buffer.from([0xe9]),
      'text/plain; charset=iso-8859-1',
      '6Q==',
      'text/plain; charset=iso-8859-1;base64',
    ],
    ['bytes', Buffer.from([0xff, 0]), 'image/png', '/wA=', 'image/png;base64'],
  ])('of a binary event: %s', (_what, body, contentType, data, type) => {
    const incoming = binary({}, body, contentType)
    expect(incoming.event.data).toEqual(data)
    expect(incoming.headers?.['headrace-data-type']).toBe(type)
  })
})

describe('what is no CloudEvent, or has no topic, is refused with each fault', () => {
  test.each<[string, object, [string, string][]]>([
    ['without an id', { id: undefined }, [['/id', 'required']]],
    ['with an empty id', { id: '' }, [['/id', 'invalid_field']]],
    ['without a source', { source: null }, [['/source', 'required']]],
    ['without a type', { type: undefined }, [['/type', 'required']]],
    ['without a specversion', { specversion: undefined }, [['/specversion', 'invalid_field']]],
    ['of another version', { specversion: '0.3' }, [['/specversion', 'invalid_field']]],
    ['without a subject', { subject: undefined }, [['/subject', 'required']]],
    ['whose subject is no topic', { subject: 'a b' }, [['/subject', 'invalid_topic']]],
    ['whose source is no URI reference', { source: 'a b<' }, [['/source', 'invalid_field']]],
    ['whose source has a colon and no scheme', { source: '1a:b' }, [['/source', 'invalid_field']]],
    ['whose source is ours', { source: 'headrace:run' }, [['/source', 'reserved_source']]],
    ['whose time is no time', { time: 'yesterday' }, [['/time', 'invalid_field']]],
    ['whose day does not exist', { time: '2023-02-30T00:00:00Z' }, [['/time', 'invalid_field']]],
    ['whose schema is no URI', { dataschema: '/relative' }, [['/dataschema', 'invalid_field']]],
    ['whose media type is none', { datacontenttype: 'json' }, [['/datacontenttype', 'invalid_field']]],
    ['with an upper-case attribute', { orderId: 'x' }, [['/orderId', 'unknown_field']]],
    ['with an underscore in a name', { order_id: 'x' }, [['/order_id', 'unknown_field']]],
    ['with an object as attribute', { ext: { a: 1 } }, [['/ext', 'invalid_field']]],
    ['with a fraction as attribute', { ext: 1.5 }, [['/ext', 'invalid_field']]],
    ['with an integer of 33 bits', { ext: 2 ** 31 }, [['/ext', 'invalid_field']]],
    ['with a control character', { ext: 'a\u0007b' }, [['/ext', 'invalid_field']]],
    ['with a non-character', { ext: 'a\ufdd0' }, [['/ext', 'invalid_field']]],
    ['with two kinds of data', { data: 1, data_base64: 'MQ==' }, [['/data_base64', 'invalid_field']]],
    ['with Base64 that is none', { data_base64: 'a' }, [['/data_base64', 'invalid_field']]],
    ['with Base64 that is no JSON', { data_base64: 'e30' }, [['/data_base64', 'invalid_field']]],
    ['with Base64 of broken JSON', { data_base64: 'ew==' }, [['/data_base64', 'invalid_field']]],
    [
      'with a number in Base64 that no double holds',
      { data_base64: Buffer.from('{"n":12345678901234567890}').toString('base64') },
      [['/data_base64/n', 'number_not_exact']],
    ],
    [
      'with 51 extensions',
      Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`e${n}`, n])),
      [['', 'invalid_field']],
    ],
  ])('%s', (_what, over, faults) => {
    expect(faultsOf(() => structured(over))).toEqual(faults)
  })

  test('binary: the fault is a header', () => {
    const attributes = headersOf({ ...example, id: '', subject: 'a//b', BadName_: 'x' })
    expect(
      faultsOf(() => parseBinaryEvent(Buffer.from('1'), { rawHeaders: attributes, contentType: 'json' })),
    ).toEqual([
      ['ce-id', 'invalid_field'],
      ['ce-subject', 'invalid_topic'],
      ['content-type', 'invalid_field'],
      ['ce-badname_', 'unknown_field'],
    ])
  })

  test('binary: a header sent twice, or one that says what the body is', () => {
    const rawHeaders = [...headersOf(example), 'CE-ID', 'again', 'ce-datacontenttype', 'text/plain']
    expect(faultsOf(() => parseBinaryEvent(Buffer.from('1'), { rawHeaders, contentType: null }))).toEqual([
      ['ce-id', 'invalid_header'],
      ['ce-datacontenttype', 'invalid_header'],
    ])
    expect(faultsOf(() => binary({}, '{'))).toEqual([['', 'invalid_json']])
  })
})

describe('a batch', () => {
  const batch = (...events: object[]) => parseEventBatch(JSON.stringify(events))

  test('may be empty', () => expect(batch().events).toEqual([]))

  test('is refused whole, with the place of each fault', () => {
    expect(faultsOf(() => batch(example, { ...example, id: 'b', time: 1 }, []))).toEqual([
      ['/1/time', 'invalid_field'],
      ['/2', 'invalid_field'],
    ])
    expect(faultsOf(() => parseEventBatch('{}'))).toEqual([['', 'invalid_field']])
  })

  test('holds an id once for each source', () => {
    expect(batch(example, { ...example, source: '/other' }).events).toHaveLength(2)
    expect(faultsOf(() => batch(example, example))).toEqual([['/1/id', 'duplicate_event_id']])
  })

  test('holds 10,000 events at most', () => {
    const events = Array.from({ length: 10_001 }, () => 1)
    expect(faultsOf(() => parseEventBatch(JSON.stringify(events)))).toEqual([['', 'too_many_events']])
  })
})
