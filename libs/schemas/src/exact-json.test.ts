import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isExact, parseExactJson } from './exact-json.ts'
import { ProblemError } from './problem.ts'

const faultOf = (text: string): unknown => {
  try {
    parseExactJson(text)
  } catch (error) {
    return error instanceof ProblemError ? [error.code, error.errors?.[0]?.pointer ?? null] : error
  }
  return null
}

describe('JSON that comes in', () => {
  test('is the value it was, for every JSON value', () => {
    fc.assert(
      fc.property(fc.json({ noUnicodeString: false }), (text) => {
        fc.pre(!text.includes('__proto__'))
        expect(parseExactJson(text)).toEqual(JSON.parse(text))
      }),
    )
  })

  test.each([
    ['{"a":[1,{"b/c":12345678901234567890}]}', 'number_not_exact', '/a/1/b~1c'],
    ['{"n":1e400}', 'number_not_exact', '/n'],
    ['{"n":-1e400}', 'number_not_exact', '/n'],
    ['{"n":9007199254740993}', 'number_not_exact', '/n'],
    ['{"n":0.12345678901234567891}', 'number_not_exact', '/n'],
    ['{"n":1e-400}', 'number_not_exact', '/n'],
    ['12345678901234567890', 'number_not_exact', ''],
    ['{"a":{"__proto__":{"x":1}}}', 'forbidden_key', '/a/__proto__'],
    ['{"a":', 'invalid_json', null],
    ['', 'invalid_json', null],
    ['{"a":01}', 'invalid_json', null],
    ['[NaN]', 'invalid_json', null],
  ])('%s is refused as %s at %s', (text, code, pointer) => {
    expect(faultOf(text)).toEqual([code, pointer])
  })

  test('is refused past 64 levels, also 5,000 deep, with the place', () => {
    expect(faultOf(`${'['.repeat(64)}${']'.repeat(64)}`)).toBeNull()
    expect(faultOf(`${'['.repeat(65)}${']'.repeat(65)}`)).toEqual(['json_too_deep', '/0'.repeat(64)])
    expect(faultOf(`${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`)).toEqual([
      'json_too_deep',
      '/a'.repeat(64),
    ])
  })

  test.each([
    '1.10',
    '1e2',
    '100',
    '-0',
    '0.1',
    '5e-324',
    '1.7976931348623157e308',
    '9007199254740992',
    '1234567890123456800',
    '0.30000000000000004',
  ])('the number %s is kept', (text) => {
    expect(faultOf(`{"n":${text}}`)).toBeNull()
  })

  test('every double is exact as JavaScript writes it', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) =>
        isExact(JSON.stringify(value), value),
      ),
    )
  })

  test('a long number in a string is no number', () => {
    expect(faultOf('{"id":"12345678901234567890e400"}')).toBeNull()
  })
})
