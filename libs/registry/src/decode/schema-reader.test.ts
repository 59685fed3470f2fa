import type { Json } from '@headrace/schemas'
import avro from 'avsc'
import * as fc from 'fast-check'
import protobuf from 'protobufjs'
import { describe, expect, test } from 'vitest'
import type { UnionStyle } from './payload.ts'
import { compileSchema, type WholeSchema } from './schema-reader.ts'

const json = (text: string) => JSON.parse(text) as Json
const readerOf = (type: WholeSchema['type'], schema: unknown, references: WholeSchema['references'] = []) =>
  compileSchema({
    id: 7,
    type,
    schema: typeof schema === 'string' ? schema : JSON.stringify(schema),
    references,
  })

function avroData(schema: avro.Schema, value: unknown, unions: UnionStyle = 'unwrap', written = schema) {
  const bytes = avro.Type.forSchema(written, { wrapUnions: true }).toBuffer(value)
  return readerOf('AVRO', schema).read(bytes, unions, json)
}
const data = (value: Json) => ({ kind: 'data', data: value })
const record = (fields: object[]) => ({ type: 'record', name: 'a.Order', fields }) as avro.Schema
const field = (name: string, type: unknown) => ({ name, type })
const UNDECODABLE = { kind: 'undecodable' }

describe('a value written with Avro', () => {
  test.each<[string, avro.Schema, unknown, Json]>([
    ['null', 'null', null, null],
    ['a boolean', 'boolean', true, true],
    ['an int', 'int', -2_147_483_648, -2_147_483_648],
    ['a long', 'long', -4_503_599_627_370_495, -4_503_599_627_370_495],
    ['a double', 'double', 1.5, 1.5],
    ['a number that JSON does not have', 'double', Number.NEGATIVE_INFINITY, '-Infinity'],
    ['a text', 'string', 'né€', 'né€'],
    ['an array', { type: 'array', items: 'int' }, [1, 2, 3], [1, 2, 3]],
    ['a map', { type: 'map', values: 'string' }, { a: 'b' }, { a: 'b' }],
    ['a symbol', { type: 'enum', name: 'E', symbols: ['A', 'B'] }, 'B', 'B'],
    ['a fixed', { type: 'fixed', name: 'F', size: 2 }, Buffer.from([1, 2]), 'AQI='],
  ])('is %s', (_what, schema, written, read) => {
    expect(avroData(schema, written)).toEqual(data(read))
  })

  test('is the text of a long that a double cannot hold', () => {
    const bytes = Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])
    expect(readerOf('AVRO', '"long"').read(bytes, 'unwrap', json)).toEqual(data('-9223372036854775808'))
  })

  test('has its bytes in base64, and as a value by itself without their length', () => {
    const schema = record([field('raw', 'bytes')])
    expect(avroData(schema, { raw: Buffer.from([1]) })).toEqual(data({ raw: 'AQ==' }))
    expect(readerOf('AVRO', '"bytes"').read(Buffer.from([1, 2]), 'unwrap', json)).toEqual(data('AQI='))
  })

  test.each<[string, object, unknown, Json]>([
    ['decimal', { type: 'bytes', precision: 9, scale: 2 }, Buffer.from([0x04, 0xd2]), '12.34'],
    ['decimal', { type: 'bytes', precision: 9, scale: 3 }, Buffer.from([0xff]), '-0.001'],
    ['decimal', { type: 'fixed', name: 'D', size: 2, precision: 4 }, Buffer.from([0xff, 0x85]), '-123'],
    ['timestamp-millis', { type: 'long' }, 1_767_225_600_123, '2026-01-01T00:00:00.123Z'],
    ['timestamp-micros', { type: 'long' }, -1, '1969-12-31T23:59:59.999999Z'],
    ['local-timestamp-millis', { type: 'long' }, 0, '1970-01-01T00:00:00.000'],
    ['timestamp-millis', { type: 'long' }, 9_000_000_000_000_000, 9_000_000_000_000_000],
    ['date', { type: 'int' }, 20_454, '2026-01-01'],
    ['time-millis', { type: 'int' }, 3_661_001, '01:01:01.001'],
    ['time-micros', { type: 'long' }, 1, '00:00:00.000001'],
    ['uuid', { type: 'string' }, 'a-b', 'a-b'],
    ['nobody knows it', { type: 'int' }, 3, 3],
  ])('is what its logical type %s stands for', (logicalType, schema, written, read) => {
    const typed = record([field('v', { ...schema, logicalType })])
    const plain = record([field('v', schema)])
    expect(avroData(typed, { v: written }, 'unwrap', plain)).toEqual(data({ v: read }))
  })

  test('is the value of its union, or says which type that is', () => {
    const schema = record([
      field('v', ['null', 'string', { type: 'record', name: 'Line', fields: [field('n', 'int')] }]),
    ])
    const line = { v: { 'a.Line': { n: 1 } } }
    expect(avroData(schema, line)).toEqual(data({ v: { n: 1 } }))
    expect(avroData(schema, line, 'keep')).toEqual(data({ v: { 'a.Line': { n: 1 } } }))
    expect(avroData(schema, { v: { string: 'x' } }, 'keep')).toEqual(data({ v: { string: 'x' } }))
    expect(avroData(schema, { v: null }, 'keep')).toEqual(data({ v: null }))
  })

  test('may hold itself, use types of other schemas, and have a field of any name', () => {
    const list = record([field('__proto__', 'int'), field('next', ['null', 'Order'])])
    const bytes = Buffer.from([2, 2, 4, 0])
    const read = readerOf('AVRO', list).read(bytes, 'unwrap', json)
    expect(JSON.stringify(read)).toBe(
      '{"kind":"data","data":{"__proto__":1,"next":{"__proto__":2,"next":null}}}',
    )
    const line = JSON.stringify({ type: 'enum', name: 'a.E', symbols: ['X'] })
    const using = readerOf('AVRO', record([field('e', 'E')]), [{ name: 'e', schema: line }])
    expect(using.read(Buffer.from([0]), 'unwrap', json)).toEqual(data({ e: 'X' }))
  })

  test('reads as it was written, whatever it is', () => {
    const schema = record([
      field('n', 'long'),
      field('s', { type: 'array', items: 'string' }),
      field('m', { type: 'map', values: 'double' }),
      field('b', 'boolean'),
    ])
    const written = fc.record({
      // Beyond, avsc writes other numbers.
      n: fc.integer({ min: -(2 ** 52) + 1, max: 2 ** 52 - 1 }),
      s: fc.array(fc.string({ unit: 'binary' }).map((text) => text.toWellFormed())),
      m: fc.dictionary(
        fc.string().filter((name) => name !== '__proto__'),
        fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Object.is(n, -0)),
        { noNullPrototype: true },
      ),
      b: fc.boolean(),
    })
    fc.assert(
      fc.property(written, (value) => {
        expect(avroData(schema, value)).toEqual(data(value))
      }),
    )
  })

  test.each<[string, unknown, number[]]>([
    ['ends too early', '"long"', []],
    ['has a length that is not there', '"string"', [0xfe, 0xff, 0xff, 0xff, 0x0f]],
    ['has a negative length', '"string"', [0x01]],
    [
      'stands for more items than anybody sent',
      { type: 'array', items: 'null' },
      [0xfe, 0xff, 0xff, 0xff, 0x7f],
    ],
    ['goes on behind its end', '"int"', [0, 0]],
    ['has no such branch', ['null', 'int'], [4]],
    ['is no UTF-8', '"string"', [2, 0xff]],
    ['has a number without an end', '"long"', Array.from({ length: 11 }, () => 0xff)],
  ])('is undecodable where it %s', (_what, schema, bytes) => {
    expect(readerOf('AVRO', schema).read(Buffer.from(bytes), 'unwrap', json)).toMatchObject(UNDECODABLE)
  })

  test.each(['{"type":"record","name":"R"}', '"Unknown"', '{"type":"fixed","name":"F"}', '7', '{"type":'])(
    'is undecodable where its schema is %s',
    (schema) => {
      expect(readerOf('AVRO', schema).read(Buffer.from([0]), 'unwrap', json)).toMatchObject(UNDECODABLE)
    },
  )
})

