import { ProblemError } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { type ReadLines, readLines } from './read-lines.ts'

async function* chunksOf(...texts: string[]): AsyncGenerator<Buffer> {
  for (const text of texts) yield Buffer.from(text)
}

async function linesOf(texts: string[], limits: ReadLines = {}): Promise<[number, string | null][][]> {
  const groups: [number, string | null][][] = []
  for await (const group of readLines(chunksOf(...texts), limits))
    groups.push(group.map(({ line, bytes }) => [line, bytes?.toString() ?? null]))
  return groups
}

test('lines come in groups, as they arrived, whatever the chunks cut through', async () => {
  expect(await linesOf(['a\nb', 'b\nc\nd', 'd', 'd\n', 'e'])).toEqual([
    [[1, 'a']],
    [
      [2, 'bb'],
      [3, 'c'],
    ],
    [[4, 'ddd']],
    [[5, 'e']],
  ])
})

test('empty lines are counted and left out, and a carriage return alone is one', async () => {
  expect(await linesOf(['\n\r\na\r\n\n', 'b\n\n'])).toEqual([[[3, 'a\r']], [[5, 'b']]])
  expect(await linesOf([])).toEqual([])
})

test('a line over its limit is said in its place, and the next one is read', async () => {
  expect(await linesOf(['1234', '5678', '9\nok\n12345\n'], { lineBytesMax: 4 })).toEqual([
    [
      [1, null],
      [2, 'ok'],
      [3, null],
    ],
  ])
})

test('past the limit of the whole the lines before it are handed out, then it is said', async () => {
  const seen: number[] = []
  const read = async (): Promise<void> => {
    for await (const group of readLines(chunksOf('a\nb\n', 'c\nd'), { limitBytes: 6 }))
      seen.push(...group.map(({ line }) => line))
  }
  await expect(read()).rejects.toThrow(ProblemError)
  expect(seen).toEqual([1, 2, 3])
})
