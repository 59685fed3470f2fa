import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { jsonText, NotJsonError } from './json-text.ts'

const cycle: Record<string, unknown> = { a: [] }
cycle['a'] = [cycle]
let deep: unknown = 1
for (let level = 0; level < 5_000; level += 1) deep = [deep]

describe('a result as JSON', () => {
  test('is what JSON.stringify makes of it', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(jsonText(value)).toBe(JSON.stringify(value))
      }),
    )
  })

  test.each([
    [undefined, 'null'],
    [{ a: undefined, b: [undefined] }, '{"b":[null]}'],
    [{ at: new Date(0) }, '{"at":"1970-01-01T00:00:00.000Z"}'],
    ['\u0000\ud800', String.raw`"\u0000\ud800"`],
  ])('%j is %s', (value, text) => {
    expect(jsonText(value)).toBe(text)
  })

  test.each([
    [{ a: [1n] }, '/a/0'],
    [{ 'a/b': () => 1 }, '/a~1b'],
    [Symbol('s'), ''],
    [{ a: Number.NaN }, '/a'],
    [[Number.POSITIVE_INFINITY], '/0'],
    [{ a: new Map() }, '/a'],
    [{ a: new Set() }, '/a'],
    [cycle, '/a/0'],
  ])('what cannot be kept is refused with its path', (value, path) => {
    expect(() => jsonText(value)).toThrow(expect.objectContaining({ path, name: 'NotJsonError' }))
  })

  test('what is nested too deep is refused, not a stack overflow', () => {
    expect(() => jsonText(deep)).toThrow(NotJsonError)
  })

  test('the same object twice is no cycle', () => {
    const shared = { x: 1 }
    expect(jsonText([shared, shared])).toBe('[{"x":1},{"x":1}]')
  })
})
