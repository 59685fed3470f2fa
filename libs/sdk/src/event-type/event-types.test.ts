import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import * as mini from 'zod/mini'
import { type AnyEventDefinition, defineEvent } from '../workflow/define-event.ts'
import { workflow } from '../workflow/workflow.ts'
import { workerSettings } from '../worker/settings.ts'
import { eventTypesOf } from './event-types.ts'

const order = defineEvent('orders/created', {
  schema: z.object({ order_id: z.string(), note: z.string().optional() }),
})
const only = (definition: AnyEventDefinition) => {
  const { bodies } = eventTypesOf([definition])
  expect(bodies).toHaveLength(1)
  return bodies[0]!
}
const schemaOf = (schema: z.ZodType) => only(defineEvent('a', { schema, contentModel: 'open' })).schema

/** A library that is not zod: what it says of itself is all there is. */
const foreign = (jsonSchema?: object) => ({
  '~standard': {
    version: 1 as const,
    vendor: 'other',
    validate: (value: unknown) => ({ value }),
    ...(jsonSchema === undefined ? {} : { jsonSchema }),
  },
})

describe('an event type', () => {
  test('is the draft-07 schema of what is stored, closed, and what its definition says', () => {
    expect(only(order)).toEqual({
      pattern: 'orders/created',
      schema_type: 'json',
      schema: {
        $schema: 'http://json-schema.org/draft-07/schema#',
        type: 'object',
        properties: { order_id: { type: 'string' }, note: { type: 'string' } },
        required: ['order_id'],
        additionalProperties: false,
      },
      mode: 'enforce',
      content_model: 'closed',
    })
    const said = defineEvent('a/{id}', {
      schema: z.object({ n: z.number() }),
      mode: 'warn',
      subject: 'a-value',
      contentModel: 'open',
    })
    expect(only(said)).toMatchObject({ mode: 'warn', subject: 'a-value', content_model: 'open' })
    expect(only(said).schema).not.toHaveProperty('additionalProperties')
  })

  test('tells the input of a transform, of a default and of what takes anything', () => {
    const schema = z.object({
      length: z.string().transform((text) => text.length),
      at: z.codec(z.iso.date(), z.date(), {
        decode: (text) => new Date(text),
        encode: (date) => date.toISOString(),
      }),
      // Another one at each start, which would be a new version of the schema each time.
      id: z.uuid().default(() => crypto.randomUUID()),
      total: z.coerce.number(),
      when: z.date().catch(new Date(0)),
      made: z.preprocess((text) => new Date(String(text)), z.date()),
    })
    expect(schemaOf(schema)).toMatchObject({
      properties: {
        length: { type: 'string' },
        at: { type: 'string', format: 'date' },
        id: { type: 'string', format: 'uuid' },
        total: {},
        when: {},
        made: {},
      },
    })
    expect(schemaOf(schema)).toEqual(schemaOf(schema))
    expect(JSON.stringify(schemaOf(schema))).not.toContain('default')
  })

  test('of zod mini, which speaks no Standard JSON Schema, is made by zod', () => {
    const small = defineEvent('a', { schema: mini.object({ n: mini.number() }) })
    expect(only(small).schema).toMatchObject({
      properties: { n: { type: 'number' } },
      additionalProperties: false,
    })
  })

  test('of another library is what that library says', () => {
    const asked: unknown[] = []
    const input = (options: unknown) => {
      asked.push(options)
      return { type: 'string' }
    }
    expect(only(defineEvent('a', { schema: foreign({ input }) })).schema).toEqual({ type: 'string' })
    expect(asked).toEqual([{ target: 'draft-07' }])
  })

  test('of a library that says nothing stays in the SDK, unless a schema is given', () => {
    expect(eventTypesOf([defineEvent('a', { schema: foreign() })])).toMatchObject({
      bodies: [],
      unregistered: [{ pattern: 'a', reason: expect.stringContaining('give jsonSchema') }],
    })
    const jsonSchema = { type: 'object', properties: { n: { type: 'number' } } }
    expect(only(defineEvent('a', { schema: foreign(), jsonSchema })).schema).toEqual({
      ...jsonSchema,
      additionalProperties: false,
    })
    const avro = { type: 'record', name: 'A', fields: [] }
    expect(only(defineEvent('a', { avro }))).toMatchObject({ schema_type: 'avro', schema: avro })
  })

  test('is none without a schema, or of several kinds of topics', () => {
    expect(eventTypesOf([defineEvent('a')])).toEqual({ bodies: [], unregistered: [] })
    expect(eventTypesOf([defineEvent('a/**', { schema: z.string() })])).toMatchObject({
      bodies: [],
      unregistered: [{ pattern: 'a/**' }],
    })
  })

  test('cannot be of what JSON cannot hold: the error names each place, and what to use', () => {
    const schema = z.object({
      lines: z.array(z.object({ at: z.date() })),
      'a/b': z.union([z.string(), z.bigint()]),
      by: z.record(z.string(), z.map(z.string(), z.string())),
      pair: z.tuple([z.date()]),
    })
    expect(() => eventTypesOf([defineEvent('a', { schema })])).toThrow(
      /^event type "a": .*: \/lines\/\*\/at is a date: use z\.iso\.datetime\(\).*; \/a~1b is a bigint: use z\.string\(\).*; \/by\/\* is a map: give jsonSchema; \/pair\/\* is a date/,
    )
    expect(() => eventTypesOf([defineEvent('a', { schema: z.date() })])).toThrow(/: it is a date: use/)
    const fails = () => {
      throw new Error('no draft-07')
    }
    const failing = defineEvent('a', { schema: foreign({ input: fails }) })
    expect(() => eventTypesOf([failing])).toThrow(/no JSON Schema \(no draft-07\): give jsonSchema/)
  })

  test('may be defined twice when both are the same, and not when they differ', () => {
    const again = defineEvent('orders/created', {
      schema: z.object({ order_id: z.string(), note: z.string().optional() }),
    })
    expect(eventTypesOf([order, order, again]).bodies).toHaveLength(1)
    const param = (name: string) => defineEvent(`a/{${name}}`, { schema: z.string() })
    expect(eventTypesOf([param('id'), param('other')]).bodies).toHaveLength(1)
    const other = defineEvent('orders/created', { schema: z.object({ order_id: z.number() }) })
    expect(() => eventTypesOf([order, other])).toThrow(/"orders\.created" is defined twice/)
    const literal = defineEvent('a/_', { schema: z.string() })
    expect(() => eventTypesOf([param('id'), literal])).toThrow(/"a\/{id}" and "a\/_" are both .*"a\._"/)
  })
})

