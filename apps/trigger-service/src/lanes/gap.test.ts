import { BoundStreams, type IncomingRecord } from '@headrace/broker'
import type { Frames, ReadFrame } from '@headrace/core'
import type { CursorRow } from '@headrace/store'
import { expect, test } from 'vitest'
import { gapOfCursor } from './gap.ts'

const away: Frames = {
  reader: (ids) => (ids.size === 0 ? readNothing : Promise.reject(new Error('the registry is away'))),
}
const readNothing: ReadFrame = () => ({ kind: 'unreadable', reason: 'undecodable', detail: 'no schema' })

/** A log whose record at 7 is framed, and whether a cursor that saw `lastId` there finds another one. */
async function gapWhere(lastId: string) {
  const record: IncomingRecord = {
    offset: 7,
    timestamp: 5,
    key: Buffer.from([0, 0, 0, 0, 2, 1]),
    value: Buffer.from([0, 0, 0, 0, 1, 1]),
    headers: { ce_id: Buffer.from('e7'), ce_subject: Buffer.from('orders/created') },
    bytes: 12,
  }
  const cursor: Partial<CursorRow> = {
    stream: 'orders',
    partition: 0,
    nextOffset: 8,
    incarnation: 1,
    lastOffset: 7,
    lastTs: 5,
    lastId,
  }
  return await gapOfCursor(cursor as CursorRow, {
    broker: {
      async *readRange() {
        await Promise.resolve()
        yield { records: [record], nextOffset: 8, end: 'log_end' as const, lowWatermark: 0, highWatermark: 9 }
      },
    },
    streams: new BoundStreams('t', away),
    topic: 't.events.orders',
    marks: { low: 0, high: 9 },
    incarnation: 1,
    signal: new AbortController().signal,
  })
}

test('a cursor is compared with a framed record by its name and time, so that it is followed while the registry is away', async () => {
  await expect(gapWhere('e7')).resolves.toBeNull()
  await expect(gapWhere('e8')).resolves.toEqual({ kind: 'recreated' })
})
