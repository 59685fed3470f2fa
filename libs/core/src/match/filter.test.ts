import { readFileSync } from 'node:fs'
import { limits, type WireEvent } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { compileFilter } from './filter.ts'

type Data = WireEvent['data']

function eventWith(data: Data, more: Partial<WireEvent> = {}): WireEvent {
  return {
    id: 'evt_1',
    source: 'shop',
    topic: 'orders/created',
    event_type: 'created',
    data,
    key: null,
    stream: 'orders',
    partition: 0,
    sequence_id: 7,
    created_at: '2026-11-23T12:00:00.000Z',
    ...more,
  }
}

function ask(text: string, data: Data): { matches: boolean; errors: string[] } {
  const filter = compileFilter(text)
  if (filter.kind === 'invalid') throw new Error(filter.reason)
  const errors: string[] = []
  const matches = filter.matches(eventWith(data), (reason) => errors.push(reason))
  return { matches, errors }
}
const reasonOf = (text: string): string => {
  const filter = compileFilter(text)
  return filter.kind === 'invalid' ? filter.reason : 'valid'
}

const order: Data = {
  total: 60,
  half: 0.5,
  count: 3,
  customer: { name: 'Ada', tags: ['vip', 'eu'] },
  items: [
    { price: 10, quantity: 2 },
    { price: 2.5, quantity: 1 },
  ],
  mixed: [1, 'a', null, { x: 1 }],
  nothing: null,
  'a-b': true,
}

