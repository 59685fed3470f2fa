import { type CoalescingProducer, deadLettersTopic, type OutgoingRecord } from '@headrace/broker'
import { ridingHeaders } from '@headrace/core'
import { type Clock, limited, type Logger } from '@headrace/service'
import type { Follower } from '../lanes/follower.ts'
import type { LaneRecord } from '../lanes/lane-record.ts'
import { inputOf, type RefusedEntry, type WindowEntry } from '../start-runs/flush-entry.ts'
import type { TriggerMetrics } from '../metrics.ts'

/** What could not go on, and where it came from. */
export interface DeadLetter {
  /** Stable, one of a few: it is a metrics label. */
  readonly reason: string
  /** What was met, for people. */
  readonly detail: string
  readonly stream: string
  readonly partition: number
  /** Of the first record it is about. */
  readonly offset: number
  readonly triggerId: string | null
  /** Of a window: that of its partition. */
  readonly incarnation?: number
  readonly value: Buffer | string | null
  /** Of a record: its key. */
  readonly key?: Buffer | null
  readonly headers?: Readonly<Record<string, string | Buffer>>
}

export interface DeadLetters {
  /**
   * Resolves when all of them are acked, and not before: the cursor may pass them then. Waits out any outage of Kafka;
   * rejects only when `signal` is aborted. A letter whose fate stayed unknown is written again: `stream`, `partition`
   * and `offset` name what it is about.
   */
  put(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void>
}

/** Kept of a value; a dead letter that is itself too large for its topic would stop the lane for good. */
const VALUE_BYTES_MAX = 1_000_000
const DETAIL_CHARACTERS_MAX = 1_000
/** Headers of the record itself ride along up to this size in all. */
const HEADERS_BYTES_MAX = 100_000
/** Keys of events have at most 1 KiB; a foreign one past this is left out. */
const RECORD_KEY_BYTES_MAX = 10_000
const PAUSE_FIRST_MS = 100
const PAUSE_MAX_MS = 5_000
const OUTAGE_LOG_EVERY_MS = 10_000

export interface DeadLettersParts {
  producer: Pick<CoalescingProducer, 'produce'>
  prefix: string
  metrics: TriggerMetrics
  log: Logger
  clock: Clock
  /** The Kafka topic of a stream, for the letter's origin. */
  kafkaTopicOf: (stream: string) => string
}

export function createDeadLetters(parts: DeadLettersParts): DeadLetters {
  const { producer, metrics, log, clock } = parts
  const topic = deadLettersTopic(parts.prefix).name
  return {
    async put(letters, signal) {
      let left = letters.map((letter) => ({
        letter,
        record: recordOf(letter, topic, parts.kafkaTopicOf(letter.stream)),
      }))
      for (let failures = 0; left.length > 0; failures += 1) {
        signal.throwIfAborted()
        const outcomes = await producer.produce(left.map(({ record }) => record))
        const failed = outcomes.find((outcome) => outcome.status !== 'written')
        for (const [index, { letter }] of left.entries()) {
          if (outcomes[index]?.status === 'written') metrics.deadLetters.inc({ reason: letter.reason })
        }
        left = left.filter((_, index) => outcomes[index]?.status !== 'written')
        if (failed === undefined) return
        limited(log, 'dead-letters', OUTAGE_LOG_EVERY_MS, clock).warn(
          { event: 'dead_letter.delayed', code: failed.code, waiting: left.length, detail: failed.message },
          'dead letters could not be written; their lanes wait',
        )
        await clock.sleep(Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** failures), signal)
      }
    },
  }
}

/** A record that is no event; it concerns all triggers of its stream. */
export function recordLetter(
  { stream, partition }: Follower['lane'],
  { seen, reason, detail, raw }: Extract<LaneRecord, { kind: 'unreadable' }>,
): DeadLetter {
  const { key, value, headers } = raw
  return { reason, detail, stream, partition, offset: seen.offset, triggerId: null, value, key, headers }
}

/** A window that cannot become a run. */
export function windowLetter(entry: WindowEntry, reason: string, detail: string): DeadLetter {
  const { follower, closed } = entry
  return {
    reason,
    detail,
    ...follower.lane,
    offset: closed.events[0]?.offset ?? closed.cursor.nextOffset,
    triggerId: follower.trigger.id,
    incarnation: follower.incarnation,
    value: inputOf(closed.events),
  }
}

/** An event that an expression of its trigger fails on; what that trigger would have handed to a run. */
export function refusedLetter({ follower, event, reason, detail }: RefusedEntry): DeadLetter {
  const { trigger, lane, incarnation } = follower
  const { offset } = event
  return { reason, detail, ...lane, offset, triggerId: trigger.id, incarnation, value: inputOf([event]) }
}

function recordOf(letter: DeadLetter, topic: string, kafkaTopic: string): OutgoingRecord {
  const { stream, partition, offset, triggerId, reason, detail } = letter
  const { value, truncated } = cut(letter.value)
  const headers: Record<string, string | Buffer> = {
    ...kept(letter.headers ?? {}),
    reason,
    detail: detail.slice(0, DETAIL_CHARACTERS_MAX),
    stream,
    kafka_topic: kafkaTopic,
    partition: String(partition),
    offset: String(offset),
  }
  if (triggerId !== null) headers['trigger_id'] = triggerId
  if (letter.incarnation !== undefined) headers['incarnation'] = String(letter.incarnation)
  if (letter.key && letter.key.byteLength <= RECORD_KEY_BYTES_MAX) headers['record_key'] = letter.key
  if (truncated) headers['truncated'] = '1'
  return { topic, partition: null, key: `${stream}/${partition}/${offset}`, value, headers }
}

function cut(value: Buffer | string | null): { value: Buffer | null; truncated: boolean } {
  if (value === null) return { value, truncated: false }
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  const truncated = bytes.byteLength > VALUE_BYTES_MAX
  return { value: truncated ? bytes.subarray(0, VALUE_BYTES_MAX) : bytes, truncated }
}

/** The record's own headers, unless they are what made it too large. Ours are written over them. */
function kept(headers: Readonly<Record<string, string | Buffer>>): Record<string, string | Buffer> {
  let bytes = 0
  for (const [name, value] of Object.entries(headers)) bytes += name.length + Buffer.byteLength(value)
  return bytes > HEADERS_BYTES_MAX ? {} : ridingHeaders(headers)
}
