import { describe, expect, test } from 'vitest'
import { closeContent } from './closed-content.ts'

const text = { type: 'string' }
const object = (properties: object, more: object = {}) => ({ type: 'object', properties, ...more })
const closed = (properties: object) => object(properties, { additionalProperties: false })

describe('closed content', () => {
  test('is put in wherever properties are named: in items, choices and definitions too', () => {
    const open = object({
      lines: { type: 'array', items: object({ sku: text }) },
      to: { anyOf: [object({ street: text }), { type: 'null' }] },
      by: { $ref: '#/definitions/Person' },
    })
    expect(closeContent({ ...open, definitions: { Person: object({ name: text }) } })).toEqual({
      ...closed({
        lines: { type: 'array', items: closed({ sku: text }) },
        to: { anyOf: [closed({ street: text }), { type: 'null' }] },
        by: { $ref: '#/definitions/Person' },
      }),
      definitions: { Person: closed({ name: text }) },
    })
  })

  test.each([
    ['additionalProperties', object({ a: text }, { additionalProperties: true })],
    ['a type for them', object({ a: text }, { additionalProperties: text })],
    ['patternProperties', object({ a: text }, { patternProperties: { '^x-': text } })],
    ['no properties at all', { type: 'object' }],
  ])('stays out where the schema says something else: %s', (_what, schema) => {
    expect(closeContent(schema)).toEqual(schema)
  })

  test.each([
    ['allOf', { allOf: [object({ a: text }), object({ b: text })] }],
    ['properties beside oneOf', object({ a: text }, { oneOf: [object({ b: text }), object({ c: text })] })],
    ['a condition', { if: object({ kind: { const: 'a' } }), else: object({ a: text }) }],
    ['not', { not: object({ a: text }) }],
  ])('stays out of what would be unsatisfiable, or ask for something else: %s', (_what, schema) => {
    expect(closeContent(schema)).toEqual(schema)
  })

  test('stays out of what such a place refers to, also where it is referred to from elsewhere', () => {
    const definitions = { Base: object({ id: text }), Other: object({ id: text }) }
    const schema = object({
      joined: { allOf: [{ $ref: '#/definitions/Base' }, object({ a: text })] },
      base: { $ref: '#/definitions/Base' },
      other: { $ref: '#/definitions/Other' },
    })
    expect(closeContent({ ...schema, definitions })).toEqual({
      ...schema,
      additionalProperties: false,
      definitions: { Base: definitions.Base, Other: closed({ id: text }) },
    })
  })

  test.each([
    ['$ref beside properties', object({ a: text }, { $ref: '#/definitions/Part' })],
    ['dependencies alone', { dependencies: { a: { $ref: '#/definitions/Part' } } }],
    ['a condition in a condition', { not: { not: { $ref: '#/definitions/Part' } } }],
    ['a reference by a place in a list', { allOf: [{ $ref: '#/definitions/Part/anyOf/0' }] }],
    ['a reference by a name of its own', { allOf: [{ $ref: '#part' }] }],
    ['a reference that is malformed', { allOf: [{ $ref: '#/definitions/%' }] }],
  ])('stays out of what is referred to from where it would be unsatisfiable: %s', (_what, schema) => {
    const Part = object({ b: text }, { $id: '#part' })
    expect(closeContent({ ...schema, definitions: { Part } })).toEqual({ ...schema, definitions: { Part } })
  })

  test('ends for a schema that refers to itself', () => {
    const tree = object({ kids: { type: 'array', items: { $ref: '#' } } })
    expect(closeContent(tree)).toEqual({ ...tree, additionalProperties: false })
  })
})
