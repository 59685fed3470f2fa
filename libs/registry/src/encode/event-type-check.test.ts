import type { KafkaEvent } from '@headrace/core'
import type { Json, TypeSchema } from '@headrace/schemas'
import avro from 'avsc'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileSchema } from '../decode/schema-reader.ts'
import { EventTypeChecks } from './event-type-checks.ts'

const TOPIC = 'orders/created'
const parse = (text: string) => JSON.parse(text) as Json

function typeOf(schemaType: 'json' | 'avro', schema: TypeSchema, more: object = {}) {
  const checks = new EventTypeChecks()
  const type = {
    name: 'orders.created',
    pattern: TOPIC,
    schema_type: schemaType,
    schema,
    mode: 'enforce' as const,
    schema_id: 7,
    subject: 's',
    dataschema: 'http://registry/subjects/s/versions/1',
    ...more,
  }
  checks.set([{ type, revision: 1 }])
  const check = checks.of(TOPIC)
  const reader = compileSchema({
    id: 7,
    type: schemaType === 'avro' ? 'AVRO' : 'JSON',
    schema: JSON.stringify(schema),
    references: [],
  })
  const written = (data: Json, isFramed = true) => {
    const value = JSON.stringify(data)
    const event: KafkaEvent<string | Buffer> = { key: '', value, headers: {} }
    const faults = check?.write(event, { data: parse(value), isFramed }) ?? []
    return { faults, ...event }
  }
  return {
    written,
    faults: (data: Json) => written(data).faults.map(({ pointer, detail }) => [pointer, detail]),
    /** As a reader has what was written. */
    read: (data: Json) => {
      const { value, faults } = written(data)
      if (typeof value === 'string') throw new Error(JSON.stringify(faults))
      expect([value[0], value.readInt32BE(1)]).toEqual([0, 7])
      const read = reader.read(value.subarray(5), 'unwrap', parse)
      return read.kind === 'data' ? read.data : read
    },
  }
}

const record = (fields: object[]): TypeSchema => ({ type: 'record', name: 'shop.Order', fields }) as never
const field = (name: string, type: unknown, more: object = {}) => ({ name, type, ...more })
const logical = (type: string, logicalType: string, more: object = {}) => ({ type, logicalType, ...more })
const optional = (type: unknown) => ['null', type]

describe('data of a JSON Schema', () => {
  const order = {
    type: 'object',
    properties: {
      id: { type: 'string' },
      'a/b': { enum: ['x', 'y'] },
      at: { type: 'string', format: 'date-time' },
    },
    required: ['id'],
    additionalProperties: false,
  }

  test('that fits is framed as it is, and as nothing else where no registry has its schema', () => {
    expect(typeOf('json', order).read({ id: 'ü' })).toEqual({ id: 'ü' })
    expect(typeOf('json', order).written({ id: 'a' }, false).value).toBe('{"id":"a"}')
    expect(typeOf('json', order, { schema_id: null }).written({ id: 'a' }).value).toBe('{"id":"a"}')
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const data = parse(JSON.stringify(value))
        expect(typeOf('json', {}).read(data)).toEqual(data)
      }),
      { numRuns: 50 },
    )
  })

  test('that does not fit is told with the place of each fault', () => {
    expect(typeOf('json', order).faults({ 'a/b': 'z', at: 'now', more: 1 })).toEqual([
      ['/id', 'is required'],
      ['/more', 'is no property of the schema'],
      ['/a~1b', 'must be one of "x", "y"'],
      ['/at', 'must match format "date-time"'],
    ])
    const many = typeOf('json', { items: { type: 'string' } })
    expect(many.faults(Array.from({ length: 500 }, () => 1))).toHaveLength(100)
    expect(many.faults(Array.from({ length: 50_000 }, () => 1))).toEqual([['/0', 'must be string']])
  })

  test('may be of draft 2020-12, by its $schema', () => {
    const $schema = 'https://json-schema.org/draft/2020-12/schema'
    expect(typeOf('json', { $schema, prefixItems: [{ type: 'string' }] }).faults([1])).toEqual([
      ['/0', 'must be string'],
    ])
  })

  test.each([
    ['a keyword is wrong', { type: 'nothing' }],
    ['it is of a dialect that is not known', { $schema: 'http://json-schema.org/draft-04/schema#' }],
    ['it refers to what is not there', { $ref: 'http://127.0.0.1:1/other' }],
    ['it is asynchronous', { $async: true }],
  ])('never fits where %s', (_what, schema) => {
    expect(typeOf('json', schema).faults({})).toEqual([['', expect.stringContaining('cannot be used')]])
  })
})

