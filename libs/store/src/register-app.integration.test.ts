import type { WorkflowDefinition } from '@headrace/schemas'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import {
  endOfOrders,
  endsOf,
  moveOf,
  orderWorkflow,
  partitionsOfOrders,
  registerShop,
  workerOf,
} from './fixtures/scene.ts'
import {
  flushWindows,
  getTrigger,
  getWorkflow,
  listTriggers,
  loadCursors,
  openStore,
  registerApp,
  type RegistrationOutcome,
  setTriggerStatus,
  type Store,
} from './index.ts'

let store: Store
const stores: Store[] = []
beforeEach(async () => {
  store = openStore({ url: (await createDatabase()).url, applicationName: 'headrace-test' })
  stores.push(store)
})
afterAll(async () => {
  await Promise.all(stores.map(async (each) => await each.close()))
})

const partitions = Array.from({ length: partitionsOfOrders }, (_, partition) => partition)
const cursors = async (stream = 'orders') => await loadCursors(store, stream, partitions)
const kill = async (build: string): Promise<void> => {
  await store.general.query(`update workers set status = 'dead', died_at = now() where build = $1`, [build])
}
const unasked = async (): Promise<never> => await Promise.reject(new Error('Kafka was asked'))

describe('a set of workflows', () => {
  test('brings triggers and a cursor for every partition at the end offsets', async () => {
    const outcome = await registerShop(store, { worker: workerOf('w1') })
    expect(outcome).toMatchObject({
      status: 'registered',
      started: true,
      triggers: [{ id: 'on_order', stream: 'orders', version: 1, status: 'live', build: 'b1' }],
    })
    expect(await cursors()).toMatchObject(
      partitions.map((partition) => ({ partition, nextOffset: endOfOrders, version: 1, status: 'live' })),
    )
    expect(await getWorkflow(store, 'on_order')).toMatchObject({
      app: 'shop',
      workers: 1,
      triggers: ['on_order'],
    })
  })

  test('is registered whole or not at all: without end offsets nothing stays', async () => {
    await expect(
      registerApp(store, { app: 'shop', build: 'b1', workflows: [orderWorkflow()], newCursors: unasked }),
    ).rejects.toThrow('Kafka was asked')
    await expect(
      registerApp(store, {
        app: 'shop',
        build: 'b1',
        workflows: [orderWorkflow()],
        newCursors: async () => await Promise.resolve(new Map()),
      }),
    ).rejects.toThrow('No end offsets')
    expect(await listTriggers(store)).toEqual([])
    expect(await getWorkflow(store, 'on_order')).toBeNull()
  })

  test('registered again changes nothing and asks Kafka nothing', async () => {
    await registerShop(store)
    const before = await cursors()
    await registerApp(store, { app: 'shop', build: 'b1', workflows: [orderWorkflow()], newCursors: unasked })
    expect(await cursors()).toEqual(before)
  })

  test('registered by many workers at once is registered once', async () => {
    const outcomes = await Promise.all(
      Array.from(
        { length: 12 },
        async (_, i) =>
          await registerShop(store, {
            build: `b${i % 3}`,
            worker: workerOf(`w${i}`, { build: `b${i % 3}` }),
          }),
      ),
    )
    expect(outcomes.every(({ status }) => status === 'registered')).toBe(true)
    expect(await cursors()).toHaveLength(partitionsOfOrders)
    expect(await listTriggers(store)).toMatchObject([{ version: 1 }])
  })
})

