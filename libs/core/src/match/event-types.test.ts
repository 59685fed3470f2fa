import { eventTypeName, withoutParameters } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { indexEventTypes } from './event-types.ts'

const typeOf = (patterns: string[]) => {
  const find = indexEventTypes(patterns.map((pattern) => ({ pattern })))
  return (topic: string) => find(topic)?.pattern ?? null
}

test('the name of an event type is its pattern with . for / and _ for what stands for any segment', () => {
  expect(['orders/created', 'approvals/{id}', 'approvals/*/done', 'a/_'].map(eventTypeName)).toEqual([
    'orders.created',
    'approvals._',
    'approvals._.done',
    'a._',
  ])
  expect(withoutParameters('approvals/{id}/{step}')).toBe('approvals/*/*')
})

test('a topic has the event type of the most specific pattern, read from the left', () => {
  const of = typeOf(['a/*/*', 'a/*/c', 'a/{id}/d', 'a/b/*', 'a/b/c', 'a/*', 'b'])
  expect(of('a/b/c')).toBe('a/b/c')
  expect(of('a/b/d')).toBe('a/b/*')
  expect(of('a/x/c')).toBe('a/*/c')
  expect(of('a/x/d')).toBe('a/{id}/d')
  expect(of('a/x/y')).toBe('a/*/*')
  expect(of('a/x')).toBe('a/*')
  expect(of('b')).toBe('b')
})

test('the order in which types are told changes nothing', () => {
  const patterns = ['a/*/*', 'a/*/c', 'a/b/*']
  expect(typeOf(patterns)('a/b/c')).toBe('a/b/*')
  expect(typeOf(patterns.toReversed())('a/b/c')).toBe('a/b/*')
})

test('a topic that no pattern matches has none', () => {
  const of = typeOf(['a/*'])
  expect([of('a'), of('a/b/c'), of('b/c'), typeOf([])('a')]).toEqual([null, null, null, null])
})