describe('data of an Avro schema', () => {
  const schema = record([
    field('total', 'long'),
    field('count', 'int'),
    field('rate', 'double'),
    field('single', 'float'),
    field('paid', 'boolean'),
    field('raw', 'bytes'),
    field('price', logical('bytes', 'decimal', { precision: 30, scale: 2 })),
    field('fee', { ...logical('fixed', 'decimal', { precision: 9, scale: 3 }), name: 'Fee', size: 4 }),
    field('id', { ...logical('fixed', 'uuid'), name: 'Id', size: 16 }),
    field('took', { ...logical('fixed', 'duration'), name: 'Took', size: 12 }),
    field('day', logical('int', 'date')),
    field('time', logical('int', 'time-millis')),
    field('at', logical('long', 'timestamp-millis')),
    field('exactly', logical('long', 'timestamp-nanos')),
    field('here', logical('long', 'local-timestamp-micros')),
    field('kind', { type: 'enum', name: 'Kind', symbols: ['BIG', 'SMALL'] }),
    field('lines', { type: 'array', items: 'string' }),
    field('by_name', { type: 'map', values: optional('long') }),
    field('note', optional('string')),
    field('any', ['null', 'int', 'string', 'boolean']),
    field('next', optional('shop.Order'), { default: null }),
  ])
  const order = {
    total: '9007199254740993',
    count: -5,
    rate: 0.1,
    single: 'NaN',
    paid: true,
    raw: 'AQID',
    price: '-1234567890123456789012345678.90',
    fee: '-1.500',
    id: '01234567-89ab-cdef-0123-456789abcdef',
    took: 'P1M2DT3.5S',
    day: '1969-12-31',
    time: '12:00:00.001',
    at: '0000-01-01T00:00:00.000Z',
    exactly: '2026-11-23T12:00:00.123456789Z',
    here: '1969-12-31T23:59:59.999999',
    kind: 'SMALL',
    lines: ['a', 'ü'],
    by_name: { x: 1, ['__proto__']: null },
    note: null,
    any: 'text',
    next: null,
  }

  test('is read as it was published, of each kind', () => {
    const own = parse(JSON.stringify(order))
    expect(typeOf('avro', schema).read(own)).toEqual(own)
    expect(typeOf('avro', schema).read({ ...order, next: order })).toEqual({ ...order, next: order })
  })

  test('is read as it was published, whatever the values are', () => {
    const day = fc.date({
      min: new Date('0000-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59.999Z'),
      noInvalidDate: true,
    })
    const long = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    const text = fc.string({ unit: 'binary' }).filter((value) => value.isWellFormed())
    const cents = fc.bigInt({ min: -(10n ** 30n) + 1n, max: 10n ** 30n - 1n })
    const money = (value: bigint, scale: number) => {
      const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0')
      return `${value < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
    }
    const { read } = typeOf('avro', schema)
    fc.assert(
      fc.property(
        fc.record({
          total: long.map((value) => (Number.isSafeInteger(Number(value)) ? Number(value) : String(value))),
          count: fc.integer(),
          rate: fc.double({ noNaN: true, noDefaultInfinity: true }),
          single: fc.float({ noNaN: true, noDefaultInfinity: true }),
          paid: fc.boolean(),
          raw: fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('base64')),
          price: cents.map((value) => money(value, 2)),
          fee: fc.integer({ min: -999_999_999, max: 999_999_999 }).map((value) => money(BigInt(value), 3)),
          day: day.map((date) => date.toISOString().slice(0, 10)),
          time: day.map((date) => date.toISOString().slice(11, 23)),
          at: day.map((date) => date.toISOString()),
          lines: fc.array(text),
          by_name: fc.dictionary(text, fc.option(fc.maxSafeInteger())),
          note: fc.option(text),
          any: fc.oneof(fc.integer(), text, fc.boolean(), fc.constant(null)),
        }),
        (values) => {
          const data = parse(JSON.stringify({ ...order, ...values }))
          expect(read(data)).toEqual(data)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('is what another writer of Avro would have written', () => {
    const plain = record([
      field('total', 'long'),
      field('rate', 'double'),
      field('names', { type: 'array', items: 'string' }),
      field('note', optional('string')),
    ])
    const data = { total: -3, rate: 1.5, names: ['a', 'b'], note: 'n' }
    const { value, headers } = typeOf('avro', plain).written(data)
    const theirs = avro.Type.forSchema(plain as never, { wrapUnions: false }).toBuffer(data)
    expect(value.slice(5)).toEqual(theirs)
    expect(headers).toEqual({
      ce_dataschema: 'http://registry/subjects/s/versions/1',
      'content-type': 'application/avro',
    })
  })

  test('has the default of its schema where a field is left out', () => {
    const { read, faults } = typeOf(
      'avro',
      record([
        field('raw', 'bytes', { default: 'ÿ' }),
        field('at', logical('long', 'timestamp-millis'), { default: 0 }),
        field('note', optional('string'), { default: null }),
        field('must', 'int'),
      ]),
    )
    expect(read({ must: 1 })).toEqual({ raw: '/w==', at: '1970-01-01T00:00:00.000Z', note: null, must: 1 })
    expect(faults({})).toEqual([['/must', 'is required']])
  })

  test('is of the first type of its union that takes it', () => {
    const line = { type: 'record', name: 'Line', fields: [field('sku', 'string')] }
    const fee = { type: 'record', name: 'Fee', fields: [field('cents', 'int')] }
    const { read, faults } = typeOf(
      'avro',
      record([field('of', { type: 'array', items: ['null', line, fee] })]),
    )
    expect(read({ of: [{ cents: 3 }, null, { sku: 'a' }] })).toEqual({
      of: [{ cents: 3 }, null, { sku: 'a' }],
    })
    expect(faults({ of: [{ sku: 3 }] })).toEqual([['/of/0', 'fits none of its types: shop.Line, shop.Fee']])
  })

  test('that does not fit is told with the place of each fault', () => {
    const { faults } = typeOf('avro', schema)
    const wrong = {
      ...order,
      total: 1.5,
      count: 2 ** 31,
      raw: 'no base64',
      price: '1.234',
      fee: 1,
      day: '2026-02-30',
      at: '2026-11-23T12:00:00',
      kind: 'OTHER',
      lines: ['a', 1],
      note: 3,
      more: true,
    }
    expect(faults(wrong).map(([pointer]) => pointer)).toEqual([
      '/more',
      '/total',
      '/count',
      '/raw',
      '/price',
      '/fee',
      '/day',
      '/at',
      '/kind',
      '/lines/1',
      '/note',
    ])
    expect(faults('text')).toEqual([['', 'must be an object']])
  })

  test.each([
    ['a type is not defined', record([field('a', 'Other')])],
    ['a default does not fit', record([field('a', 'int', { default: 'x' })])],
    ['a fixed has no size', record([field('a', { type: 'fixed', name: 'F' })])],
  ])('never fits where %s', (_what, broken) => {
    expect(typeOf('avro', broken).faults({})).toEqual([['', expect.stringContaining('cannot be used')]])
  })

  test('that a union would be tried for in too many ways is refused in bounded time', () => {
    const within = { type: 'array', items: ['A', 'B'] }
    const b = { type: 'record', name: 'B', fields: [field('n', within)] }
    const a = { type: 'record', name: 'A', fields: [field('n', { type: 'array', items: ['A', b] })] }
    let data: Json = { n: [1] }
    for (let level = 0; level < 50; level += 1) data = { n: [data] }
    expect(typeOf('avro', record([field('a', a)])).faults({ a: data })).toEqual([
      ['/a/n/0', 'fits none of its types: shop.A, shop.B'],
    ])
  })
})

test('a topic has the check of its most specific type, none where that is off, and keeps what was compiled until it changes', () => {
  const checks = new EventTypeChecks()
  const type = (name: string, pattern: string, mode: 'off' | 'enforce') => ({
    name,
    pattern,
    mode,
    schema_type: 'json' as const,
    schema: {},
    schema_id: null,
    subject: 's',
    dataschema: null,
  })
  expect(checks.of('a/b')).toBeNull()
  const wide = { type: type('a._', 'a/*', 'enforce'), revision: 1 }
  checks.set([wide, { type: type('a.b', 'a/b', 'off'), revision: 2 }])
  const before = checks.of('a/x')
  expect([before?.type.name, checks.of('a/b')]).toEqual(['a._', null])
  checks.set([wide])
  expect(checks.of('a/b')).toBe(before)
  checks.set([{ ...wide, revision: 3 }])
  expect(checks.of('a/b')).not.toBe(before)
})
