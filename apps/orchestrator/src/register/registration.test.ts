import { type FieldFault, ProblemError, type WorkflowDefinition } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { refuseExpressions } from './expressions.ts'
import { refuseDoubles } from './registration.ts'
import { streamsOf } from './topics.ts'

const workflow = (id: string, ...triggers: [id: string, pattern: string][]): WorkflowDefinition => ({
  id,
  queue: 'default',
  on_deploy: 'upgrade',
  triggers: triggers.map(([trigger, pattern]) => ({
    id: trigger,
    pattern,
    window: { size: 1, timeout_ms: null, max_bytes: 1_000 },
  })),
})

const pointers = (workflows: WorkflowDefinition[]): string[] => {
  try {
    refuseDoubles(workflows)
    return []
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    expect(error.code).toBe('registration_conflict')
    return (error.errors ?? []).map(({ pointer }) => pointer)
  }
}

test('an id that stands twice is refused, with its place', () => {
  expect(pointers([workflow('a', ['a', 'x/y']), workflow('b', ['b', 'x/*'])])).toEqual([])
  expect(pointers([workflow('a', ['t', 'x/y']), workflow('a', ['t', 'x/y'])])).toEqual([
    '/workflows/1/id',
    '/workflows/1/triggers/0/id',
  ])
})

test('a filter or a key that does not compile is refused, with its place and the reason', () => {
  const [wrong] = [workflow('a', ['a', 'x/y'], ['b', 'x/y'])]
  const [first, second] = wrong.triggers
  if (first === undefined || second === undefined) throw new Error('there are two')
  const given = (filter: string, key: string): WorkflowDefinition[] => [
    {
      ...wrong,
      triggers: [
        { ...first, if: filter },
        { ...second, window: { ...second.window, timeout_ms: 1, key } },
      ],
    },
  ]
  refuseExpressions(given('event.data.total > 50', 'event.data.order_id'))
  let faults: FieldFault[] = []
  try {
    refuseExpressions(given('event.data.total >', 'event.data.items.map(i, i.sku) + [1]'))
  } catch (error) {
    if (error instanceof ProblemError) faults = error.errors ?? []
  }
  expect(faults).toMatchObject([
    { pointer: '/workflows/0/triggers/0/if', detail: expect.stringContaining('Unexpected token: EOF') },
    { pointer: '/workflows/0/triggers/1/window/key', detail: expect.stringContaining('is of type list') },
  ])
})

test('the streams of a registration are the first segments of its patterns, each once', () => {
  expect(
    streamsOf([workflow('a', ['a', 'orders/created'], ['b', 'users/*']), workflow('b', ['c', 'orders/**'])]),
  ).toEqual(['orders', 'users'])
})
