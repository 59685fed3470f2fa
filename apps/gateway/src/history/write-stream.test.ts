import { PassThrough, Writable } from 'node:stream'
import { ProblemError } from '@headrace/schemas'
import { movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import type { FollowItem } from './follow-stream.ts'
import type { HistoryEvent } from './scan-history.ts'
import type { StreamPosition } from './stream-position.ts'
import { KEEP_ALIVE_MS, LAG_MS_MAX, writeStream } from './write-stream.ts'

const at = (next: number): StreamPosition => new Map([[0, next]])
const eventAt = (next: number): FollowItem => ({
  kind: 'event',
  event: { id: `e${next}` } as HistoryEvent,
  position: at(next),
})
const idOf = (position: StreamPosition): string => String(position.get(0))
const problemOf = (): ProblemError => new ProblemError('stream_not_found', 'gone')

async function* itemsOf(...items: (FollowItem | Promise<FollowItem> | Error)[]): AsyncGenerator<FollowItem> {
  for (const item of items) {
    if (item instanceof Error) throw item
    yield await item
  }
}

function begin(items: AsyncIterable<FollowItem>, out: Writable = new PassThrough()) {
  const clock = movableClock()
  const stop = new AbortController()
  const how = writeStream({ items, out, idOf, from: at(0), problemOf, clock, signal: stop.signal })
  return { clock, stop, how }
}

async function textOf(out: PassThrough): Promise<string> {
  let text = ''
  for await (const chunk of out) text += String(chunk)
  return text
}

test('each event carries the id behind it, and the place to come back to is told before the first', async () => {
  const out = new PassThrough()
  const { how } = begin(
    itemsOf(eventAt(4), { kind: 'gap', partition: 0, from: 4, to: 9, position: at(9) }),
    out,
  )
  expect(await how).toBe('ended')
  expect(await textOf(out)).toBe(
    'retry: 1000\nid: 0\n\n' +
      'id: 4\nevent: event\ndata: {"id":"e4"}\n\n' +
      'id: 9\nevent: gap\ndata: {"partition":0,"from":4,"to":9}\n\n',
  )
})

test('a comment keeps a quiet connection alive, and tells how far was read', async () => {
  const out = new PassThrough()
  const { promise: later, resolve: goOn } = Promise.withResolvers<FollowItem>()
  const { clock, how } = begin(itemsOf({ kind: 'read', position: at(7) }, later), out)
  await new Promise(setImmediate)
  await clock.advance(KEEP_ALIVE_MS)
  goOn(eventAt(8))
  await how
  expect(await textOf(out)).toContain(': keep-alive\nid: 7\n\nid: 8\n')
})

test('a reader that takes nothing for half a minute is dropped, and told', async () => {
  const written: string[] = []
  const stuck = new Writable({
    highWaterMark: 1,
    write: (chunk) => void written.push(String(chunk)),
    writev: (chunks) => void written.push(...chunks.map(({ chunk }) => String(chunk))),
  })
  const { clock, how } = begin(itemsOf(eventAt(1), eventAt(2)), stuck)
  await new Promise(setImmediate)
  await clock.advance(LAG_MS_MAX)
  expect(await how).toBe('lagged')
  expect(stuck.writableLength).toBeGreaterThan(0)
})

test('what cannot pass by itself is told as a problem', async () => {
  const out = new PassThrough()
  const { how } = begin(itemsOf(new Error('no such topic')), out)
  expect(await how).toBe('failed')
  expect(await textOf(out)).toMatch(/event: problem\ndata: \{.*"code":"stream_not_found"/)
})

test('a stop ends the answer without a word', async () => {
  const out = new PassThrough()
  const { promise: never, reject } = Promise.withResolvers<FollowItem>()
  const { stop, how } = begin(itemsOf(never), out)
  stop.abort()
  reject(new Error('aborted'))
  expect(await how).toBe('ended')
  expect(await textOf(out)).toBe('retry: 1000\nid: 0\n\n')
})