describe('a changed definition', () => {
  test('raises the version of the trigger and of its cursors, which stay where they are', async () => {
    await registerShop(store)
    await registerShop(store, { build: 'b2', workflows: [orderWorkflow('on_order', 'orders/created', 10)] })
    expect(await listTriggers(store)).toMatchObject([{ version: 2, windowSize: 10, build: 'b2' }])
    expect(await cursors()).toMatchObject(partitions.map(() => ({ version: 2, nextOffset: endOfOrders })))
    const flush = await flushWindows(store, { moves: [moveOf({ revision: 1, version: 1 })], runs: [] })
    expect(flush.moved).toEqual([])
  })

  test.each([
    ['filter', { if: 'event.data.total > 50' }, {}, { filter: 'event.data.total > 50', windowKey: null }],
    ['key', {}, { key: 'event.data.sku' }, { filter: null, windowKey: 'event.data.sku' }],
  ])('may be that of the %s', async (_which, trigger, window, expected) => {
    const set = orderWorkflow('on_order', 'orders/created', 10)
    const changed = set.triggers.map((one) => ({ ...one, ...trigger, window: { ...one.window, ...window } }))
    await registerShop(store, { workflows: [set] })
    await registerShop(store, { build: 'b2', workflows: [{ ...set, triggers: changed }] })
    expect(await listTriggers(store)).toMatchObject([{ version: 2, ...expected }])
    await registerShop(store, { build: 'b3', workflows: [{ ...set, triggers: changed }] })
    expect(await listTriggers(store)).toMatchObject([{ version: 2, build: 'b3', ...expected }])
  })

  test('is one where what cancels its runs is another, in whatever order that is written', async () => {
    const rule = { event: 'orders/cancelled', if: 'event.data.order == trigger.data.order' }
    const version = async (cancelOn: NonNullable<WorkflowDefinition['cancel_on']>): Promise<unknown> => {
      await registerShop(store, { workflows: [{ ...orderWorkflow(), cancel_on: cancelOn }] })
      return (await listTriggers(store))[0]?.version
    }
    const before = (await version([rule])) as number
    expect(await version([{ if: rule.if, event: rule.event }])).toBe(before)
    expect(await version([{ event: rule.event }])).toBe(before + 1)
  })

  test('another build of the same definition raises nothing', async () => {
    await registerShop(store)
    await registerShop(store, { build: 'b2' })
    expect(await listTriggers(store)).toMatchObject([{ version: 1, build: 'b2' }])
  })

  test('of another stream begins at the end of that stream', async () => {
    await registerShop(store)
    await registerShop(store, { build: 'b2', workflows: [orderWorkflow('on_order', 'users/signup')] })
    expect(await cursors()).toEqual([])
    expect(await cursors('users')).toMatchObject(
      partitions.map(() => ({ version: 2, nextOffset: endOfOrders })),
    )
  })

  test('leaves a paused trigger paused', async () => {
    await registerShop(store)
    await setTriggerStatus(store, 'on_order', 'paused')
    await registerShop(store, { build: 'b2', workflows: [orderWorkflow('on_order', 'orders/*')] })
    expect(await getTrigger(store, 'on_order')).toMatchObject({ status: 'paused', version: 2 })
    expect(await cursors()).toMatchObject(partitions.map(() => ({ status: 'paused', version: 2 })))
  })

  test('that was paused and retired comes back paused, and is live when it is resumed', async () => {
    await registerShop(store)
    await setTriggerStatus(store, 'on_order', 'paused')
    await registerShop(store, { build: 'b2', workflows: [] })
    expect(await getTrigger(store, 'on_order')).toMatchObject({ status: 'retired' })
    await registerShop(store, { build: 'b3' })
    expect(await getTrigger(store, 'on_order')).toMatchObject({ status: 'paused' })
    expect(await cursors()).toMatchObject(partitions.map(() => ({ status: 'paused' })))
    await setTriggerStatus(store, 'on_order', 'live')
    await registerShop(store, { build: 'b4', workflows: [] })
    await registerShop(store, { build: 'b5' })
    expect(await cursors()).toMatchObject(partitions.map(() => ({ status: 'live' })))
  })
})