describe('a filter', () => {
  test.each([
    // JSON's numbers against CEL's literals, compared and reckoned with.
    'event.data.total > 50',
    '50 < event.data.total',
    'event.data.total == 60',
    'event.data.total == 60.0',
    'event.data.total != 61',
    'event.data.total in [1, 60]',
    'event.data.total >= 59.5 && event.data.total <= 60',
    'event.data.total + 1 == 61',
    '1 + event.data.half == 1.5',
    'event.data.total * 2 - 100 == 20',
    'event.data.count / 2 == 1.5',
    'event.data.total % 7 == 4',
    '-event.data.total < 0',
    '3 + 4 * 2 == 11',
    'event.sequence_id > 6',
    // Fields that are there, and fields that may not be.
    'has(event.data.total)',
    '!has(event.data.coupon)',
    '!has(event.data.coupon) || event.data.coupon > 5',
    'event.data.coupon == 1 || event.data.total > 50',
    'event.data.nothing == null',
    'event.key == null',
    'event.data["a-b"]',
    '"total" in event.data',
    'event.data.total != null',
    'event.data.total != "60"',
    // Lists and maps.
    '"vip" in event.data.customer.tags',
    '"a" in event.data.mixed',
    'event.data.mixed == [1, "a", null, {"x": 1}]',
    'event.data.items.exists(item, item.price > 5)',
    'event.data.items.all(item, item.price * item.quantity > 2)',
    'event.data.items.exists_one(item, item.quantity == 2)',
    'event.data.items.filter(item, item.price > 5).size() == 1',
    'event.data.items.map(item, item.price)[1] == 2.5',
    'size(event.data.items) == 2',
    'event.data.customer.tags + ["x"] == ["vip", "eu", "x"]',
    // Text and time.
    'event.data.customer.name.startsWith("A") && event.data.customer.name.lowerAscii() == "ada"',
    'event.topic.split("/")[1] == "created"',
    'timestamp(event.created_at) < timestamp("2027-01-01T00:00:00Z")',
    'timestamp(event.created_at) + duration("24h") > timestamp("2026-11-24T00:00:00Z")',
    'event.data.total > 50 ? event.source == "shop" : false',
  ])('%s', (text) => {
    expect(ask(text, order)).toEqual({ matches: true, errors: [] })
  })

  test.each([
    ['event.data.coupon > 5', 'No such key: coupon'],
    ['event.data.customer.name > 5', 'no such overload: dyn<string> > int'],
    ['event.data.nothing > 5', 'no such overload: dyn<null> > int'],
    ['event.data.total', 'It is not true or false for this event'],
    ['event.data.constructor == 1', 'No such key: constructor'],
    ['event.data.items[2].price > 1', 'No such key: index out of bounds, index 2 >= size 2'],
    ['1 / 0 == event.data.total', 'division by zero'],
  ])('that cannot be evaluated does not match, and says why: %s', (text, reason) => {
    expect(ask(text, order)).toEqual({ matches: false, errors: [reason] })
  })

  test('tells a field that is missing from what fails', () => {
    const kindOf = (text: string): string => {
      const filter = compileFilter(text)
      return filter.kind === 'ok' ? filter.ask(eventWith(order)).kind : filter.reason
    }
    expect(kindOf('event.data.total > 50')).toBe('passes')
    expect(kindOf('event.data.total > 90')).toBe('does_not_pass')
    expect(kindOf('event.data.coupon.code == "a"')).toBe('missing')
    expect(kindOf('event.data.nothing.code == "a"')).toBe('missing')
    expect(kindOf('event.data.items[2].price > 1')).toBe('missing')
    expect(kindOf('event.data.customer.name > 5')).toBe('failed')
    expect(kindOf('event.data.total')).toBe('failed')
  })

  test.each([
    ['event.data.total >', 'Unexpected token: EOF'],
    ['data.total > 50', 'Unknown variable: data'],
    ['1 + 1', 'It must be true or false, and is of type int'],
    ['"yes"', 'It must be true or false, and is of type string'],
    ['event.dta.total > 50', 'An event has no dta'],
    ['event.data.name.matches("(a+)+$")', 'Regular expressions are not allowed'],
    ['[1].exists(x, event.data.name.matches("(a+)+$"))', 'Regular expressions are not allowed'],
    ['{"a": event.data.name.matches("a")}.a', 'Regular expressions are not allowed'],
    ['event.data.?total.orValue(1) > 0', 'Expected IDENTIFIER'],
    ['cel.bind(a, event.data.total, a > 1)', 'There is no function bind'],
    ['headraceEvaluator(event)', 'There is no function headraceEvaluator of 1 argument'],
    ['timestamp(event.created_at).getHours("Europe/Berlin") == 1', 'There is no function getHours'],
    ['duration(event.data.text) > duration("1s")', 'duration() takes a literal'],
    ['[1, {"a": [nothing()]}] == event.data', 'There is no function nothing of 0 arguments'],
    [`event.data.total > 1${' '.repeat(limits.filterCharactersMax)}`, 'It is longer than 2000 characters'],
    [`${'('.repeat(200)}true${')'.repeat(200)}`, 'Exceeded maxDepth'],
    [`event.data.total in [${'1,'.repeat(600)}1]`, 'Exceeded max'],
  ])('that is not one is refused with its reason: %s', (text, reason) => {
    expect(reasonOf(text)).toContain(reason)
  })

  test.each([
    ['event.data.all(a, event.data.all(b, a == b || a != b))', Array.from({ length: 200_000 }, () => 1)],
    ['event.data.exists(a, a.b > 1)', Array.from({ length: 200_000 }, () => 1)],
    ['event.data.exists(a, a.b > 1 || a.c > 1)', Array.from({ length: 200_000 }, () => 1)],
    [`[[0]]${'.map(a, a + a)'.repeat(30)}.size() == 1`, null],
    [`[event.data]${'.map(a, a + a)'.repeat(30)}.size() == 1`, 'text'.repeat(1_000)],
    ['event.data.map(a, event.data.map(b, event.data)).size() == 1', Array.from({ length: 50_000 }, () => 1)],
    [
      'event.data.list.exists(x, event.data.text.contains("ab"))',
      { list: Array.from({ length: 9_000 }, () => 1), text: 'a'.repeat(900_000) },
    ],
    [
      'event.data.exists(x, event.data == event.data.map(y, y) && false)',
      Array.from({ length: 5_000 }, () => ({ a: [1, 2, 3] })),
    ],
    ['event.data.all(x, !("b" in event.data))', Array.from({ length: 100_000 }, () => 'a')],
  ] satisfies [string, Data][])('costs no more than is allowed: %s', (text, data) => {
    expect(ask(text, data)).toEqual({
      matches: false,
      errors: ['It costs too much to evaluate on this event'],
    })
    // The next evaluation has all of its own.
    expect(ask('event.data != 1', null).matches).toBe(true)
  })

  test('may look at every item of a large event', () => {
    const items = Array.from({ length: 50_000 }, (_, index) => ({ price: index }))
    expect(ask('event.data.items.exists(item, item.price == 49999)', { items })).toEqual({
      matches: true,
      errors: [],
    })
  })

  test('is compiled once while it is in use', () => {
    const text = 'event.data.total > 51'
    const compiled = compileFilter(text)
    for (let other = 0; other < 900; other += 1) compileFilter(`event.data.total > ${other + 1_000}`)
    expect(compileFilter(text)).toBe(compiled)
    for (let other = 0; other < 1_000; other += 1) compileFilter(`event.data.total > ${other + 9_000}`)
    expect(compileFilter(text)).not.toBe(compiled)
  })
})

/** The page's examples: a JSON line, and under it filters with what they answer. */
test('docs/filters.md says what is so', () => {
  const page = readFileSync(new URL('../../../../docs/filters.md', import.meta.url), 'utf8')
  const data = JSON.parse(/```json\n([\s\S]*?)```/.exec(page)?.[1] ?? '') as WireEvent
  const rows = [...page.matchAll(/^\| `([^`]+)` +\| (matches|does not match|refused)/gm)]
  expect(rows.length).toBeGreaterThan(10)
  for (const [, text = '', answer] of rows) {
    const filter = compileFilter(text.replaceAll('\\|', '|'))
    const said = filter.kind === 'invalid' ? 'refused' : filter.matches(data) ? 'matches' : 'does not match'
    expect([text, said]).toEqual([text, answer])
  }
})
