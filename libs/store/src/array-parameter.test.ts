import { expect, test } from 'vitest'
import { booleanArray, numberArray, payloadArray, textArray, uuidArray } from './array-parameter.ts'

test('texts are quoted, so that no content ends its element', () => {
  expect(textArray(['a', 'a', null, 'null', '', '{b,c}', 'say "no"', 'back\\slash', 'ü\n'])).toBe(
    '{"a","a",null,"null","","{b,c}","say \\"no\\"","back\\\\slash","ü\n"}',
  )
  expect(textArray([])).toBe('{}')
  expect(textArray([null, null])).toBe('{null,null}')
})

test('a uuid stands as it is; what is none stays one element', () => {
  const id = '0193a5c0-1111-7000-8000-000000000000'
  expect(uuidArray([id, id])).toBe(`{${id},${id}}`)
  expect(uuidArray([id, 'x},{"', ''])).toBe(`{${id},"x},{\\"",""}`)
})

test('numbers, booleans', () => {
  expect(numberArray([1, null, -2.5, 1e300])).toBe('{1,null,-2.5,1e+300}')
  expect(booleanArray([true, false])).toBe('{true,false}')
})

test('payloads are bytes: a header, then each with its length; null has none', () => {
  const array = payloadArray(['{"a":"ü"}', null, ''])
  expect(array).toBeInstanceOf(Buffer)
  expect((array as Buffer).toString('latin1')).toBe(
    `\0\0\0\u0001\0\0\0\u0001\0\0\0\u0019\0\0\0\u0003\0\0\0\u0001\0\0\0\u000a${Buffer.from('{"a":"ü"}').toString('latin1')}\u00ff\u00ff\u00ff\u00ff\0\0\0\0`,
  )
  expect(payloadArray([null, null])).toBe('{null,null}')
  expect(payloadArray([])).toBe('{}')
})