describe('builds', () => {
  const empty = { workflows: [orderWorkflow('other', 'users/signup')] }

  test('what the newest build lacks is retired, and its lanes start nothing more', async () => {
    await registerShop(store)
    await registerShop(store, { build: 'b2', ...empty })
    expect((await listTriggers(store)).map(({ id }) => id)).toEqual(['other'])
    expect(await getTrigger(store, 'on_order')).toMatchObject({ status: 'retired' })
    expect(await getWorkflow(store, 'on_order')).toMatchObject({ status: 'retired' })
    const { moved } = await flushWindows(store, { moves: [moveOf()], runs: [] })
    expect(moved).toEqual([])
  })

  test('an older build coming back changes nothing while a newer one lives, and counts again once it does not', async () => {
    await registerShop(store, { worker: workerOf('w1') })
    await registerShop(store, { build: 'b2', ...empty, worker: workerOf('w2', { build: 'b2' }) })
    const old = await registerShop(store, { worker: workerOf('w3') })
    expect(old).toMatchObject({ started: false, triggers: [{ id: 'other' }] })
    await kill('b2')
    const back = await registerShop(store, { worker: workerOf('w4') })
    expect(back).toMatchObject({ started: true, triggers: [{ id: 'on_order', version: 3 }] })
  })

  test('a trigger that comes back soon goes on where it stopped; after a day it begins at the end', async () => {
    await registerShop(store)
    await flushWindows(store, { moves: [moveOf({ nextOffset: 150 })], runs: [] })
    await registerShop(store, { build: 'b2', ...empty })
    await registerShop(store)
    expect((await cursors())[0]).toMatchObject({ nextOffset: 150, version: 3, status: 'live' })
    await registerShop(store, { build: 'b2', ...empty })
    await store.general.query(
      `update triggers set retired_at = now() - interval '25 h' where id = 'on_order'`,
    )
    await registerShop(store)
    expect((await cursors())[0]).toMatchObject({ nextOffset: endOfOrders, version: 5 })
  })

  test('zero workers, and the set of another app, retire nothing', async () => {
    await registerShop(store, { worker: workerOf('w1') })
    await kill('b1')
    await registerShop(store, { app: 'crm', build: 'c1', workflows: [orderWorkflow('crm', 'orders/*')] })
    expect((await listTriggers(store)).map(({ id }) => id)).toEqual(['crm', 'on_order'])
  })

  test('a worker that was declared dead registers nothing under its old id', async () => {
    await registerShop(store, { worker: workerOf('w1') })
    await kill('b1')
    expect(await registerShop(store, { worker: workerOf('w1'), ...empty })).toEqual({
      status: 'unknown_worker',
    })
    expect((await listTriggers(store)).map(({ id }) => id)).toEqual(['on_order'])
  })
})

describe('conflicts are told, and nothing is registered', () => {
  const conflictsOf = (outcome: RegistrationOutcome): unknown =>
    outcome.status === 'conflict' ? outcome.conflicts : outcome

  test('with the workflow or the trigger of another app', async () => {
    await registerShop(store)
    const taken = await registerShop(store, { app: 'crm', build: 'c1' })
    expect(conflictsOf(taken)).toEqual([{ kind: 'workflow', id: 'on_order', app: 'shop' }])
    const renamed = { ...orderWorkflow(), id: 'crm_order' }
    const trigger = await registerShop(store, { app: 'crm', build: 'c1', workflows: [renamed] })
    expect(conflictsOf(trigger)).toEqual([{ kind: 'trigger', id: 'on_order', app: 'shop' }])
    expect(await getWorkflow(store, 'crm_order')).toBeNull()
  })

  test('with itself', async () => {
    const twice = await registerShop(store, { workflows: [orderWorkflow(), orderWorkflow()] })
    expect(conflictsOf(twice)).toEqual([
      { kind: 'workflow', id: 'on_order', app: 'shop' },
      { kind: 'trigger', id: 'on_order', app: 'shop' },
    ])
  })

  test('but what another app retired may be taken over, from the end', async () => {
    await registerShop(store)
    await registerShop(store, { build: 'b2', workflows: [] })
    await store.general.query('update trigger_cursors set next_offset = 7')
    const taken = await registerShop(store, { app: 'crm', build: 'c1' })
    expect(taken).toMatchObject({ status: 'registered', triggers: [{ id: 'on_order', app: 'crm' }] })
    expect((await cursors())[0]).toMatchObject({ nextOffset: endOfOrders, version: 3 })
  })
})

test('a partition takes the incarnation that its stream has', async () => {
  await registerShop(store)
  await store.general.query('update trigger_cursors set incarnation = 3 where partition = 1')
  await registerApp(store, {
    app: 'crm',
    build: 'c1',
    workflows: [orderWorkflow('crm')],
    newCursors: async () => await Promise.resolve(endsOf('orders')),
  })
  const fresh = (await cursors()).filter(({ triggerId }) => triggerId === 'crm')
  expect(fresh.map(({ incarnation }) => incarnation)).toEqual([1, 3, 1, 1])
})
