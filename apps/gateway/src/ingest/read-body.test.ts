import { Readable } from 'node:stream'
import { ProblemError } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { readBody } from './read-body.ts'

const parts = (...texts: string[]): Readable => Readable.from(texts.map((text) => Buffer.from(text)))
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'none',
    (error: unknown) => (error instanceof ProblemError ? error.code : String(error)),
  )

test('a body in parts is put together, its bytes counted while they come', async () => {
  const counted: number[] = []
  const bytes = await readBody(parts('ab', 'c', 'd'), { lengthBytes: null, onBytes: (n) => counted.push(n) })
  expect(bytes.toString()).toBe('abcd')
  expect(counted).toEqual([2, 3, 4])
})

test('a length that is announced and too large is refused before anything is read', async () => {
  const body = new Readable({ read: () => expect.unreachable() })
  expect(await codeOf(readBody(body, { lengthBytes: 11, limitBytes: 10, onBytes: () => undefined }))).toBe(
    'body_too_large',
  )
})

test('a body that grows too large is refused where it does', async () => {
  const read = readBody(parts('123456', '789012'), {
    lengthBytes: null,
    limitBytes: 10,
    onBytes: () => undefined,
  })
  expect(await codeOf(read)).toBe('body_too_large')
})

test('what the counter throws ends the reading', async () => {
  const refuse = (): never => {
    throw new ProblemError('overloaded', 'full')
  }
  expect(await codeOf(readBody(parts('a', 'b'), { lengthBytes: null, onBytes: refuse }))).toBe('overloaded')
})

test('a caller who goes away in the middle has sent no body', async () => {
  const body = new Readable({ read: () => undefined })
  const read = readBody(body, { lengthBytes: 10, onBytes: () => undefined })
  body.push('abc')
  body.destroy()
  expect(await codeOf(read)).toBe('invalid_json')
})
