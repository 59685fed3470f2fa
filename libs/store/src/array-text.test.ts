import { expect, test } from 'vitest'
import { booleanArray, numberArray, textArray, uuidArray } from './array-text.ts'

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
