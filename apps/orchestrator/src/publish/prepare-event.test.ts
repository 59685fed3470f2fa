import { limits, type PublishCommand } from '@headrace/schemas'
import { EventTypeChecks } from '@headrace/registry'
import { describe, expect, test } from 'vitest'
import { prepareEvent } from './prepare-event.ts'

const run = '01234567-89ab-7def-8123-456789abcdef'
const command = (more: Partial<PublishCommand> = {}): PublishCommand => ({
  kind: 'publish',
  run_id: run,
  epoch: 3,
  key: 'send_request',
  topic: 'requests/42',
  event_type: null,
  data: '{"action":"process"}',
  event_key: null,
  ...more,
})
const types = new EventTypeChecks()
const rules = { types, isFramed: true, bindingOf: () => null }
const now = Date.parse('2026-11-23T12:00:00.000Z')
const prepare = (more: Partial<PublishCommand> = {}, traceparent: string | null = null) =>
  prepareEvent(command(more), { traceparent, now, rules })

test('an event of a run names the run and the step, and is marked so that a second one is recognised', () => {
  const traceparent = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`
  expect(prepare({ event_type: 'request', event_key: 'k' }, traceparent)).toEqual({
    id: `${run}/send_request`,
    topic: 'requests/42',
    stream: 'requests',
    record: {
      key: 'k',
      value: '{"action":"process"}',
      headers: {
        ce_specversion: '1.0',
        ce_id: `${run}/send_request`,
        ce_source: 'headrace:run',
        ce_type: 'request',
        ce_subject: 'requests/42',
        ce_time: '2026-11-23T12:00:00.000Z',
        'content-type': 'application/json',
        traceparent,
        'headrace-dedup': '1',
      },
    },
    unfit: null,
  })
})

test('without a key and a type of its own the topic stands for both, as it does at the gateway', () => {
  expect(prepare()).toMatchObject({ record: { key: 'requests/42', headers: { ce_type: 'requests/42' } } })
})

test('any JSON value is data', () => {
  for (const data of ['null', '0', '"x"', '[1,2.5e-7]', '1e+21'])
    expect(prepare({ data })).toMatchObject({ record: { value: JSON.stringify(JSON.parse(data)) } })
})

test('the longest key of a step makes an id that every reader takes', () => {
  const prepared = prepare({ key: 'k'.repeat(limits.stepKeyCharactersMax) })
  expect(`${run}/`.length + limits.stepKeyCharactersMax).toBeLessThanOrEqual(limits.idCharactersMax)
  expect(prepared).toHaveProperty('record')
})

describe('what the gateway would refuse is refused, with its code', () => {
  const deep = `${'['.repeat(limits.jsonDepthMax + 1)}${']'.repeat(limits.jsonDepthMax + 1)}`
  test.each<[string, Partial<PublishCommand>, string]>([
    ['a pattern for a topic', { topic: 'requests/*' }, 'invalid_topic'],
    ['a key over its bytes', { event_key: 'é'.repeat(limits.keyBytesMax) }, 'invalid_field'],
    ['a NUL in the key', { event_key: 'a\u0000' }, 'contains_nul'],
    ['half a surrogate pair in the key', { event_key: 'a\ud800' }, 'invalid_field'],
    ['a NUL in the type', { event_type: '\u0000' }, 'contains_nul'],
    ['data that is no JSON', { data: '{' }, 'invalid_json'],
    ['data that is nested too deep', { data: deep }, 'json_too_deep'],
    ['a number no double holds', { data: '12345678901234567890' }, 'number_not_exact'],
    ['__proto__', { data: '{"__proto__":1}' }, 'forbidden_key'],
    ['too much', { data: JSON.stringify('x'.repeat(limits.eventBytesMax)) }, 'event_too_large'],
  ])('%s', (_what, more, code) => {
    expect(prepare(more)).toMatchObject({ kind: 'refused', code })
  })
})

test('data is held to its event type: framed where it fits, refused by enforce, written as JSON and told by warn', () => {
  const type = (mode: 'enforce' | 'warn') => ({
    revision: mode === 'warn' ? 2 : 1,
    type: {
      name: 'requests._',
      pattern: 'requests/*',
      mode,
      schema_type: 'json' as const,
      schema: { type: 'object', required: ['action'] },
      schema_id: 7,
      subject: 's',
      dataschema: 'http://registry/subjects/s/versions/1',
    },
  })
  types.set([type('enforce')])
  const fits = prepare()
  expect('record' in fits && fits.record.value.toString()).toBe('\0\0\0\0\x07{"action":"process"}')
  expect(prepare({ data: '{}' })).toEqual({
    kind: 'refused',
    code: 'schema_invalid',
    detail: '/data/action: is required',
  })
  types.set([type('warn')])
  expect(prepare({ data: '{}' })).toMatchObject({ record: { value: '{}' }, unfit: 'requests._' })
})
