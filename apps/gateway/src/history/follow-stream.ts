import { type Broker, BrokerError } from '@headrace/broker'
import { ProblemError } from '@headrace/schemas'
import type { Clock } from '@headrace/service'
import { mergeRecords } from './merged-records.ts'
import { type HistoryEvent, type HistoryFilter, passes, type ReadHistory, shown } from './scan-history.ts'
import { ASK_EVERY_MS, type StreamEnds } from './stream-ends.ts'
import type { StreamPosition } from './stream-position.ts'

/** What a follower of a stream is told, and where it is behind it. */
export type FollowItem =
  | { kind: 'event'; event: HistoryEvent; position: StreamPosition }
  /** Events of `[from, to)` of a partition were removed before they were read, or its log was cut or made anew. */
  | { kind: 'gap'; partition: number; from: number; to: number; position: StreamPosition }
  /** All up to here was read. */
  | { kind: 'read'; position: StreamPosition }

export interface FollowStream {
  broker: Pick<Broker, 'readRange' | 'offsets'>
  ends: StreamEnds
  read: ReadHistory
  topic: string
  filter: HistoryFilter
  from: StreamPosition
  clock: Clock
  signal: AbortSignal
}

const AFTER_FAILURE_MS = 1_000

/**
 * The events of a stream from a position on, and then those that come, without an end. Each partition keeps its own order;
 * what is there at one look is in the order of its time. A partition that appears later is read from its beginning.
 *
 * Outages of Kafka, and of the schema registry, are waited out. Throws what will not pass by itself: the stream was removed; or the signal's reason.
 */
export async function* followStream(options: FollowStream): AsyncGenerator<FollowItem, never, undefined> {
  const { ends, topic, clock, signal } = options
  const position = new Map(options.from)
  for (;;) {
    signal.throwIfAborted()
    try {
      const now = await ends.of(topic)
      yield* cutBack(options, position, now)
      yield* readUpTo(options, position, now)
      await clock.sleep(ASK_EVERY_MS, signal)
    } catch (error) {
      if (!passesByItself(error)) throw error
      await clock.sleep(AFTER_FAILURE_MS, signal)
    }
  }
}

const passesByItself = (error: unknown): boolean =>
  error instanceof BrokerError
    ? error.retryable
    : error instanceof ProblemError && error.code === 'schema_registry_unavailable'

/** A log that ends before the position was cut, or made anew: what is there now is read from its beginning. */
async function* cutBack(
  { broker, topic }: FollowStream,
  position: Map<number, number>,
  ends: ReadonlyMap<number, number>,
): AsyncGenerator<FollowItem, void, undefined> {
  const beyond = [...ends].filter(([partition, end]) => (position.get(partition) ?? 0) > end)
  if (beyond.length === 0) return
  const marks = await broker.offsets(topic)
  for (const [partition] of beyond) {
    const [from, { low, high }] = [position.get(partition) ?? 0, marks.get(partition) ?? { low: 0, high: 0 }]
    if (from <= high) continue
    position.set(partition, low)
    yield { kind: 'gap', partition, from, to: low, position }
  }
}

async function* readUpTo(
  { broker, read, topic, filter, signal }: FollowStream,
  position: Map<number, number>,
  ends: ReadonlyMap<number, number>,
): AsyncGenerator<FollowItem, void, undefined> {
  const spans = new Map(
    [...ends].flatMap(([partition, end]) => {
      const next = position.get(partition) ?? 0
      return next < end ? [[partition, { next, end }] as const] : []
    }),
  )
  if (spans.size === 0) return
  const gaps: { partition: number; from: number; to: number }[] = []
  const records = mergeRecords({ broker, topic, spans, signal, onGap: (gap) => gaps.push(gap) })
  for (let found = await records.next(); found !== null; found = await records.next()) {
    yield* gaps.splice(0).map((gap): FollowItem => ({ kind: 'gap', ...gap, position }))
    const { partition, record } = found
    const reading = read({ partition, ...record })
    const decoded = reading instanceof Promise ? await reading : reading
    position.set(partition, record.offset + 1)
    if (decoded.kind === 'event' && passes(decoded.event, filter))
      yield { kind: 'event', event: shown(decoded.event, record.headers), position }
  }
  const rest = records.rest()
  for (const [partition, { end }] of spans) position.set(partition, rest.get(partition)?.next ?? end)
  yield* gaps.map((gap): FollowItem => ({ kind: 'gap', ...gap, position }))
  yield { kind: 'read', position }
}
