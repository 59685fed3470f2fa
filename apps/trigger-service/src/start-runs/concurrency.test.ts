import type { Json } from '@headrace/schemas'
import { expect, it } from 'vitest'
import { Harness, trigger } from '../stage/harness.ts'

const perOrder = trigger({ id: 'per_order', concurrency: { key: 'event.data.order' }, windowSize: 2 })
const together = trigger({ id: 'together', concurrency: { key: null } })
const free = trigger({ id: 'free' })

async function started(triggers: ReturnType<typeof trigger>[], data: Json[]): Promise<Harness> {
  const harness = new Harness({ triggers })
  for (const each of data) harness.log.append({ data: each })
  for (const { id } of triggers) harness.postgres.add({ triggerId: id, partition: 0, nextOffset: 0 })
  await harness.adopt()
  harness.fetch()
  await harness.settle()
  return harness
}

it('gives each run the key of its first event, has them let in after the commit, and sends no task itself', async () => {
  const data = [{ order: 'a' }, { order: 'b' }, {}, { order: 'c' }]
  const harness = await started([perOrder], data)
  expect(harness.postgres.runs.map(({ concurrencyKey }) => concurrencyKey)).toEqual(['"a', ''])
  expect(harness.admissions).toEqual([
    { workflow: perOrder.workflow, key: '"a' },
    { workflow: perOrder.workflow, key: '' },
  ])
  expect(harness.tasks).toEqual([])
})

it('counts all runs of a workflow together where its rule has no key, and leaves those without a rule alone', async () => {
  const harness = await started([together, free], [1, 2])
  const keysOf = (id: string) =>
    harness.postgres.runs.flatMap((run) => (run.triggerId === id ? [run.concurrencyKey] : []))
  expect(keysOf('together')).toEqual(['', ''])
  expect(keysOf('free')).toEqual([null, null])
  expect(harness.tasks.length).toBe(2)
})

it('sets an event aside on which the key fails, and goes on with the others', async () => {
  const harness = await started([perOrder], [{ order: 'a' }, { order: { no: 'key' } }, { order: 'a' }])
  expect(harness.postgres.windows('per_order')).toEqual([[0, 2]])
  expect(harness.letters).toMatchObject([
    { reason: 'key_error', detail: expect.stringContaining('concurrency.key: '), offset: 1 },
  ])
})
