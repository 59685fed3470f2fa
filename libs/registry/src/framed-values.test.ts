import type { ReadFrame } from '@headrace/core'
import type { Json } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { FramedValues, type SchemaLookup } from './framed-values.ts'

const framed = (id: number, text: string) => {
  const head = Buffer.alloc(5)
  head.writeInt32BE(id, 1)
  return Buffer.concat([head, Buffer.from(text)])
}
const rule = { type: null, unions: 'unwrap', json: (text: string) => JSON.parse(text) as Json } as const

/** A registry with the even ids. */
function values() {
  const asked: number[] = []
  const at = { ms: 0, isUp: true, lags: 0 }
  const byId = async (id: number) => {
    asked.push(id)
    await Promise.resolve()
    if (!at.isUp) throw new Error('away')
    if (at.lags > 0) {
      at.lags -= 1
      return null
    }
    return id % 2 === 0 ? { id, type: 'JSON' as const, schema: '{}', references: [] } : null
  }
  const sleep = async (ms: number, signal?: AbortSignal) => {
    signal?.throwIfAborted()
    at.ms += ms
    await Promise.resolve()
  }
  const counted: SchemaLookup[] = []
  const frames = new FramedValues({ byId }, { now: () => at.ms, sleep }, (result) => counted.push(result))
  return { frames, asked, at, counted }
}

test('an id is asked for once, whoever wants it at once, and is known from then on, without waiting', async () => {
  const { frames, asked, at, counted } = values()
  const readers = await Promise.all([frames.reader(new Set([2])), frames.reader(new Set([2, 4]))])
  expect(asked).toEqual([2, 4])
  expect(readers.map((read) => read(framed(2, '7'), rule))).toEqual([
    { kind: 'data', data: 7 },
    { kind: 'data', data: 7 },
  ])
  at.isUp = false
  expect(frames.reader(new Set([2, 4]))).not.toBeInstanceOf(Promise)
  await expect(frames.reader(new Set([2, 6]))).rejects.toThrow('away')
  expect(counted).toEqual(['miss', 'miss', 'hit', 'hit', 'hit', 'failed'])
})

test('an id that a replica of the registry learns of late is known', async () => {
  const { frames, asked, at } = values()
  at.lags = 2
  const read = await frames.reader(new Set([2]))
  expect(read(framed(2, '7'), rule)).toEqual({ kind: 'data', data: 7 })
  expect(asked).toEqual([2, 2, 2])
})

test('an id that the registry does not have is asked for thrice before that is believed, and again after a while', async () => {
  const { frames, asked, at } = values()
  const read: ReadFrame = await frames.reader(new Set([1]))
  expect(read(framed(1, '7'), rule)).toMatchObject({ kind: 'unreadable', reason: 'unknown_schema' })
  expect(asked).toEqual([1, 1, 1])
  expect(frames.reader(new Set([1]))).not.toBeInstanceOf(Promise)
  at.ms += 31_000
  await frames.reader(new Set([1]))
  expect(asked).toHaveLength(6)
})

test('who is aborted waits no longer for an id that the registry does not have', async () => {
  const { frames } = values()
  await expect(frames.reader(new Set([1]), AbortSignal.abort(new Error('stopped')))).rejects.toThrow(
    'stopped',
  )
})

test('a reader keeps its schemas, however many others come after, and a schema of another type than wanted is undecodable', async () => {
  const { frames, asked } = values()
  const read = await frames.reader(new Set([2]))
  for (let id = 4; id <= 2_100; id += 2) await frames.reader(new Set([id]))
  expect(read(framed(2, '7'), rule)).toEqual({ kind: 'data', data: 7 })
  expect(read(framed(2, '7'), { ...rule, type: 'AVRO' })).toMatchObject({ reason: 'undecodable' })
  asked.length = 0
  await frames.reader(new Set([2]))
  expect(asked).toEqual([2])
})
