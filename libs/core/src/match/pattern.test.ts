import { describe, expect, test } from 'vitest'
import { compilePattern } from './pattern.ts'

describe('a pattern', () => {
  test.each([
    ['orders/created', 'orders/created', true],
    ['orders/created', 'orders/created/1', false],
    ['orders/*', 'orders/created', true],
    ['orders/*', 'orders', false],
    ['orders/*', 'orders/a/b', false],
    ['approvals/{id}', 'approvals/order-123', true],
    ['approvals/{id}/done', 'approvals/order-123/done', true],
    ['approvals/{id}/done', 'approvals/order-123/open', false],
    ['orders/**', 'orders/a/b/c', true],
    ['orders/**', 'orders', false],
    ['orders/*/**', 'orders/a', false],
    ['orders/*/**', 'orders/a/b', true],
    ['orders', 'orders', true],
    ['orders/a.b', 'orders/axb', false],
  ])('%s on %s: %s', (pattern, topic, expected) => {
    expect(compilePattern(pattern)(topic)).toBe(expected)
  })
})
