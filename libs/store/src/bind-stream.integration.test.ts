import { randomUUID } from 'node:crypto'
import { bindingRuleSchema, type StreamBinding } from '@headrace/schemas'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openStore, type Store } from './connection.ts'
import { untilWaiting } from './fixtures/in-order.ts'
import { registerShop } from './fixtures/scene.ts'
import { type BindStream, bindStream, type BoundStream } from './queries/bind-stream.ts'
import { loadCursors, setCursorStatus } from './queries/cursors.ts'
import { createProjections, projectionTriggerId } from './queries/projections.ts'
import { createReplay, readReplay } from './queries/replays.ts'
import { listStreamBindings, unbindStream, unboundRevision } from './queries/stream-bindings.ts'

const T = 1_795_000_000_000
let store: Store

const rule = (kafkaTopic: string, more: object = {}): StreamBinding['rule'] =>
  bindingRuleSchema.parse({ kafka_topic: kafkaTopic, topic: { const: 'orders/placed' }, ...more })

const offsets = (...each: number[]): Map<number, number> => new Map(each.entries())

const bind = async (
  stream: string,
  kafkaTopic: string,
  change: Partial<BindStream> = {},
): Promise<BoundStream> =>
  await bindStream(store, {
    stream,
    rule: rule(kafkaTopic),
    bindingsMax: 3,
    starts: async () => await Promise.resolve(offsets(10, 20)),
    projectedFrom: async () => await Promise.resolve(offsets(1, 2)),
    ...change,
  })

beforeAll(async () => {
  store = openStore({ url: (await createDatabase()).url, applicationName: 'test' })
})
afterAll(async () => await store.close())
beforeEach(async () => {
  await store.general.query(
    'truncate stream_bindings, trigger_cursors, triggers, workflows, builds, apps, waited_streams, projections, replays',
  )
})

describe('binding a stream', () => {
  it('is kept, changed and taken away, each under a higher revision', async () => {
    const first = await bind('orders', 'shop.orders')
    expect(first).toMatchObject({ kind: 'bound', isNew: true, binding: { stream: 'orders' } })
    const second = await bind('orders', 'shop.orders', { rule: rule('shop.orders', { writable: true }) })
    expect(second).toMatchObject({ kind: 'bound', isNew: false, binding: { rule: { writable: true } } })
    const [listed] = await listStreamBindings(store)
    expect(second).toMatchObject({ binding: listed })
    const revisions = [first, second].map((each) => (each.kind === 'bound' ? each.binding.revision : null))
    const gone = await unbindStream(store, 'orders')
    expect([...revisions, gone].toSorted((a, b) => Number(a) - Number(b))).toEqual([...revisions, gone])
    expect(new Set([...revisions, gone]).size).toBe(3)
    expect(await listStreamBindings(store)).toEqual([])
    expect(await unbindStream(store, 'orders')).toBeNull()
  })

  it('is refused where it would have two meanings, or there are too many', async () => {
    await bind('orders', 'shop.orders')
    expect(await bind('orders', 'other')).toEqual({ kind: 'bound_elsewhere', kafkaTopic: 'shop.orders' })
    expect(await bind('users', 'shop.orders')).toEqual({ kind: 'topic_taken', stream: 'orders' })
    await bind('users', 'shop.users', { bindingsMax: 2 })
    expect(await bind('third', 'shop.third', { bindingsMax: 2 })).toEqual({ kind: 'too_many' })
    expect(await bind('users', 'shop.users', { bindingsMax: 2 })).toMatchObject({
      kind: 'bound',
      isNew: false,
    })
  })

  it('that is being made is waited for before it is told that the stream is not bound', async () => {
    const { promise: held, resolve: go } = Promise.withResolvers<Map<number, number>>()
    const { promise: begun, resolve: begins } = Promise.withResolvers<void>()
    const binding = bind('orders', 'shop.orders', {
      starts: async () => {
        begins()
        return await held
      },
    })
    await begun
    const asked = unboundRevision(store, 'orders')
    await untilWaiting(store, 1)
    go(offsets(10, 20))
    expect(await binding).toMatchObject({ kind: 'bound' })
    expect(await asked).toBeNull()
    const gone = await unbindStream(store, 'orders')
    expect(await unboundRevision(store, 'orders')).toBeGreaterThan(Number(gone))
  })

  it('is decided for one of many who ask at once', async () => {
    const answers = await Promise.all(
      ['a', 'b', 'c'].map(async (stream) => await bind(stream, 'shop.orders')),
    )
    expect(answers.map(({ kind }) => kind).toSorted()).toEqual(['bound', 'topic_taken', 'topic_taken'])
  })

  it('begins its triggers and its projection on the other log, and fences who still reads the one before', async () => {
    await registerShop(store)
    await setCursorStatus(store, {
      triggerId: 'on_order',
      stream: 'orders',
      partition: 1,
      status: 'stopped',
      reason: 'recreated',
    })
    await store.general.query(
      `insert into waited_streams (stream, projected_from) values ('orders', to_timestamp($1))`,
      [T / 1000],
    )
    await createProjections(store, [{ stream: 'orders', partition: 0, fromOffset: 50, projectedFrom: T - 1 }])
    const before = await loadCursors(store, 'orders', [0, 1, 2, 3])
    await bind('orders', 'shop.orders')
    const after = await loadCursors(store, 'orders', [0, 1, 2, 3])
    const shown = after.map((cursor) => [
      cursor.triggerId,
      cursor.partition,
      cursor.nextOffset,
      cursor.incarnation,
      cursor.status,
    ])
    expect(shown).toEqual([
      [projectionTriggerId, 0, 1, 2, 'live'],
      ['on_order', 0, 10, 2, 'live'],
      [projectionTriggerId, 1, 2, 2, 'live'],
      ['on_order', 1, 20, 2, 'live'],
    ])
    for (const was of before.filter(({ partition }) => partition < 2)) {
      const now = after.find(
        ({ triggerId, partition }) => triggerId === was.triggerId && partition === was.partition,
      )
      expect(now?.revision).toBeGreaterThan(was.revision)
    }
    const { rows } = await store.general.query(
      `select partition, incarnation, from_offset, projected_from from projections order by partition`,
    )
    expect(rows).toEqual([
      { partition: 0, incarnation: 2, from_offset: 1, projected_from: T },
      { partition: 1, incarnation: 2, from_offset: 2, projected_from: T },
    ])
  })

  it('ends the replays of its triggers: their offsets are of the log before', async () => {
    await registerShop(store)
    const id = randomUUID()
    const ranges = [0, 3].map((partition) => ({ stream: 'orders', partition, fromOffset: 1, toOffset: 90 }))
    const replay = { id, triggerId: 'on_order', dryRun: false, ranges, runningMax: 1 }
    expect(await createReplay(store, replay)).toBe('created')
    await bind('orders', 'shop.orders')
    const ended = { status: 'cancelled', reason: 'stream_bound' }
    expect(await readReplay(store, 'on_order', id)).toMatchObject([ended, ended])
    const all = await loadCursors(store, 'orders', null)
    expect(all.map(({ triggerId }) => triggerId)).toEqual(['on_order', 'on_order'])
  })

  it('leaves the cursors alone when only the rule changes', async () => {
    await registerShop(store)
    await bind('orders', 'shop.orders')
    const before = await loadCursors(store, 'orders', [0, 1])
    await bind('orders', 'shop.orders', { rule: rule('shop.orders', { tombstones: 'skip' }) })
    expect(await loadCursors(store, 'orders', [0, 1])).toEqual(before)
  })
})