const PROTO = `
  syntax = "proto3"; package shop.v1;
  import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
  import "google/protobuf/struct.proto"; import "google/protobuf/duration.proto"; import "other.proto";
  message Order {
    string order_id = 1; int64 total = 2; double rate = 3; bytes raw = 4; Kind kind = 5;
    repeated int32 counts = 6; repeated Line lines = 7; map<string, Line> by_name = 8;
    oneof paid { string card = 9; int64 cash = 10; }
    google.protobuf.Timestamp at = 11; google.protobuf.StringValue note = 12; google.protobuf.Struct more = 13;
    google.protobuf.Duration took = 14; optional bool flag = 15; Other other = 16; uint64 big = 17;
    enum Kind { NONE = 0; BIG = 1; }
    message Line { string sku = 1; Order back = 2; message Deep { sint32 n = 1; } }
  }
  message Second { sint64 n = 1; }`
const OTHER = 'syntax = "proto3"; package shop.v1; message Other { string name = 1; }'
const OTHERS = [{ name: 'other.proto', schema: OTHER }]

describe('a value written with Protobuf', () => {
  const root = new protobuf.Root()
  for (const text of [PROTO, OTHER]) protobuf.parse(text, root, { keepCase: true })
  for (const name of ['timestamp', 'wrappers', 'struct', 'duration'])
    root.addJSON(protobuf.common.get(`google/protobuf/${name}.proto`)!.nested!)
  const reader = readerOf('PROTOBUF', PROTO, OTHERS)
  const write = (name: string, value: object) =>
    root
      .lookupType(`shop.v1.${name}`)
      .encode(root.lookupType(`shop.v1.${name}`).create(value))
      .finish()
  const read = (indexes: number[], bytes: Uint8Array) =>
    reader.read(Buffer.concat([Buffer.from(indexes), bytes]), 'unwrap', json)

  const EMPTY = {
    order_id: '',
    total: 0,
    rate: 0,
    raw: '',
    kind: 'NONE',
    counts: [],
    lines: [],
    by_name: {},
    big: 0,
  }

  test('has what it cannot leave out as its zero, and nothing that it did not set', () => {
    expect(read([0], Buffer.alloc(0))).toEqual(data(EMPTY))
    const entry = Buffer.from([0x42, 0])
    expect(read([0], entry)).toEqual(data({ ...EMPTY, by_name: { '': { sku: '' } } }))
  })

  test('is mapped as proto3 is to JSON, by the names of its schema', () => {
    const written = {
      order_id: 'o1',
      total: 5,
      raw: Buffer.from([1]),
      kind: 1,
      counts: [1, -1],
      lines: [{ sku: 'a' }],
      by_name: { x: { sku: 'b' } },
      card: 'visa',
      at: { seconds: 1_767_225_600, nanos: 5_000_000 },
      note: { value: 'n' },
      more: {
        // protobufjs has these names in camelCase.
        fields: {
          a: { numberValue: 1 },
          b: { nullValue: 0 },
          c: { listValue: { values: [{ boolValue: true }] } },
        },
      },
      took: { seconds: -1, nanos: -500_000_000 },
      flag: false,
      other: { name: 'z' },
      big: { low: -1, high: -1, unsigned: true },
    }
    expect(read([0], write('Order', written))).toEqual(
      data({
        ...EMPTY,
        order_id: 'o1',
        total: 5,
        raw: 'AQ==',
        kind: 'BIG',
        counts: [1, -1],
        lines: [{ sku: 'a' }],
        by_name: { x: { sku: 'b' } },
        card: 'visa',
        at: '2026-01-01T00:00:00.005Z',
        note: 'n',
        more: { a: 1, b: null, c: [true] },
        took: '-1.500s',
        flag: false,
        other: { name: 'z' },
        big: '18446744073709551615',
      }),
    )
  })

  test('is the message at the places that stand before it', () => {
    expect(read([2, 2], write('Second', { n: -3 }))).toEqual(data({ n: -3 }))
    expect(read([2, 0], Buffer.alloc(0))).toEqual(data(EMPTY))
    expect(read([4, 0, 0], write('Order.Line', { sku: 'a' }))).toEqual(data({ sku: 'a' }))
    expect(read([6, 0, 0, 0], Buffer.from([8, 3]))).toEqual(data({ n: -2 }))
    expect(read([2, 4], Buffer.alloc(0))).toMatchObject(UNDECODABLE)
    expect(read([1], Buffer.alloc(0))).toMatchObject(UNDECODABLE)
  })

  test('has of a oneof what came last, merges a message that came twice, and passes over what it does not know', () => {
    const cash = write('Order', { cash: 3 })
    expect(read([0], Buffer.concat([write('Order', { card: 'x' }), cash]))).toEqual(
      data({ ...EMPTY, cash: 3 }),
    )
    const twice = Buffer.concat([
      write('Order', { at: { seconds: 1 } }),
      write('Order', { at: { nanos: 1_000 } }),
    ])
    expect(read([0], twice)).toEqual(data({ ...EMPTY, at: '1970-01-01T00:00:01.000001Z' }))
    expect(read([2, 2], Buffer.from([0xa3, 6, 8, 1, 0xa4, 6, 8, 4]))).toEqual(data({ n: 2 }))
  })

  test('is bounded by what its bytes stand for, names of an enum too, and has zeroes of any length', () => {
    const name = 'N'.repeat(1_000)
    const schema = `syntax = "proto3"; message M { repeated E e = 1; bool b = 2; enum E { ${name} = 0; } }`
    const named = readerOf('PROTOBUF', schema)
    const packed = Buffer.concat([Buffer.from([0, 0x0a, 0xa0, 0x9c, 0x01]), Buffer.alloc(20_000)])
    expect(named.read(packed, 'unwrap', json)).toMatchObject(UNDECODABLE)
    const zero = Buffer.from([0, 0x10, ...Array.from({ length: 9 }, () => 0x80), 0])
    expect(named.read(zero, 'unwrap', json)).toEqual(data({ e: [], b: false }))
  })

  test.each([
    ['an import that it uses is missing', PROTO, []],
    ['it is none', 'syntax = "proto3"; message {', []],
  ])('is undecodable where %s', (_what, schema, references) => {
    expect(readerOf('PROTOBUF', schema, references).read(Buffer.from([0]), 'unwrap', json)).toMatchObject(
      UNDECODABLE,
    )
  })
})

test('a value of a JSON Schema is the JSON behind its frame', () => {
  const reader = readerOf('JSON', '{}')
  expect(reader.read(Buffer.from('{"a":1}'), 'unwrap', json)).toEqual(data({ a: 1 }))
  expect(reader.read(Buffer.from('{"a":'), 'unwrap', json)).toMatchObject(UNDECODABLE)
})

test('whatever the bytes are, a value comes out, or that there is none', () => {
  const readers = [
    readerOf('PROTOBUF', PROTO, OTHERS),
    readerOf(
      'AVRO',
      record([
        field('a', { type: 'array', items: ['null', 'long', 'string'] }),
        field('d', { type: 'bytes', logicalType: 'decimal', precision: 20, scale: 2 }),
        field('t', { type: 'long', logicalType: 'timestamp-nanos' }),
        field('m', { type: 'map', values: ['null', 'Order'] }),
      ]),
    ),
  ]
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...readers), (bytes, reader) => {
      const found = reader.read(bytes, 'keep', json)
      expect(JSON.stringify(found)).toMatch(/"(data|detail)":/)
    }),
    { numRuns: 2_000 },
  )
})
