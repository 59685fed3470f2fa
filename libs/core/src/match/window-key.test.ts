import type { WireEvent } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { compileWindowKey, type KeyAnswer } from './window-key.ts'

const event: WireEvent = {
  id: 'evt_1',
  source: 'shop',
  topic: 'orders/created',
  event_type: 'created',
  data: { sku: 'a-1', number: 1, text: '1', whole: 2.0, flag: true, nothing: null, items: [1] },
  key: null,
  stream: 'orders',
  partition: 0,
  sequence_id: 7,
  created_at: '2026-11-23T12:00:00.000Z',
}

function keyOf(text: string): KeyAnswer {
  const compiled = compileWindowKey(text)
  if (compiled.kind === 'invalid') throw new Error(compiled.reason)
  return compiled.of(event)
}

describe('a key of windows', () => {
  test.each([
    ['event.data.sku', '"a-1'],
    ['event.data.sku + "/" + event.topic', '"a-1/orders/created'],
    ['event.data.flag', 'true'],
    ['event.data.number', '1'],
    ['int(event.data.number)', '1'],
    ['event.data.text', '"1'],
    ['event.partition', '0'],
  ])('is a text, a number or a boolean: %s', (text, key) => {
    expect(keyOf(text)).toEqual({ kind: 'key', key })
  })

  test.each([
    'event.data.missing',
    'event.data.sku.inner',
    'event.data.items[3]',
    'event.data.nothing',
    'event.key',
  ])('is null where the event has none: %s', (text) => {
    expect(keyOf(text)).toEqual({ kind: 'key', key: null })
  })

  test.each([
    ['event.data.items', 'It is no text, no number, and not true or false for this event'],
    ['event.data.sku % 2', 'no such overload: dyn<string> % int'],
  ])('that is of another type, or cannot be evaluated, says so: %s', (text, reason) => {
    expect(keyOf(text)).toEqual({ kind: 'failed', reason })
  })

  test.each([
    ['[event.data.sku]', 'is of type list'],
    ['event.data.sku ==', 'Unexpected token'],
    ['event.sku', 'An event has no sku'],
    ['timestamp(event.created_at)', 'is of type google.protobuf.Timestamp'],
  ])('that never gives one is refused: %s', (text, reason) => {
    const compiled = compileWindowKey(text)
    expect(compiled.kind === 'invalid' ? compiled.reason : 'valid').toContain(reason)
  })
})