describe('a worker registers', () => {
  const env = { HEADRACE_URL: 'http://localhost', HEADRACE_APP: 'shop' }
  const closed = defineEvent('shop/closed', { schema: z.object({ reason: z.string() }) })
  const paid = defineEvent('orders/{id}/paid', { schema: z.object({ sum: z.number() }) })
  const ship = workflow(
    { id: 'ship', triggerOnEvent: order, cancelOn: [{ event: closed }, { event: 'shop/moved' }] },
    () => 1,
  )

  test('what its workflows name in their options, and what it is given', () => {
    const { eventTypes } = workerSettings({ workflows: [ship], events: [paid, order] }, env)
    expect(eventTypes.bodies.map(({ pattern }) => pattern)).toEqual([
      'orders/created',
      'shop/closed',
      'orders/{id}/paid',
    ])
  })

  test('at most 200 types', () => {
    const events = Array.from({ length: 199 }, (_, n) => defineEvent(`e/${n}`, { schema: z.string() }))
    expect(() => workerSettings({ workflows: [ship], events }, env)).toThrow(
      /at most 200 event types, not 201/,
    )
  })

  test('a changed schema is another build', () => {
    const build = (schema: z.ZodType) =>
      workerSettings({ workflows: [ship], events: [defineEvent('a', { schema })] }, env).build
    expect(build(z.string())).not.toBe(build(z.number()))
  })
})

test.each([
  [{ mode: 'strict' }, /mode must be/],
  [{ contentModel: 'shut' }, /contentModel must be/],
  [{ jsonSchema: {}, avro: {} }, /not both/],
  [{ avro: 'string' }, /avro must be an object/],
])('a malformed definition is refused where it is written: %j', (options, message) => {
  expect(() => defineEvent('a', { schema: z.string(), ...(options as object) })).toThrow(message)
})

test('options of an event type without a schema are refused, for they would do nothing', () => {
  expect(() => defineEvent('a', { mode: 'warn' })).toThrow(/defineEvent\("a"\): mode says nothing/)
})
