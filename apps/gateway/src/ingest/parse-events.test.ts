import { limits, ProblemError } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { parseEvents } from './parse-events.ts'
import { prepareEvents } from './prepare-events.ts'

function problemOf(work: () => unknown): { code: string; at: [string, string][] } | null {
  try {
    work()
    return null
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    return {
      code: error.code,
      at: (error.errors ?? []).map(({ pointer, code }): [string, string] => [pointer, code]),
    }
  }
}

const event = { topic: 'orders/created', data: 1 }
const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`

describe('a body that is not right is refused whole', () => {
  test.each<[string, string, string, [string, string][]]>([
    ['broken JSON', '{"topic":', 'invalid_json', []],
    ['no text at all', '', 'invalid_json', []],
    ['a byte order mark', '\ufeff{}', 'invalid_json', []],
    ['an array', '[]', 'invalid_field', [['', 'invalid_field']]],
    ['a text', '"x"', 'invalid_field', [['', 'invalid_field']]],
    [
      'no topic and no data',
      '{}',
      'required',
      [
        ['/topic', 'required'],
        ['/data', 'required'],
      ],
    ],
    [
      'an unknown field',
      JSON.stringify({ ...event, eventType: 'x' }),
      'unknown_field',
      [['/eventType', 'unknown_field']],
    ],
    [
      'an unknown field beside the batch',
      JSON.stringify({ events: [event], dry: 1 }),
      'unknown_field',
      [['/dry', 'unknown_field']],
    ],
    ['events that are no array', '{"events":{}}', 'invalid_field', [['/events', 'invalid_field']]],
    ['an empty batch', '{"events":[]}', 'invalid_field', [['/events', 'invalid_field']]],
    [
      'a topic without a stream',
      JSON.stringify({ ...event, topic: '/x' }),
      'invalid_topic',
      [['/topic', 'invalid_topic']],
    ],
    [
      'a pattern for a topic',
      JSON.stringify({ ...event, topic: 'a/*' }),
      'invalid_topic',
      [['/topic', 'invalid_topic']],
    ],
    [
      'a NUL in the key',
      JSON.stringify({ ...event, key: 'a\u0000' }),
      'contains_nul',
      [['/key', 'contains_nul']],
    ],
    [
      'half a surrogate pair in the id',
      '{"topic":"a","data":1,"id":"\\ud800"}',
      'invalid_field',
      [['/id', 'invalid_field']],
    ],
    [
      'a source of ours',
      JSON.stringify({ ...event, source: 'headrace:run' }),
      'reserved_source',
      [['/source', 'reserved_source']],
    ],
    [
      'an integer beyond a double',
      '{"topic":"a","data":{"n":12345678901234567890}}',
      'number_not_exact',
      [['/data/n', 'number_not_exact']],
    ],
    [
      'a number beyond all',
      '{"events":[{"topic":"a","data":[1e400]}]}',
      'number_not_exact',
      [['/events/0/data/0', 'number_not_exact']],
    ],
    [
      '__proto__',
      '{"topic":"a","data":{"__proto__":{}}}',
      'forbidden_key',
      [['/data/__proto__', 'forbidden_key']],
    ],
    [
      '5,000 levels',
      `{"topic":"a","data":${deep(5_000)}}`,
      'json_too_deep',
      [[`/data${'/0'.repeat(63)}`, 'json_too_deep']],
    ],
    [
      'the same id twice',
      JSON.stringify({ events: [{ ...event, id: 'a' }, event, { ...event, id: 'a' }] }),
      'duplicate_event_id',
      [['/events/2/id', 'duplicate_event_id']],
    ],
    [
      'faults of several kinds, each with its place',
      JSON.stringify({ events: [event, { topic: 'a' }, { ...event, x: 1 }] }),
      'invalid_request',
      [
        ['/events/1/data', 'required'],
        ['/events/2/x', 'unknown_field'],
      ],
    ],
  ])('%s', (_what, text, code, at) => {
    expect(problemOf(() => parseEvents(text))).toEqual({ code, at })
  })

  test('too many events', () => {
    const text = JSON.stringify({ events: Array.from({ length: limits.requestEventsMax + 1 }, () => event) })
    expect(problemOf(() => parseEvents(text))).toEqual({
      code: 'too_many_events',
      at: [['/events', 'too_many_events']],
    })
  })

  test('at most a hundred of its faults are listed', () => {
    const text = JSON.stringify({ events: Array.from({ length: 5_000 }, () => ({ topic: 'a' })) })
    expect(problemOf(() => parseEvents(text))?.at).toHaveLength(limits.problemErrorsMax)
  })
})

const publisher = { keyId: 'local', idempotencyKey: null, traceparent: null, now: 0 }

describe('an event that is too long is refused with its place', () => {
  const long = { ...event, data: 'x'.repeat(limits.eventBytesMax) }
  test.each([
    [JSON.stringify(long), ''],
    [JSON.stringify({ events: [event, long] }), '/events/1'],
  ])('%#', (text, pointer) => {
    expect(problemOf(() => prepareEvents(parseEvents(text), publisher))).toEqual({
      code: 'event_too_large',
      at: [[pointer, 'event_too_large']],
    })
  })
})

describe('an event that is right', () => {
  test('keeps its data as it was sent, null and odd keys among it', () => {
    for (const data of [
      null,
      0,
      '',
      false,
      [],
      { '': { constructor: 1, toString: '\u0000' } },
      1.7976931348623157e308,
    ]) {
      const [prepared] = prepareEvents(parseEvents(JSON.stringify({ topic: 'a', data })), publisher)
      expect(JSON.parse(String(prepared!.record.value))).toEqual(data)
    }
  })

  test('is marked for the look-up of repeats only where its id came from outside', () => {
    const text = JSON.stringify({ events: [event, { ...event, id: 'own' }] })
    const marks = prepareEvents(parseEvents(text), publisher).map(({ record, callerId }) => [
      callerId,
      record.headers['headrace-dedup'],
    ])
    expect(marks).toEqual([
      [null, undefined],
      ['own', '1'],
    ])
  })
})
