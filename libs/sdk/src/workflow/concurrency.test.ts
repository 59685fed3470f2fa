import { expect, test } from 'vitest'
import { workflow } from './workflow.ts'

const limited = (concurrency: { limit: number; key?: string }) =>
  workflow({ id: 'limited', triggerOnEvent: 'orders/**', concurrency }, () => null).definition.concurrency

test('a limit goes with the registration, with or without a key', () => {
  expect(limited({ limit: 2 })).toEqual({ limit: 2 })
  expect(limited({ limit: 1, key: 'event.data.order_id' })).toEqual({ limit: 1, key: 'event.data.order_id' })
  expect(workflow({ id: 'free' }, () => null).definition).not.toHaveProperty('concurrency')
})

test('a limit or a key that is none is refused by its name', () => {
  for (const limit of [0, 1.5, 1_001]) expect(() => limited({ limit })).toThrow(/limited.*concurrency\.limit/)
  expect(() => limited({ limit: 1, key: 'event.data.' })).toThrow(/concurrency\.key is no expression of CEL/)
  expect(() => limited({ limit: 1, key: '[event.id]' })).toThrow(/of type list/)
})
