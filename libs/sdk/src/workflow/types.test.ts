import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import type { Client, RunHandle } from '../client/index.ts'
import { Worker } from '../worker/index.ts'
import { type DataOf, defineEvent } from './define-event.ts'
import type { Event, PublishedEvent } from './event.ts'
import type { Jsonify } from './jsonify.ts'
import type { ChildRun } from './step-options.ts'
import { workflow, type Workflow } from './workflow.ts'

const orderCreated = defineEvent('orders/created', {
  schema: z.object({ order_id: z.string(), total: z.coerce.number<string>() }),
})
const approval = defineEvent('approvals/{id}/by/{who}', { schema: z.object({ ok: z.boolean() }) })

type OutputOf<W> = W extends Workflow<infer _, infer Output> ? Output : 'no workflow'

describe('types', () => {
  test('an event’s schema gives the handler’s events their data', () => {
    const onOrder = workflow({ id: 'on_order', triggerOnEvent: orderCreated }, async (ctx, { events }) => {
      expectTypeOf(events[0].data).toEqualTypeOf<{ order_id: string; total: number }>()
      expectTypeOf(events[0].sequenceId).toEqualTypeOf<number>()
      const stored = await ctx.step.run('a', () => ({
        at: new Date(),
        n: 1n as unknown as number,
        none: undefined,
      }))
      expectTypeOf(stored).toEqualTypeOf<{ at: string; n: number; none?: never }>()
      expectTypeOf(ctx.step.now('t')).resolves.toEqualTypeOf<Date>()
      return stored.at
    })
    expectTypeOf<OutputOf<typeof onOrder>>().toEqualTypeOf<string>()
    expect(onOrder.definition.triggers).toMatchObject([{ pattern: 'orders/created', window: { size: 1 } }])
  })

  test('a plain topic gives data of unknown, never any', () => {
    workflow({ id: 'plain', triggerOnEvent: 'orders/**' }, (_ctx, { events }) => {
      expectTypeOf(events[0]).toEqualTypeOf<Event>()
      expectTypeOf(events[0].data).toBeUnknown()
    })
    expect(defineEvent('orders/*').pattern).toBe('orders/*')
  })

  test('what is registered of an event changes nothing of its type', () => {
    const said = defineEvent('a/{id}', {
      schema: z.object({ n: z.coerce.number<string>() }),
      mode: 'warn',
      contentModel: 'open',
      jsonSchema: { type: 'object' },
    })
    expectTypeOf<DataOf<typeof said>>().toEqualTypeOf<{ n: number }>()
    expectTypeOf<Parameters<(typeof said)['event']>[0]>().toExtend<{
      params: { id: string }
      data: { n: string }
    }>()
    const avro = defineEvent('b', { avro: { type: 'record', name: 'B', fields: [] } })
    expectTypeOf<DataOf<typeof avro>>().toBeUnknown()
    const workers = (): Worker[] => [
      new Worker({ workflows: [], events: [said, avro, defineEvent('c')] }),
      // @ts-expect-error: a topic alone has no schema
      new Worker({ workflows: [], events: ['a/b'] }),
    ]
    expect(workers).toBeTypeOf('function')
    // @ts-expect-error: there is no such mode
    expect(() => defineEvent('d', { schema: z.string(), mode: 'strict' })).toThrow('mode')
  })

  test('a direct workflow has the input and output of its schemas', () => {
    const report = workflow(
      { id: 'report', input: z.object({ day: z.string() }), output: z.object({ rows: z.number() }) },
      (_ctx, input) => {
        expectTypeOf(input).toEqualTypeOf<{ day: string }>()
        return { rows: 1 }
      },
    )
    const start = (client: Client) => client.runs.start(report, { day: '2026-11-22' })
    expectTypeOf(start).returns.resolves.toEqualTypeOf<RunHandle<{ rows: number }>>()
    // @ts-expect-error: the input is the schema's
    const wrong = (client: Client) => client.runs.start(report, { day: 1 })
    // @ts-expect-error: so is the output
    workflow({ id: 'r', output: z.object({ rows: z.number() }) }, () => ({ rows: 'many' }))
    expect(wrong).toBeTypeOf('function')
  })

  test('a workflow without a schema takes unknown and gives what it returns', () => {
    const plain = workflow({ id: 'plain' }, (_ctx, input) => {
      expectTypeOf(input).toBeUnknown()
      return { at: new Date() }
    })
    expectTypeOf<OutputOf<typeof plain>>().toEqualTypeOf<{ at: string }>()
    expect(plain.definition.triggers).toEqual([])
  })

  test('publishing takes the schema’s input, and parameters where the topic has some', () => {
    const uses = async (client: Client): Promise<void> => {
      await client.events.publish(orderCreated, { data: { order_id: '1', total: '5' } })
      await client.events.publish(approval, { params: { id: '1', who: 'me' }, data: { ok: true } })
      await client.events.publish({ topic: 'orders/created', data: 1 })
      // @ts-expect-error: total is a string before the schema
      await client.events.publish(orderCreated, { data: { order_id: '1', total: 5 } })
      // @ts-expect-error: who is missing
      await client.events.publish(approval, { params: { id: '1' }, data: { ok: true } })
    }
    expect(uses).toBeTypeOf('function')
    expect(approval.event({ params: { id: 'order-123', who: 'me' }, data: { ok: true } })).toEqual({
      topic: 'approvals/order-123/by/me',
      data: { ok: true },
    })
  })

  test('a publish from inside takes the schema’s input, parameters where the topic has some, and no id of its own', () => {
    workflow({ id: 'publishes' }, async (ctx) => {
      const place = await ctx.step.publishEvent('a', orderCreated, { data: { order_id: '1', total: '5' } })
      expectTypeOf(place).toEqualTypeOf<PublishedEvent>()
      await ctx.step.publishEvent('b', approval, { params: { id: '1', who: 'me' }, data: { ok: true } })
      await ctx.step.publishEvent('c', {
        topic: 'orders/created',
        data: { any: 1 },
        eventType: 'x',
        key: 'k',
      })
      // @ts-expect-error: total is a string before the schema
      await ctx.step.publishEvent('d', orderCreated, { data: { order_id: '1', total: 5 } })
      // @ts-expect-error: who is missing
      await ctx.step.publishEvent('e', approval, { params: { id: '1' }, data: { ok: true } })
      // @ts-expect-error: the id is the run's and the step's
      await ctx.step.publishEvent('f', { topic: 'orders/created', data: 1, id: 'mine' })
      // @ts-expect-error: data is required
      await ctx.step.publishEvent('g', orderCreated)
    })
  })

  test('a wait gives the event, its data by the schema’s output', () => {
    workflow({ id: 'waits' }, async (ctx) => {
      const order = await ctx.step.waitForEvent('a', orderCreated)
      expectTypeOf(order).toEqualTypeOf<Event<{ order_id: string; total: number }>>()
      await ctx.step.waitForEvent('b', orderCreated, { timeout: '5m', if: 'true', since: new Date() })
      const by = await ctx.step.waitForEvent('c', approval, { params: { id: '1', who: 'me' }, since: '10m' })
      expectTypeOf(by.data).toEqualTypeOf<{ ok: boolean }>()
      const plain = await ctx.step.waitForEvent('d', { topic: 'orders/created', timeout: 300, since: 'run' })
      expectTypeOf(plain).toEqualTypeOf<Event>()
      expectTypeOf(plain.data).toBeUnknown()
      expectTypeOf(ctx.step.sleep('e', '5m')).resolves.toBeVoid()
      expectTypeOf(ctx.step.sleepUntil('f', new Date())).resolves.toBeVoid()
      // @ts-expect-error: who is missing
      await ctx.step.waitForEvent('g', approval, { params: { id: '1' } })
      // @ts-expect-error: so is everything
      await ctx.step.waitForEvent('h', approval)
      // @ts-expect-error: a topic is needed
      await ctx.step.waitForEvent('i', { timeout: 1 })
      // @ts-expect-error: 'soon' is no duration
      await ctx.step.waitForEvent('j', { topic: 'a', timeout: 'soon' })
    })
  })

  test('a child run is started with its workflow’s input, and waited for with its output', () => {
    const report = workflow(
      { id: 'report', input: z.object({ day: z.string() }), output: z.object({ rows: z.number() }) },
      () => ({ rows: 1 }),
    )
    workflow({ id: 'parent' }, async (ctx) => {
      const { rows } = await ctx.step.invokeAndWait('a', report, { day: '1' }, { timeout: '1h' })
      expectTypeOf(rows).toEqualTypeOf<number>()
      expectTypeOf(ctx.step.invoke('b', report, { day: '1' })).resolves.toEqualTypeOf<ChildRun>()
      expectTypeOf(ctx.step.invokeAndWait('c', 'report', 1)).resolves.toBeUnknown()
      expectTypeOf(ctx.step.suspend('d', { timeout: 5 })).resolves.toBeUnknown()
      const schema = z.object({ n: z.coerce.number<string>() })
      expectTypeOf(ctx.step.suspend('e', { schema })).resolves.toEqualTypeOf<{ n: number }>()
      // @ts-expect-error: the input is the workflow's
      await ctx.step.invoke('f', report, { day: 1 })
      // @ts-expect-error: it is required
      await ctx.step.invokeAndWait('g', report)
    })
  })

  test('Jsonify is what is left after JSON', () => {
    expectTypeOf<Jsonify<Date>>().toEqualTypeOf<string>()
    expectTypeOf<Jsonify<undefined>>().toEqualTypeOf<null>()
    expectTypeOf<Jsonify<[Date, undefined, 1]>>().toEqualTypeOf<[string, null, 1]>()
    expectTypeOf<Jsonify<readonly Date[]>>().toEqualTypeOf<string[]>()
    expectTypeOf<Jsonify<{ a?: Date; b: { c: boolean | null } }>>().toEqualTypeOf<{
      a?: string
      b: { c: boolean | null }
    }>()
    expectTypeOf<Jsonify<bigint>>().toBeNever()
    expectTypeOf<Jsonify<unknown>>().toBeUnknown()
  })
})

