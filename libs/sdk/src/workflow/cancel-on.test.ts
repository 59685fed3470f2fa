import { expect, test } from 'vitest'
import { defineEvent } from './define-event.ts'
import { type CancelOn, cancelOnOf } from './cancel-on.ts'
import { workflow } from './workflow.ts'

test('the rules of a workflow are registered with it', () => {
  const rule = { event: 'orders/cancelled', if: 'event.data.order_id == trigger.data.order_id' }
  const made = workflow(
    { id: 'ship', triggerOnEvent: 'orders/created', cancelOn: [rule, { event: defineEvent('shop/closed') }] },
    () => null,
  )
  expect(made.definition.cancel_on).toEqual([rule, { event: 'shop/closed' }])
})

test('without any there is nothing to register', () => {
  expect(cancelOnOf(undefined, 'a')).toEqual({})
  expect(cancelOnOf([], 'a')).toEqual({})
})

test.each([
  [[{ event: 'orders/*' }], 'cancelOn[0].event "orders/*" is no topic'],
  [[{ event: 7 }], 'cancelOn[0].event 7 is no topic'],
  [[{ event: 'a/b' }, { event: 'a/b', if: 'trigger.dta == 1' }], 'cancelOn[1].if is no expression'],
  [[{ event: 'a/b', if: 1 }], 'cancelOn[0].if must be a text'],
  [Array.from({ length: 6 }, () => ({ event: 'a/b' })), 'cancelOn must be a list of at most 5'],
  ['a/b', 'cancelOn must be a list'],
])('what is malformed is named: %j', (given, message) => {
  expect(() => cancelOnOf(given as unknown as CancelOn[], 'workflow "a"')).toThrow(message)
})
