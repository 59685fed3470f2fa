import type { Broker, StreamCatalog } from '@headrace/broker'
import { type Clock, codeOf, limited, type Logger } from '@headrace/service'

/** A cursor with events before it. */
interface BehindCursor {
  readonly stream: string
  readonly partition: number
  readonly nextOffset: number
  /** Log time of the event at `nextOffset`, where it is known; ms since 1970. */
  readonly nextTs: number | null
}

export interface RetentionMargins {
  /** How long retention leaves what each cursor has not seen, in ms, by its place in the list; null: for ever, or not known. */
  of(cursors: readonly BehindCursor[]): Promise<(number | null)[]>
}

const CONFIG_FRESH_MS = 60_000
/** A list that shows no margin is better than one that waits for Kafka. */
const ASK_FOR_MS = 2_000
/** Records read at once, and those whose times are remembered: they never change. */
const READS_AT_ONCE_MAX = 8
const TIMES_MAX = 5_000
const LOG_EVERY_MS = 10_000

export interface RetentionMarginParts {
  broker: Pick<Broker, 'readRange' | 'topics'>
  streams: Pick<StreamCatalog, 'topicOf'>
  clock: Clock
  log: Logger
}

/** Retention takes whole segments, so an event stays for its margin at least. */
export function createRetentionMargins(parts: RetentionMarginParts): RetentionMargins {
  const retention = retentionOf(parts)
  const timeOf = timesOf(parts)
  return {
    async of(cursors) {
      const signal = AbortSignal.timeout(ASK_FOR_MS)
      const margins: (number | null)[] = cursors.map(() => null)
      const left = [...cursors.entries()]
      const work = async (): Promise<void> => {
        for (let next = left.shift(); next !== undefined; next = left.shift()) {
          const [at, cursor] = next
          const keptMs = await retention(cursor.stream)
          const ts = keptMs === null ? null : (cursor.nextTs ?? (await timeOf(cursor, signal)))
          margins[at] = keptMs === null || ts === null ? null : ts + keptMs - parts.clock.now()
        }
      }
      try {
        await Promise.all(Array.from({ length: READS_AT_ONCE_MAX }, work))
      } catch (error) {
        limited(parts.log, 'retention-margin', LOG_EVERY_MS, parts.clock).info(
          { event: 'retention_margin.unknown', code: codeOf(error), err: error },
          'how long unseen events are kept could not be found out',
        )
      }
      return margins
    },
  }
}

/** Of a stream; null: its events are kept for ever, or Kafka does not say. */
function retentionOf({ broker, streams, clock }: RetentionMarginParts) {
  const known = new Map<string, { atMs: number; keptMs: Promise<number | null> }>()
  return async (stream: string): Promise<number | null> => {
    const fresh = known.get(stream)
    if (fresh !== undefined && clock.now() - fresh.atMs < CONFIG_FRESH_MS) return await fresh.keptMs
    const topic = streams.topicOf(stream)
    const keptMs = broker.topics.configs([topic]).then((configs) => {
      const config = configs.get(topic)
      if (config?.get('cleanup.policy')?.value?.includes('delete') !== true) return null
      const ms = Number(config.get('retention.ms')?.value ?? -1)
      return ms < 0 ? null : ms
    })
    known.set(stream, { atMs: clock.now(), keptMs })
    keptMs.catch(() => known.delete(stream))
    return await keptMs
  }
}

/** The log time of the first record at a cursor, or behind it; null: there is none that can be read. */
function timesOf({ broker, streams }: RetentionMarginParts) {
  const known = new Map<string, number>()
  return async (
    { stream, partition, nextOffset }: BehindCursor,
    signal: AbortSignal,
  ): Promise<number | null> => {
    const name = `${stream}/${partition}/${nextOffset}`
    const before = known.get(name)
    if (before !== undefined) return before
    const range = { topic: streams.topicOf(stream), partition, from: nextOffset, to: null, maxBytes: 1 }
    for await (const { records } of broker.readRange({ ...range, signal })) {
      for (const { timestamp } of records) {
        if (known.size >= TIMES_MAX) known.clear()
        known.set(name, timestamp)
        return timestamp
      }
    }
    return null
  }
}