test('a key and a filter are part of the trigger, and a window with a key closes after a day at the latest', () => {
  const keyed = { id: 'a', triggerOnEvent: 'b', batchSize: 5, key: 'event.data.sku', if: 'event.key != null' }
  expect(workflow(keyed, () => 1).definition.triggers).toMatchObject([
    { if: 'event.key != null', window: { size: 5, timeout_ms: 24 * 3600_000, key: 'event.data.sku' } },
  ])
  expect(workflow({ ...keyed, batchTimeoutSeconds: 2 }, () => 1).definition.triggers).toMatchObject([
    { window: { timeout_ms: 2_000 } },
  ])
})

describe('what is malformed is refused where it is written', () => {
  test.each([
    [() => workflow({ id: 'no spaces' }, () => 1), /workflow "no spaces": id must be/],
    [() => workflow({ id: 'a', triggerOnEvent: '*/b' }, () => 1), /triggerOnEvent the first segment/],
    [() => workflow({ id: 'a', triggerOnEvent: 'b', batchSize: 0 }, () => 1), /batchSize/],
    [
      () => workflow({ id: 'a', triggerOnEvent: 'b', batchTimeoutSeconds: 1e9 }, () => 1),
      /batchTimeoutSeconds/,
    ],
    [
      () => workflow({ id: 'a', triggerOnEvent: 'b', if: 'event.data.total >' }, () => 1),
      /workflow "a": if .*Unexpected token/,
    ],
    [
      () => workflow({ id: 'a', triggerOnEvent: 'b', key: 'event.data == event.key ? [1] : [2]' }, () => 1),
      /workflow "a": key .*is of type list/,
    ],
    [
      () => workflow({ id: 'a', retries: { maxAttempts: 0 } }, () => 1),
      /retries.maxAttempts must be from 1 to 100/,
    ],
    [() => workflow({ id: 'a', retries: { maxDelay: '2h' } }, () => 1), /retries.maxDelay/],
    [() => defineEvent('a//b'), /no empty segment/],
    [() => approval.event({ params: { id: 'a/b', who: 'x' }, data: { ok: true } }), /must not hold a \//],
    [() => defineEvent('a/*').event({ data: 1 }), /cannot be published/],
  ])('%s', (make, message) => {
    expect(make).toThrow(message)
  })
})
