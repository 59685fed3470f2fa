import { type Arbitrary, array, assert, constantFrom, property } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePattern } from '../match/pattern.ts'
import { covers } from './covers.ts'
import { compileGrants } from './grants.ts'

describe('a pattern covers another', () => {
  test.each([
    ['orders/**', 'orders/created', true],
    ['orders/**', 'orders', false],
    ['orders/**', 'orders/**', true],
    ['orders/**', 'orders/*/paid', true],
    ['orders/*', 'orders/**', false],
    ['orders/*', 'orders/{id}', true],
    ['orders/{id}', 'orders/*', true],
    ['orders/created', 'orders/*', false],
    ['orders/*/paid', 'orders/7/paid', true],
    ['orders/*/**', 'orders/**', false],
    ['users/**', 'orders/**', false],
    ['orders', 'orders', true],
  ])('%s over %s: %s', (outer, inner, expected) => {
    expect(covers(outer, inner)).toBe(expected)
  })

  test('only where it matches every topic that the other one matches', () => {
    const segment = constantFrom('a', 'b', '*', '**')
    const path = (each: Arbitrary<string>) =>
      array(each, { minLength: 1, maxLength: 3 }).map((rest) => ['s', ...rest].join('/'))
    const pattern = path(segment).filter((text) => !/\*\*\//.test(text))
    assert(
      property(pattern, pattern, path(constantFrom('a', 'b')), (outer, inner, topic) => {
        const isCovered = covers(outer, inner) && compilePattern(inner)(topic)
        expect(isCovered && !compilePattern(outer)(topic)).toBe(false)
      }),
    )
  })
})

describe('what scopes allow', () => {
  test('a scope with a pattern is for its topics only', () => {
    const grants = compileGrants(['events:write:orders/**', 'events:read:orders/created'])
    expect(grants.has('events:write')).toBe(true)
    expect(grants.topic('events:write', 'orders/created')).toBe(true)
    expect(grants.topic('events:write', 'users/created')).toBe(false)
    expect(grants.topic('events:read', 'orders/paid')).toBe(false)
    expect(grants.readsAllOf('orders/created')).toBe(true)
    expect(grants.readsAllOf('orders/*')).toBe(false)
    expect([grants.readsOf('orders'), grants.readsOf('order')]).toEqual([true, false])
    expect(grants.has('runs:read')).toBe(false)
  })

  test('a scope with a queue is for its workers only', () => {
    const grants = compileGrants(['worker:mail'])
    expect([grants.queue('mail'), grants.queue('default')]).toEqual([true, false])
    expect(compileGrants(['worker']).queue('default')).toBe(true)
  })

  test('admin is for everything', () => {
    const grants = compileGrants(['admin'])
    expect([grants.has('worker'), grants.topic('events:write', 'x'), grants.queue('q')]).toEqual([
      true,
      true,
      true,
    ])
  })

  test('what is no scope allows nothing', () => {
    const grants = compileGrants(['events:delete', 'operate:all', 'events:write:*/x'])
    expect([grants.has('events:write'), grants.has('operate')]).toEqual([false, false])
  })
})
