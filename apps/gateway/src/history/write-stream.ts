import { once } from 'node:events'
import type { Writable } from 'node:stream'
import type { ProblemError } from '@headrace/schemas'
import type { Clock } from '@headrace/service'
import type { FollowItem } from './follow-stream.ts'
import type { StreamPosition } from './stream-position.ts'

/** Between two comments, so that no proxy takes the connection for idle; each also says how far the reader has come. */
export const KEEP_ALIVE_MS = 15_000
/** Who has not taken what was written for so long is dropped: it holds one of a few places. */
export const LAG_MS_MAX = 30_000
/** What browsers wait before they connect again. */
const RETRY_MS = 1_000

export interface WriteStream {
  items: AsyncIterable<FollowItem>
  out: Writable
  idOf: (position: StreamPosition) => string
  from: StreamPosition
  /** What a failure is to a reader. */
  problemOf: (error: unknown) => ProblemError
  clock: Clock
  signal: AbortSignal
}

/**
 * Writes what a follower is told as server-sent events, until it ends, fails or is aborted, and then ends `out`. Answers
 * how it went; never rejects. Who connects again with the last `id` misses nothing and gets nothing twice, because an id
 * is written with what it stands behind, or after it.
 */
export async function writeStream(options: WriteStream): Promise<'ended' | 'lagged' | 'failed'> {
  const { items, out, idOf, problemOf, clock, signal } = options
  let id = idOf(options.from)
  // An id without data dispatches nothing, and is what a reader that is cut off before its first event comes back with.
  out.write(`retry: ${RETRY_MS}\nid: ${id}\n\n`)
  const stopBeating = clock.every(KEEP_ALIVE_MS, () => {
    if (!out.writableNeedDrain) out.write(`: keep-alive\nid: ${id}\n\n`)
  })
  try {
    for await (const item of items) {
      id = idOf(item.position)
      if (item.kind === 'read' || out.write(blockOf(item, id))) continue
      if (await isDrained(out, clock, signal)) continue
      out.write(block('lagged', { last_event_id: id }))
      return 'lagged'
    }
    return 'ended'
  } catch (error) {
    if (signal.aborted) return 'ended'
    out.write(block('problem', problemOf(error).toProblem(null)))
    return 'failed'
  } finally {
    stopBeating()
    out.end()
  }
}

async function isDrained(out: Writable, clock: Clock, signal: AbortSignal): Promise<boolean> {
  const settled = new AbortController()
  const either = AbortSignal.any([signal, settled.signal])
  const drained = once(out, 'drain', { signal: either }).then(() => true)
  const late = clock.sleep(LAG_MS_MAX, either).then(() => false)
  try {
    return await Promise.race([drained, late])
  } finally {
    settled.abort()
    await Promise.allSettled([drained, late])
  }
}

function blockOf(item: Exclude<FollowItem, { kind: 'read' }>, id: string): string {
  if (item.kind === 'event') return `id: ${id}\n${block('event', item.event)}`
  const { partition, from, to } = item
  return `id: ${id}\n${block('gap', { partition, from, to })}`
}

/** JSON has no line breaks. */
const block = (event: string, data: object): string => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
