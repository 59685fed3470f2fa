import { EventTypeChecks } from '@headrace/registry'
import { limits, ProblemError } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { checkData } from './check-data.ts'
import { parseEventBatch } from './parse-cloud-events.ts'
import { parseEvents } from './parse-events.ts'
import { prepareEvents } from './prepare-events.ts'

const types = new EventTypeChecks()
const type = (pattern: string, mode: 'enforce' | 'warn') => ({
  revision: 1,
  type: {
    name: pattern.replaceAll('/', '.'),
    pattern,
    mode,
    schema_type: 'json' as const,
    schema: { type: 'object', properties: { total: { type: 'number' } }, required: ['id'] },
    schema_id: 7,
    subject: 's',
    dataschema: 'http://registry/subjects/s/versions/1',
  },
})
types.set([type('orders/created', 'enforce'), type('orders/paid', 'warn')])
const rules = { types, isFramed: true, bindingOf: () => null }
const publisher = { keyId: 'local', idempotencyKey: null, traceparent: null, now: 0 }
const prepared = (...events: object[]) => prepareEvents(parseEvents(JSON.stringify({ events })), publisher)
const problemOf = (work: () => unknown): ProblemError => {
  try {
    work()
  } catch (error) {
    if (error instanceof ProblemError) return error
  }
  throw new Error('nothing was refused')
}

const good = { topic: 'orders/created', data: { id: 'a' } }

test('what fits is framed and names its schema; what has no event type is as it was', () => {
  const events = prepared(good, { topic: 'orders/other', data: 1 })
  expect(checkData(events, rules)).toEqual([])
  const [framed, plain] = events.map(({ record }) => record)
  expect(framed?.value).toEqual(Buffer.from('\0\0\0\0\x07{"id":"a"}'))
  expect(framed?.headers['ce_dataschema']).toBe('http://registry/subjects/s/versions/1')
  expect([plain?.value, plain?.headers['ce_dataschema']]).toEqual(['1', undefined])
})

test('without a registry what fits is JSON, and names its schema', () => {
  const [event] = prepared(good)
  expect(checkData([event!], { ...rules, isFramed: false })).toEqual([])
  expect(event!.record.value).toBe('{"id":"a"}')
  expect(event!.record.headers).toHaveProperty('ce_dataschema')
})

test('what enforce does not take is refused with each place; what warn does not take is warned of, and JSON', () => {
  const warned = { topic: 'orders/paid', data: { total: 'x', id: 'a' } }
  const refused = problemOf(() =>
    checkData(prepared(warned, good, { topic: 'orders/created', data: { total: 'x' } }), rules),
  )
  expect(refused).toMatchObject({
    code: 'schema_invalid',
    errors: [
      { pointer: '/events/2/data/id', code: 'schema_invalid', detail: 'is required' },
      { pointer: '/events/2/data/total', code: 'schema_invalid', detail: 'must be number' },
    ],
  })
  const events = prepared(good, warned)
  expect(checkData(events, rules)).toEqual([
    { pointer: '/events/1/data/total', code: 'schema_invalid', detail: 'must be number' },
  ])
  expect(events[1]!.record.value).toBe('{"total":"x","id":"a"}')
  expect(events[1]!.record.headers).not.toHaveProperty('ce_dataschema')
})

test('warnings and errors are 100 at the most', () => {
  const bad = (topic: string) => prepared(...Array.from({ length: 150 }, () => ({ topic, data: {} })))
  expect(checkData(bad('orders/paid'), rules)).toHaveLength(100)
  expect(problemOf(() => checkData(bad('orders/created'), rules)).errors).toHaveLength(100)
})

test('an event that its frame makes too large is refused', () => {
  const room = limits.eventBytesMax - 250
  const largest = (pad: number) => prepared({ ...good, id: 'x', data: { id: 'a'.repeat(room + pad) } })
  let pad = 0
  const fits = (): boolean => {
    try {
      return largest(pad + 1).length > 0
    } catch {
      return false
    }
  }
  while (fits()) pad += 1
  expect(problemOf(() => checkData(largest(pad), rules)).code).toBe('event_too_large')
})

test('a CloudEvent’s own dataschema gives way to that by which it was checked', () => {
  const event = { specversion: '1.0', id: 'a', source: '/s', type: 't', subject: 'orders/created' }
  const body = [{ ...event, data: { id: 'a' }, dataschema: 'https://their.own/schema' }]
  const [own] = prepareEvents(parseEventBatch(JSON.stringify(body)), publisher)
  checkData([own!], rules)
  expect(own!.record.headers['ce_dataschema']).toBe('http://registry/subjects/s/versions/1')
  const bad = parseEventBatch(JSON.stringify([{ ...event, data: {} }]))
  expect(problemOf(() => checkData(prepareEvents(bad, publisher), rules)).errors).toMatchObject([
    { pointer: '/0/data/id' },
  ])
})

test('a stream that is read as plain JSON gets no frames', () => {
  const [event] = prepared(good)
  const bindingOf = () => ({ rule: { value_format: 'json' } }) as never
  checkData([event!], { ...rules, bindingOf })
  expect(event!.record.value).toBe('{"id":"a"}')
})
