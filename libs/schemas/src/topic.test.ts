import { describe, expect, test } from 'vitest'
import { patternFault, streamOf, topicFault } from './topic.ts'

describe('a topic', () => {
  test.each([
    'orders',
    'orders/created',
    'a/b/c/d/e/f/g/h',
    'approvals/order-123',
    'users/a.b:c@d~e+f=g%20',
    `o/${'x'.repeat(198)}`,
  ])('%s is one', (topic) => {
    expect(topicFault(topic)).toBeNull()
  })
  test.each([
    '',
    '/',
    'orders/',
    '/orders',
    'a//b',
    'a.b/c',
    'orders/é',
    'orders/a b',
    'orders/*',
    'orders/{id}',
    'a/b/c/d/e/f/g/h/i',
    `o/${'x'.repeat(199)}`,
    'o/\u0000',
  ])('%j is none, and the reason says what to do', (topic) => {
    expect(topicFault(topic)).toMatch(/topic|segment/)
  })
  test('names its stream by its first segment', () => {
    expect([streamOf('orders'), streamOf('orders/created/x')]).toEqual(['orders', 'orders'])
  })
})

describe('a pattern', () => {
  test.each(['orders', 'orders/*', 'orders/**', 'approvals/{id}', 'a/{x}/*/{y}/**'])(
    '%s is one',
    (pattern) => {
      expect(patternFault(pattern)).toBeNull()
    },
  )
  test.each(['*', '**', '{s}/x', 'orders/**/x', 'orders/a*', 'orders/{1}', 'a/{x}/{x}', 'orders/{}'])(
    '%s is none',
    (pattern) => {
      expect(patternFault(pattern)).not.toBeNull()
    },
  )
})
