import type { WireEvent } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { compileCancelFilter, type CancelFilter } from './cancel-filter.ts'

const byOrder = 'event.data.order_id == trigger.data.order_id'

const eventWith = (data: WireEvent['data']): WireEvent => ({
  id: 'evt_1',
  source: 'shop',
  topic: 'orders/cancelled',
  event_type: null,
  data,
  key: null,
  stream: 'orders',
  partition: 0,
  sequence_id: 7,
  created_at: '2026-11-23T12:00:00.000Z',
})

function filterOf(text: string): CancelFilter {
  const compiled = compileCancelFilter(text)
  if (compiled.kind === 'invalid') throw new Error(compiled.reason)
  return compiled
}

function ask(text: string, input: unknown, data: WireEvent['data']): { matches: boolean; errors: string[] } {
  const filter = filterOf(text)
  const errors: string[] = []
  const kept = filter.kept(input === undefined ? null : JSON.stringify(input))
  return { matches: filter.matches(eventWith(data), kept, (reason) => errors.push(reason)), errors }
}

const order = { order_id: 'o1', total: 60, lines: [{ sku: 'a' }], 'a-b': 1, note: 'x'.repeat(1_000) }
const windowOf = (...data: unknown[]): unknown => ({
  events: data.map((each) => ({ topic: 'orders/created', data: each })),
})

test('compares the event with the first event of the run', () => {
  expect(ask(byOrder, windowOf(order, { order_id: 'o2' }), { order_id: 'o1' })).toEqual({
    matches: true,
    errors: [],
  })
  expect(ask(byOrder, windowOf(order, { order_id: 'o2' }), { order_id: 'o2' })).toEqual({
    matches: false,
    errors: [],
  })
})

test('of a run without events, trigger.data is the input', () => {
  expect(ask(byOrder, { order_id: 'o1' }, { order_id: 'o1' }).matches).toBe(true)
  expect(ask(byOrder, undefined, { order_id: 'o1' }).matches).toBe(false)
})

test.each([
  ['event.data.force', null],
  [byOrder, '{"data":{"order_id":"o1"}}'],
  ['trigger.data["a-b"] == 1 && trigger.data.total > 50', '{"data":{"a-b":1,"total":60}}'],
  ['has(trigger.data.coupon) || event.data.force', '{"data":{}}'],
  ['trigger.data.lines[0].sku == event.data.sku', '{"data":{"lines":[{"sku":"a"}]}}'],
  ['trigger.data.lines.exists(line, line.sku == event.data.sku)', '{"data":{"lines":[{"sku":"a"}]}}'],
  [
    'trigger.topic == event.topic && trigger.data.order_id == "o1"',
    '{"topic":"orders/created","data":{"order_id":"o1"}}',
  ],
])('keeps of the first event what it asks for: %s', (text, kept) => {
  expect(filterOf(text).kept(JSON.stringify(windowOf(order)))).toBe(kept)
})

test('gives the same with what is kept as with the whole first event', () => {
  const whole = JSON.stringify((windowOf(order) as { events: unknown[] }).events[0])
  for (const text of [
    byOrder,
    '!has(trigger.data.coupon) && trigger.data.total > event.data.total',
    'size(trigger.data.lines) == 1 && trigger.data["a-b"] == 1',
    'trigger.data.note.startsWith("x")',
    'trigger.data.coupon == event.data.total',
  ]) {
    const filter = filterOf(text)
    const event = eventWith({ order_id: 'o1', total: 3 })
    expect([text, filter.matches(event, filter.kept(JSON.stringify(windowOf(order))))]).toEqual([
      text,
      filter.matches(event, whole),
    ])
  }
})

test('what cannot be evaluated does not cancel, and says why', () => {
  expect(ask(byOrder, windowOf({}), { order_id: 'o1' })).toEqual({
    matches: false,
    errors: ['No such key: order_id'],
  })
  expect(ask('event.data', windowOf({}), 'yes').errors).toEqual(['It is not true or false for this event'])
})

test('keeps no more than 16 KiB: such a run is not cancelled, which is said', () => {
  const { matches, errors } = ask(byOrder, windowOf({ order_id: 'x'.repeat(20_000) }), {
    order_id: 'x'.repeat(20_000),
  })
  expect(matches).toBe(false)
  expect(errors).toEqual([expect.stringContaining('larger than 16384 bytes')])
})

test.each([
  ['trigger.dta == 1', 'An event has no dta'],
  ['input.order_id == 1', 'Unknown variable: input'],
  ['1 + 1', 'It must be true or false'],
  ['trigger.data.matches("a")', 'Regular expressions are not allowed'],
])('that is none is refused with its reason: %s', (text, reason) => {
  const compiled = compileCancelFilter(text)
  expect(compiled.kind === 'invalid' ? compiled.reason : '').toContain(reason)
})

test('an equality that has to hold gives both sides a key, and different keys never match', () => {
  const filter = filterOf(`event.data.force && ${byOrder}`)
  const values = ['o1', 'o2', 1, 1.5, '1', true, 'true']
  for (const a of values)
    for (const b of values) {
      const kept = filter.kept(JSON.stringify(windowOf({ order_id: a })))
      const event = eventWith({ order_id: b, force: true })
      const [ofRun, ofEvent] = [filter.keyOfRun(kept), filter.keyOfEvent(event)]
      expect([a, b, ofRun === ofEvent]).toEqual([a, b, filter.matches(event, kept)])
    }
  expect(filter.keyOfEvent(eventWith({ order_id: { a: 1 } }))).toBeNull()
  expect(filter.keyOfEvent(eventWith({}))).toBeNull()
  expect(filterOf(`${byOrder} || event.data.force`).keyOfEvent(eventWith({ order_id: 'o1' }))).toBeNull()
})
